"""The scripts behind the answers say what the page says."""

import os
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "questions"


def script(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def test_k_steps_are_k_products():
    found = script("steps")["main"]()
    assert [K for K, _, _ in found] == [products for _, products, _ in found]
    assert max(error for *_, error in found) < 1e-13


def test_a_buffer_has_three_gradients_and_a_mistake():
    off = [share for _, share in script("buffer")["main"]().values()]
    assert off[0] == 0
    assert off[1] > 0.1
    assert off[2] is None
    assert off[3] > 0.5


def test_reductions_are_another_alpha():
    for name, _, _, same, careless in script("reduction")["main"]():
        assert same < 1e-14, name
        assert (careless > 0.3) == ("MSELoss" not in name), name


def test_the_exact_gradient_grows_with_twice_the_power():
    names = script("diverges")
    assert names["in_one_dimension"](3.0, steps=5) == (2.0**10, -(2.0**5))
    t, steep, exact, longest, first, _ = names["on_sinusoids"](0.01, iterations=1)
    assert (t, exact) == (1, longest)
    assert 0.01 < steep < 10
    assert exact > 10 * first  # alpha h is above 2 in some tasks from the beginning


def test_each_learner_is_tried_at_several_alphas(capsys):
    data = Path(os.environ.get("NUMAML_DATA", "nowhere")) / "omniglot28.npz"
    if not data.exists():
        pytest.skip("NUMAML_DATA names no folder with Omniglot's data")
    few = ["--alphas", "0", "0.4", "--iterations", "1", "--longer", "2", "--tasks", "100"]
    script("first_order")["main"](["--data", str(data), "--learners", "exact", *few])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        ["exact", "1", "0"], ["exact", "1", "0.4"], ["exact,", "test", "2"],
    ]  # fmt: skip
    assert abs(float(rows[0][3]) - 20) < 3  # without a step it guesses
    assert float(rows[1][3]) > 35
    assert rows[2][3] == "0.4"
