"""What a meta-gradient of the family costs beside exact MAML's, at three sizes.

    OPENBLAS_NUM_THREADS=1 python examples/family/cost.py --calls 30

All kinds are called in turn, again and again, in float32 and from recordings; printed is the lower
quartile of their processor time, of exact MAML in milliseconds and of the others as a share of it.
"""

import argparse
import sys
import time

import numpy as np

import numaml
from numaml import family

OMNIGLOT = numaml.MLP((784, 256, 128, 64, 64, 5), "relu", "cross_entropy", "batch")
SINES = numaml.MLP((1, 40, 40, 1))
# name: (model, tasks, examples, inputs, steps)
SIZES = {
    "Omniglot, K = 1": (OMNIGLOT, 32, 5, 784, 1),
    "Omniglot, K = 5": (OMNIGLOT, 32, 5, 784, 5),
    "sine waves, K = 1": (SINES, 25, 10, 1, 1),
}
ALPHA = 0.01
# name: (how the rates are, what is learned, which losses)
KINDS = {
    "first-order": ({}, False, "first order"),
    "a rate per layer": ({"per": "layer"}, False, "last"),
    "ANIL": ({"moves": "head"}, False, "last"),
    "BOIL": ({"moves": "body"}, False, "last"),
    "biases only": ({"moves": "biases"}, False, "last"),
    "momentum": ({"momentum": 0.5}, False, "last"),
    "pull": ({"pull": 0.1}, False, "last"),
    "losses after every step": ({}, False, "all"),
    "one rate, learned": ({}, True, "last"),
    "per layer, learned": ({"per": "layer"}, True, "last"),
    "per tensor, learned": ({"per": "tensor"}, True, "last"),
    "Meta-SGD: per parameter, learned": ({"per": "parameter"}, True, "last"),
}


def drawn(tasks, n, inputs, model, rng):
    """A batch of so many examples of every task."""
    x = rng.normal(size=(tasks, n, inputs)).astype(np.float32)
    if model.loss == "cross_entropy":
        return numaml.Batch(x, rng.integers(0, model.sizes[-1], (tasks, n)))
    return numaml.Batch(x, rng.normal(size=(tasks, n, 1)).astype(np.float32))


def calls(model, tasks, n, inputs, steps):
    """By name a function without arguments for exact MAML and every kind."""
    rng, theta = np.random.default_rng(0), model.init(0, np.float32)
    data = numaml.Tasks(*(drawn(tasks, n, inputs, model, rng) for _ in range(2)))
    found = {"MAML, exact": lambda: numaml.meta_gradient(model, theta, data, ALPHA, steps)}
    for name, (how, learned, losses) in KINDS.items():
        rates = {key: one for key, one in how.items() if key in ("per", "moves")}
        alpha = family.rates(model, ALPHA, **rates)
        if extras := {key: one for key, one in how.items() if key not in rates}:
            alpha = {"rates": alpha, **extras}
        start = family.joined(model, theta, alpha, steps) if learned else theta
        gradient = numaml.meta_gradient
        if losses == "first order":
            gradient = numaml.first_order_meta_gradient
        elif learned or losses == "all":
            weights = (0, *[1 / steps] * steps) if losses == "all" else None
            gradient = family.Exact(learned, weights)
        arguments = model, start, data, alpha, steps
        found[name] = lambda gradient=gradient, arguments=arguments: gradient(*arguments)
    return found


def measured(found, count):
    """Seconds of processor time of each."""
    seen = {name: [] for name in found}
    for _ in range(count + 4):
        for name, call in found.items():
            start = time.process_time()
            call()
            seen[name].append(time.process_time() - start)
    return {name: float(np.quantile(one[4:], 0.25)) for name, one in seen.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    given = parser.parse_args(arguments)
    for name in given.sizes:
        seconds = measured(calls(*SIZES[name]), given.calls)
        whole = seconds.pop("MAML, exact")
        print(f"{name}: MAML, exact {1e3 * whole:.2f} ms")
        for kind, one in seconds.items():
            print(f"  {kind:34}{one / whole:6.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
