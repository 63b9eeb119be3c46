"""The family on the MAML paper's sinusoids: errors from 5 points after 1, 5 and 10 steps.

    python examples/family/sinusoid.py --iterations 20000 --seeds 0 1 2 --out sinusoid.json

Trained on 10 points as in the paper; all learners of a seed start from the same θ and see the same
tasks, and the last outer step's θ is tested on 600 tasks that are the same for a seed. Rates of
their own for five steps are kept at those of the fifth for the steps after it.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import numaml
from numaml import family
from numaml.learning.evaluation import mean_and_interval

STEPS, TASKS, QUERIES, AWAY = (1, 5, 10), 600, 100, 100.0  # as numaml train sinusoid
ALPHA = 0.01
MODEL = numaml.MLP((1, 40, 40, 1))


def rates(**how):
    return family.rates(MODEL, ALPHA, **how)


# name: (rates, inner steps in training, gradient)
LEARNERS = {
    "MAML": (ALPHA, 1, numaml.meta_gradient),
    "first-order": (ALPHA, 1, numaml.first_order_meta_gradient),
    "Reptile": (ALPHA, 5, family.reptile_direction),
    "learned rate": (ALPHA, 1, family.Exact(learned=True)),
    "learned, per layer": (rates(per="layer"), 1, family.Exact(learned=True)),
    "Meta-SGD": (rates(per="parameter"), 1, family.Exact(learned=True)),
    "ANIL": (rates(moves="head"), 1, numaml.meta_gradient),
    "BOIL": (rates(moves="body"), 1, numaml.meta_gradient),
    "biases only": (rates(moves="biases"), 1, numaml.meta_gradient),
    "first bias only, 0.1": (((None, 0.1), None, None), 1, numaml.meta_gradient),
    "MAML, 5 steps": (ALPHA, 5, numaml.meta_gradient),
    "momentum 0.5, 5 steps": ({"rates": ALPHA, "momentum": 0.5}, 5, numaml.meta_gradient),
    "MSL, 5 steps": (ALPHA, 5, family.Exact(weights=family.MultiStep(500))),
    "LSLR, 5 steps": (rates(per="tensor", steps=5), 5, family.Exact(learned=True)),
    "LSLR + MSL, 5 steps": (
        rates(per="tensor", steps=5),
        5,
        family.Exact(learned=True, weights=family.MultiStep(500)),
    ),
}


def trained(learner, source, seed, iterations):
    """Meta-parameters and rates at the last outer step."""
    alpha, steps, gradient = learner
    theta, learned = MODEL.init(seed), getattr(gradient, "learned", False)
    start = family.joined(MODEL, theta, alpha, steps) if learned else theta
    state = numaml.train(
        MODEL, start, source, alpha=alpha, steps=steps, iterations=iterations,
        gradient=gradient, rng=seed, limit=10.0,
    )  # fmt: skip
    return family.parted(MODEL, state.theta, alpha, steps) if learned else (state.theta, alpha)


def errors(theta, alpha, seed):
    """(11, 600) errors after 0 … 10 steps."""
    tasks = numaml.Sinusoids(TASKS, 5, QUERIES)(np.random.default_rng([seed, 5, 1]))
    most = max(STEPS)
    if isinstance(alpha, list):
        alpha = alpha + alpha[-1:] * (most - len(alpha))
    with np.errstate(all="ignore"):
        return numaml.evaluate(MODEL, theta, tasks, alpha, most)


def row(name, seed, iterations):
    start = time.perf_counter()
    theta, alpha = trained(LEARNERS[name], numaml.Sinusoids(), seed, iterations)
    seconds, found = time.perf_counter() - start, errors(theta, alpha, seed)
    figures = {"learner": name, "seed": seed, "iterations": iterations, "seconds": round(seconds)}
    for k in STEPS:
        kept = found[k][found[k] < AWAY]
        mean, interval = mean_and_interval(kept)
        figures[f"{k}"] = [round(float(mean), 3), round(float(interval), 3), TASKS - len(kept)]
    return figures


def table(description, row, learners, iterations, seeds, arguments=None):
    """A row of every learner and seed, printed and kept as soon as it is there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--iterations", type=int, default=iterations)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    parser.add_argument("--learners", nargs="+", default=list(learners), choices=list(learners))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    rows = []
    for seed in given.seeds:
        for name in given.learners:
            try:
                rows.append(row(name, seed, given.iterations))
            except FloatingPointError as error:
                rows.append({"learner": name, "seed": seed, "stopped": str(error)})
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
            if given.out:
                given.out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(table(__doc__.splitlines()[0], row, LEARNERS, 20000, [0, 1, 2]))
