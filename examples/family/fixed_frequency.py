"""The sinusoids of one public notebook: a table of errors after one step from five points.

    python examples/family/fixed_frequency.py --iterations 30000 --seeds 0 --out fixed.json

1-40-40-1, Adam at 1e-3, 4 tasks of 5 support and 10 query points, one inner step. Tested are 100
tasks with 100 support sets each, on a grid of 100 points; of a task counts the mean over its
supports, and the interval is over the tasks.
"""

import sys
import time

import numpy as np
from sinusoid import MODEL, table, trained

import numaml
from numaml import family
from numaml.data.sinusoids import sinusoid
from numaml.learning.evaluation import mean_and_interval

TASKS, SUPPORTS, AWAY = 100, 100, 100.0
# name: (rates, inner steps in training, gradient)
LEARNERS = {
    "Meta-SGD": ({"parameters": 0.05}, 1, family.Exact(learned=True)),
    "MAML": (0.01, 1, numaml.meta_gradient),
    "first-order": (0.01, 1, numaml.first_order_meta_gradient),
    "Reptile": (0.01, 5, family.reptile_direction),
    "first bias only, 0.1": (((None, 0.1), None, None), 1, numaml.meta_gradient),
}


def errors(theta, alpha, seed):
    """(tasks, supports) errors after one step."""
    rng = np.random.default_rng([seed, 1])
    amplitude, phase = numaml.Sinusoids(TASKS).draw(rng)
    x, grid = rng.uniform(-5, 5, (SUPPORTS, TASKS, 5, 1)), np.linspace(-5, 5, 100)[:, None]
    grid = np.broadcast_to(grid, (TASKS, 100, 1))
    query, found = numaml.Batch(grid, sinusoid(amplitude, phase, grid)), []
    for one in x:
        support = numaml.Batch(one, sinusoid(amplitude, phase, one))
        with np.errstate(all="ignore"):
            tasks = numaml.Tasks(support, query)
            found.append(numaml.evaluate(MODEL, theta, tasks, alpha, 1)[1])
    return np.stack(found, axis=1)


def row(name, seed, iterations):
    start = time.process_time()
    theta, alpha = trained(LEARNERS[name], numaml.Sinusoids(4, 5, 10), seed, iterations)
    seconds, found = time.process_time() - start, errors(theta, alpha, seed)
    kept = np.where(found < AWAY, found, np.nan)
    mean, interval = mean_and_interval(np.nanmean(kept, axis=1))
    return {
        "learner": name, "seed": seed, "iterations": iterations, "seconds": round(seconds),
        "error": round(float(mean), 3), "interval": round(float(interval), 3),
        "away": int(np.isnan(kept).sum()),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(table(__doc__.splitlines()[0], row, LEARNERS, 60000, [0]))
