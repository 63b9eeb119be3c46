"""What a file calls functions and models: what tells them apart, and no address."""

import functools
from dataclasses import dataclass, field

import numpy as np
import pytest

import numaml
from numaml.files.names import described, name_of


def at_the_top(*_):
    pass


class Counts:
    """A callable whose repr is Python's."""

    def __call__(self, *_):
        pass

    def method(self, *_):
        pass

    @classmethod
    def of_the_class(cls, *_):
        pass


@dataclass(frozen=True)
class Told:
    """A callable, and a model, whose settings are its fields."""

    rate: float = 0.5
    data: object = None
    cache: object = field(default=None, init=False)

    def __call__(self, *_):
        pass

    def method(self, *_):
        pass


def inside():
    def local(*_):
        pass

    return local


def named(function, name):
    function.__name__ = name
    return function


HERE = __name__
TELLING = {
    "a function": (at_the_top, f"{HERE}.at_the_top"),
    "ours": (numaml.meta_gradient, "meta_gradient"),
    "ours, first-order": (
        numaml.first_order_meta_gradient, "first_order_meta_gradient"),
    "a method of the class": (Counts.of_the_class, f"{HERE}.Counts.of_the_class"),
    "an object that says its settings": (Told(0.25), "Told(rate=0.25, data=None)"),
    "its method": (Told(0.25).method, "Told(rate=0.25, data=None).method"),
    "a lambda with a name": (named(lambda *_: 0, "mine"), "mine"),
    "a local function with a name": (named(inside(), "mine"), "mine"),
    "a partial with a name": (named(functools.partial(at_the_top, 1), "mine"), "mine"),
    "an object with a name": (named(Counts(), "mine"), "mine"),
    "shards": (numaml.sharded(None, 3), "meta_gradient over 3 shards"),
    "shards of a function": (
        numaml.sharded(None, 2, at_the_top), f"{HERE}.at_the_top over 2 shards"),
    "shards of a name": (
        numaml.sharded(None, 2, named(inside(), "mine")), "mine over 2 shards"),
    "shards of shards": (
        numaml.sharded(None, 2, numaml.sharded(None, 3)),
        "meta_gradient over 3 shards over 2 shards"),
}  # fmt: skip
TELLING_NOTHING = {
    "a lambda": lambda *_: 0,
    "a local function": inside(),
    "a partial": functools.partial(at_the_top, 1),
    "an object": Counts(),
    "its method": Counts().method,
    "shards of a lambda": numaml.sharded(None, 2, lambda *_: 0),
    "shards of a local function": numaml.sharded(None, 2, inside()),
    "shards of a partial": numaml.sharded(None, 2, functools.partial(at_the_top, 1)),
    "shards of an object": numaml.sharded(None, 2, Counts()),
}


@pytest.mark.parametrize("what", TELLING)
def test_what_tells_a_function_from_others_is_its_name(what):
    function, name = TELLING[what]
    assert name_of(function) == name


@pytest.mark.parametrize("what", TELLING_NOTHING)
def test_what_does_not_has_a_sign_in_it_and_no_address(what):
    name = name_of(TELLING_NOTHING[what])
    assert "<" in name
    assert "0x" not in name


def test_models_are_told_by_their_fields():
    assert described(numaml.MLP((1, 8, 1))) == repr(numaml.MLP((1, 8, 1)))
    own = numaml.MLP((1, 8, 1), (np.sin, np.cos, at_the_top))
    assert described(own) == (
        "MLP(sizes=(1, 8, 1), activation=(<ufunc 'sin'>, <ufunc 'cos'>, <function at_the_top>), "
        "loss='squared_error', norm=None)"
    )
    assert described(Counts()) == f"<{HERE}.Counts object>"


@pytest.mark.parametrize(
    "other",
    [np.arange(4000.0), np.arange(3000), np.arange(3000, dtype=np.float32),
     np.arange(3000.0).reshape(2, 1500), np.where(np.arange(3000) == 1500, -1, np.arange(3000.0)),
     np.arange(3000.0).astype(">f8")],
)  # fmt: skip
def test_arrays_are_told_by_all_their_numbers(other):
    data = np.arange(3000.0)
    assert described(Told(data=data)) == described(Told(data=data.copy()))
    assert described(Told(data=data)) != described(Told(data=other))
    assert len(described(Told(data=data))) < 100


def test_long_ones_are_shortened_and_stay_apart():
    one, other = (described(Told(data="x" * 10**6 + end)) for end in "ab")
    assert one != other
    assert len(one) < 300
