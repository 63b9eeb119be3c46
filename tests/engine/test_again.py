"""Calls like one before, of which only the numbers are looked at: same results and refusals."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml.engine import calls, parts

from .test_replay import CALLS, call, fresh, last, plainly, problem, same

__all__ = ["fresh"]  # for every test here, too
CLASSES = {"activation": "relu", "loss": "cross_entropy"}


def known(name="meta_gradient", steps=2, **given):
    """Arguments of a call that is replayed from now on."""
    arguments = problem(**given)
    for _ in range(3):
        call(name, *arguments, steps=steps)
    assert last().steps, last().reason
    return arguments


def changed(array, value):
    array = array.copy()
    array.flat[-1] = value
    return array


def batch(tasks, **changes):
    """The tasks with another support set, of which nothing is checked when it is made."""
    support = object.__new__(numaml.Batch)
    for name in ("x", "y"):
        object.__setattr__(support, name, changes.get(name, getattr(tasks.support, name)))
    made = object.__new__(numaml.Tasks)
    object.__setattr__(made, "support", support)
    object.__setattr__(made, "query", tasks.query)
    return made


@pytest.mark.parametrize("name", CALLS)
def test_the_usual_checks_are_not_made_again(monkeypatch, name):
    arguments = known(name)
    want = plainly(name, *arguments)
    for one in ("checked", "checked_tasks", "replayed"):
        monkeypatch.setattr(calls, one, None)
    assert same(call(name, *arguments), want)


WRONG = {
    "NaN in theta": lambda model, theta, tasks: (model, changed(theta, np.nan), tasks),
    "a longer theta": lambda model, theta, tasks: (model, np.append(theta, theta[0]), tasks),
    "theta of two rows": lambda model, theta, tasks: (model, np.array([theta, theta]), tasks),
    "a class too many": lambda model, theta, tasks: (
        model, theta, batch(tasks, y=changed(tasks.support.y, 2))),
    "a class below 0": lambda model, theta, tasks: (
        model, theta, batch(tasks, y=changed(tasks.support.y, -1))),
    "complex x": lambda model, theta, tasks: (model, theta, batch(tasks, x=tasks.support.x * 1j)),
    "x beyond float32": lambda model, theta, tasks: (
        model, theta, batch(tasks, x=changed(tasks.support.x.astype(float), 1e200))),
    "a mask": lambda model, theta, tasks: (model, np.ma.array(theta, mask=theta > 0), tasks),
    "no tasks": lambda model, theta, tasks: (model, theta, 5),
    "alpha < 0": lambda *arguments: (*arguments, -0.1),
    "alpha beyond float32": lambda *arguments: (*arguments, 1e200),
    "alpha NaN": lambda *arguments: (*arguments, float("nan")),
    "alpha a text": lambda *arguments: (*arguments, "0.1"),
    "steps < 0": lambda *arguments: (*arguments, 0.1, -1),
    "steps True": lambda *arguments: (*arguments, 0.1, True),
    "steps 1.0": lambda *arguments: (*arguments, 0.1, 1.0),
}  # fmt: skip


def test_what_is_refused_is_refused_in_the_same_words():
    right = known(steps=1, **CLASSES, dtype=np.float32)
    for wrong in WRONG.values():
        said, given = [], wrong(*right)
        for way in (plainly, call):
            with pytest.raises((TypeError, ValueError)) as error:
                way("meta_gradient", *given, **({} if len(given) > 4 else {"steps": 1}))
            said.append(f"{error.type.__name__}: {error.value}")
        assert said[0] == said[1]


def test_numbers_of_another_precision_are_converted(monkeypatch):
    model, theta, tasks = known(dtype=np.float32)
    want = plainly("meta_gradient", model, theta, tasks)
    monkeypatch.setattr(calls, "checked_tasks", None)
    double = numaml.Tasks(*(numaml.Batch(one.x.astype(float), one.y.astype(float))
                            for one in (tasks.support, tasks.query)))  # fmt: skip
    assert same(call("meta_gradient", model, theta, double), want)
    assert last().calls == 4


def test_arrays_that_lie_otherwise_in_memory_give_the_same():
    for sizes in ((3, 7, 2), (900, 8, 2)):  # inputs that are copied, and that are read in place
        model, theta, tasks = known(sizes=sizes)
        turned = numaml.Tasks(*(numaml.Batch(np.asfortranarray(one.x), one.y[:, ::-1][:, ::-1])
                                for one in (tasks.support, tasks.query)))  # fmt: skip
        got = call("meta_gradient", model, np.repeat(theta, 2)[::2], turned)
        assert same(got, plainly("meta_gradient", model, theta, tasks))


def test_a_part_of_the_tasks_is_no_call_of_its_own(monkeypatch):
    """Recordings of parts: who asks for as many tasks as one has may still get smaller ones."""
    model, theta, tasks = problem(tasks=8)
    each = theta.itemsize * model.trace_size(5, 6, 2)
    monkeypatch.setattr(parts, "KEPT", each * 3)
    monkeypatch.setattr(parts, "PART", each * 4)
    monkeypatch.setattr(parts, "THETAS", 0)
    monkeypatch.setattr(parts, "ROWS", 1)
    for _ in range(3):
        call("meta_gradient", model, theta, tasks)
    monkeypatch.setattr(parts, "PART", each * 2)  # four would now be two parts
    half = numaml.Tasks(*(numaml.Batch(one.x[:4], one.y[:4])
                          for one in (tasks.support, tasks.query)))  # fmt: skip
    assert numaml.engine.plan(model, theta, half, 0.1, 2).parts == (2, 2)
    assert same(call("meta_gradient", model, theta, half),
                plainly("meta_gradient", model, theta, half))  # fmt: skip


@dataclass(frozen=True)
class Choosy(numaml.MLP):
    def checked(self, theta, *batches):
        if theta[0] > 100:
            raise ValueError("more than I take")
        return numaml.MLP.checked(self, theta, *batches)


@dataclass(frozen=True, eq=False)
class Unsure(numaml.Batch):
    looked_at = False


def test_what_extends_numamls_own_has_checks_of_its_own():
    model, theta, tasks = known(model=Choosy((3, 7, 6, 2)))
    with pytest.raises(ValueError, match="more than I take"):
        call("meta_gradient", model, changed(theta[::-1], 101)[::-1], tasks)
    model, theta, tasks = known()
    unsure = Unsure(tasks.support.x.copy(), tasks.support.y)
    unsure.x[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="nan"):
        call("meta_gradient", model, theta, SimpleNamespace(support=unsure, query=tasks.query))
    with pytest.raises(ValueError, match="nan"):
        call("meta_gradient", model, theta, numaml.Tasks(unsure, tasks.query))
