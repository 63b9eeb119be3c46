"""The family meets its exact test vectors, which were made without it: fractions are equal."""

from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml import family
from numaml.check import answers, relative_error

VECTORS = {vector["name"]: vector for vector in answers.vectors("family")}
ROUNDING = 1e-14
# name -> the structure of its rates r
STRUCTURES = {
    "maml": lambda r, _: r[0],
    "maml-classification": lambda r, _: r[0],
    "multi-step-loss": lambda r, _: r[0],
    "rates-per-layer": lambda r, _: tuple(r),
    "rates-per-layer-norm": lambda r, _: tuple(r),
    "head-only": lambda r, _: (None, r[1]),
    "body-only": lambda r, _: (r[0], None),
    "rates-per-parameter": lambda r, _: {"parameters": np.array(r)},
    "rates-per-tensor-and-step": lambda r, _: [
        ((r[i], r[i + 1]), (r[i + 2], r[i + 3])) for i in (0, 4)
    ],
    "momentum": lambda r, v: {"rates": r[0], "momentum": v["momentum"]},
    "proximal-pull": lambda r, v: {"rates": r[0], "pull": v["pull"]},
}
RATIONAL = [name for name in STRUCTURES if VECTORS[name]["kind"] == "rational"]


def elements(answer, number):
    if isinstance(answer, list):
        return [elements(one, number) for one in answer]
    return number(Fraction(answer)) if isinstance(answer, str) else answer


def solved(name, number, gradient, theta=lambda model, theta, *_: theta):
    """(mean over tasks of a gradient, the vector's numbers) in an arithmetic."""
    vector, dtype = VECTORS[name], object if number is Fraction else float
    given = {one: elements(vector[one], number) for one in ("rates", "momentum", "pull", "weights")}
    model, alpha = numaml.MLP(**vector["network"]), STRUCTURES[name](given["rates"], given)
    classes = vector["network"]["loss"] == "cross_entropy"

    def batch(part):
        y = elements(part["y"], number)
        x = np.array(elements(part["x"], number), dtype)
        return numaml.Batch(x, np.array(y) if classes else np.array(y, dtype))

    at = theta(model, np.array(elements(vector["theta"], number), dtype), alpha, vector["steps"])
    taken = gradient(weights=[number(0), *given["weights"]])
    tasks = [numaml.Tasks(batch(t["support"]), batch(t["query"])) for t in vector["tasks"]]
    rows = [taken(model, at, one, alpha, vector["steps"])[1] for one in tasks]
    return sum(rows) / len(rows), given["rates"]


@pytest.mark.parametrize("name", RATIONAL)
def test_fractions_are_equal(name):
    for gradient, field in (
        (family.Exact, "meta_gradient"),
        (family.FirstOrder, "first_order_meta_gradient"),
    ):
        found, _ = solved(name, Fraction, gradient)
        assert list(map(str, found)) == VECTORS[name]["right"][field], field


@pytest.mark.parametrize("name", STRUCTURES)
def test_learned_rates_have_the_vectors_gradient(name):
    """By multiples of the rates, of which those that are zero are none."""

    def exact(weights):
        return family.Exact(learned=True, weights=weights)

    found, rates = solved(name, float, exact, family.joined)
    size, rates = len(VECTORS[name]["theta"]), np.array(rates)
    by_rates = np.array(elements(VECTORS[name]["right"]["rate_gradient"], float)) * rates
    by_rates = by_rates[rates != 0]
    want = np.array(elements(VECTORS[name]["right"]["meta_gradient"], float))
    assert relative_error(found[:size], want) < ROUNDING
    assert relative_error(found[size : size + len(by_rates)], by_rates) < ROUNDING


def test_reptiles_direction():
    vector = VECTORS["maml"]
    at = np.array(elements(vector["theta"], float))
    model, rows = numaml.MLP(**vector["network"]), []
    for task in vector["tasks"]:
        batches = [
            numaml.Batch(*(np.array(elements(task[part][name], float)) for name in "xy"))
            for part in ("support", "query")
        ]
        rows.append(family.reptile_direction(model, at, numaml.Tasks(*batches), 0.1, 2)[1])
    want = np.array(elements(vector["right"]["reptile_direction"], float))
    assert relative_error(np.mean(rows, axis=0), want) < ROUNDING
