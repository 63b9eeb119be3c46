"""Is first-order MAML as good as exact? On Omniglot, 5-way 1-shot, each at its own best alpha.

``python examples/questions/first_order.py --data PATH`` trains each at several alphas, lets
accuracy on validation characters choose, and trains and tests the chosen ones for longer. The
settings are those of ``numaml train omniglot --preset 1-shot``.
"""

import argparse
import dataclasses
import time

import numpy as np

import numaml
from numaml.experiments.omniglot import Omniglot

ALPHAS = {"exact": (0.1, 0.2, 0.4, 1.0, 2.0, 4.0), "first-order": (0.02, 0.05, 0.1, 0.2)}
STEPS = 3  # inner steps in validation and test
VALIDATION, TEST = 1, 2  # which of the parts of the characters


def trained(settings):
    """θ at the end of a training: β has then fallen to 0."""
    rng = np.random.default_rng(settings.seed)
    return numaml.train(
        settings.model, settings.start(rng), settings.source(), alpha=settings.alpha,
        steps=settings.steps, iterations=settings.iterations, beta=settings.beta, decay=True,
        gradient=settings.gradient(), rng=rng,
    ).theta  # fmt: skip


def accuracy(settings, theta, part, tasks):
    """(mean, half of its 95 % interval) in % on tasks of characters that θ was not trained on."""
    source = settings.tasks_from(settings.parts()[part], 100, settings.shots)
    rng, found = np.random.default_rng([settings.seed, part]), []
    with np.errstate(over="ignore", invalid="ignore"):  # whose steps run away guesses
        for _ in range(0, tasks, 100):
            drawn = source(rng)
            found.append(numaml.accuracies(settings.model, theta, drawn, settings.alpha, STEPS)[-1])
    found = 100 * np.concatenate(found)
    return found.mean(), 1.96 * found.std(ddof=1) / len(found) ** 0.5


def told(name, settings, part, tasks):
    """Train, measure and print a row: the accuracy."""
    start = time.process_time()
    mean, interval = accuracy(settings, trained(settings), part, tasks)
    minutes = (time.process_time() - start) / 60
    row = (
        f"{name:19}{settings.iterations:11}{settings.alpha:7g}{f'{mean:.1f} ± {interval:.1f}':>24}"
    )
    print(f"{row}{minutes:21.1f}", flush=True)
    return mean


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as for numaml train omniglot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learners", nargs="+", choices=tuple(ALPHAS), default=tuple(ALPHAS))
    parser.add_argument("--alphas", nargs="+", type=float, help="to try, in place of its own list")
    parser.add_argument("--iterations", type=int, default=2500, help="of the scan")
    parser.add_argument("--longer", type=int, default=10_000, help="of the chosen ones; 0: none")
    parser.add_argument("--tasks", type=int, default=2000, help="of validation and of the test")
    options = parser.parse_args(arguments)
    print("learner             outer steps  alpha  accuracy after 3 steps  minutes of one core")
    for learner in options.learners:
        preset = {**Omniglot.PRESETS["1-shot"], "iterations": options.iterations}
        settings = Omniglot(learner=learner, data=options.data, seed=options.seed, **preset)
        found = {}
        for alpha in options.alphas or ALPHAS[learner]:
            one = dataclasses.replace(settings, alpha=alpha)
            found[alpha] = told(learner, one, VALIDATION, options.tasks)
        if options.longer:
            best = max(found, key=found.get)
            longer = dataclasses.replace(settings, alpha=best, iterations=options.longer)
            told(f"{learner}, test", longer, TEST, options.tasks)


if __name__ == "__main__":
    main()
