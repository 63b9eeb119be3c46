"""Rates as structures made and learned: θ and the multiples of all rates in one vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.alpha import checked_alpha, checked_rates, varied
from ..engine.arguments import checked_steps, checked_theta
from ..weights.rates import Each, Entry, Form, Rates

Array = np.ndarray[Any, Any]

PER = ("one", "layer", "tensor", "parameter")
MOVES = ("all", "head", "body", "biases")


def rates(
    model: Any, alpha: float, per: str = "one", moves: str = "all", steps: int | None = None
) -> Any:
    """The structure in which every rate is alpha, with as many rates as wanted.

    Parameters
    ----------
    model : MLP, or any model with ``init`` and ``unpack``
        Whose layers they are for.
    alpha : float
        The rate of all.
    per : str
        One rate for each "layer", "tensor" (W and b apart) or "parameter", or "one" for all.
    moves : str
        What the steps move: "all", the "head" alone, which is the last layer (ANIL), the "body",
        which is all but the last (BOIL), or the "biases".
    steps : int, optional
        With it, rates of their own for every step (with "tensor", the LSLR of MAML++).

    Returns
    -------
    alpha : float, tuple, dict or list
        To be taken wherever numaml takes an inner learning rate.

    Raises
    ------
    ValueError
        If per or moves is none of these, or they do not go together.

    References
    ----------
    Raghu et al. 2020, "Rapid Learning or Feature Reuse?" (ANIL). Oh et al. 2021, "BOIL". Antoniou
    et al. 2019, "How to train your MAML" (LSLR). Li et al. 2017, "Meta-SGD".

    Examples
    --------
    >>> import numaml
    >>> model = numaml.MLP((1, 8, 8, 1))
    >>> numaml.family.rates(model, 0.1, moves="head")
    (None, None, 0.1)
    >>> numaml.family.rates(model, 0.1, "tensor", steps=2)[1]
    ((0.1, 0.1), (0.1, 0.1), (0.1, 0.1))
    """
    for name, got, known in (("per", per, PER), ("moves", moves, MOVES)):
        if got not in known:
            raise ValueError(f"{name} is {got!r}; want one of {', '.join(map(repr, known))}")
    if per == "one" and moves != "all":
        per = "layer"
    if per == "parameter" and moves != "all":
        raise ValueError(
            f"per is 'parameter' and moves {moves!r}; want per='tensor', or moves='all'"
        )
    one: Any = {"one": alpha, "parameter": {"parameters": alpha}}.get(per)
    if one is None:
        count = len(model.unpack(model.init(0)))
        whole = (alpha, alpha) if per == "tensor" else alpha
        one = {"all": (whole,) * count, "head": (None,) * (count - 1) + (whole,),
               "body": (whole,) * (count - 1) + (None,), "biases": ((None, alpha),) * count,
               }[moves]  # fmt: skip
    return one if steps is None else [one] * checked_steps(steps)


def joined(model: Any, theta: Array, alpha: Any, steps: int) -> Array:
    """θ, and behind it a 1 for every rate in alpha: the rates as multiples of what they are.

    Parameters
    ----------
    model : Model with ``size``
    theta : (P,) array
    alpha
        A rate or structure of rates, none of them 0; momentum and pull in it are learned as well.
    steps : int
        Number K of inner steps that they are for.

    Returns
    -------
    joint : (P + R,) array
        What ``Exact(learned=True)`` takes in place of theta, for `numaml.train` and for
        ``scipy.optimize.minimize(…, jac=True)``.

    Raises
    ------
    TypeError, ValueError
        If alpha does not fit, or holds a rate of 0: a multiple of it is never another.

    Notes
    -----
    An outer step of Adam moves every number by about β = 1e-3. That is 10 % of a rate of 0.01, and
    0.1 % of its multiple.

    Examples
    --------
    >>> import numaml
    >>> model = numaml.MLP((1, 2, 1))
    >>> numaml.family.joined(model, model.init(0), (0.1, (0.2, None)), 1)[-2:]
    array([1., 1.])
    """
    theta = checked_theta(theta)
    values = rates_of(alpha, theta, model, steps).values
    if (values == 0).any():
        raise ValueError(
            "alpha holds a rate of 0, all of whose multiples are 0; want None where nothing moves, "
            "or another rate to start from"
        )
    return np.concatenate([theta, values * 0 + 1])


def parted(model: Any, joint: Array, alpha: Any, steps: int) -> tuple[Array, Any]:
    """θ and the rates, of a joint vector that training came to; the inverse of `joined`.

    Parameters
    ----------
    model, alpha, steps
        As for `joined`.
    joint : (P + R,) array

    Returns
    -------
    theta : (P,) array
    alpha
        A structure like the one given, with the rates that were learned.

    Raises
    ------
    TypeError, ValueError
        If they do not fit.

    Examples
    --------
    >>> import numaml
    >>> model = numaml.MLP((1, 2, 1))
    >>> joint = numaml.family.joined(model, model.init(0), (0.1, (0.2, None)), 1)
    >>> joint[-1] = 3
    >>> numaml.family.parted(model, joint, (0.1, (0.2, None)), 1)[1]
    (0.1, (0.6000000000000001, None))
    """
    theta, values, multiples = apart(model, checked_theta(joint), alpha, steps)
    return theta, written(Rates(values.values * multiples, values.form))


def apart(model: Any, joint: Array, alpha: Any, steps: int) -> tuple[Array, Rates, Array]:
    """θ, the rates as they were at first, and what they are to be multiplied by."""
    if not hasattr(model, "size"):
        raise TypeError(
            f"{type(model).__name__} has no size; learned rates want the length P of theta"
        )
    theta, multiples = joint[: model.size], joint[model.size :]
    rates = rates_of(alpha, theta, model, steps)
    if multiples.shape != rates.values.shape:
        raise ValueError(
            f"theta has shape {joint.shape}; with {len(rates.values)} learned rates want "
            f"({model.size + len(rates.values)},), as numaml.family.joined makes it"
        )
    return theta, rates, multiples


def rates_of(alpha: Any, theta: Array, model: Any, steps: int) -> Rates:
    """A number too as rates that can be learned."""
    steps = checked_steps(steps)
    if not varied(alpha):
        alpha = checked_alpha(alpha, theta)
    rates = checked_rates(alpha, theta, model, steps)
    if not isinstance(rates.form, Form):
        raise TypeError(f"alpha is a {type(alpha).__name__}, which has no rates to learn")
    if not steps:
        raise ValueError("steps is 0; want K >= 1 inner steps, for which there are rates")
    return rates


def written(rates: Rates) -> Any:
    """The structure that a user would write for these rates."""
    form, values = rates.form, rates.values
    each = values if values.dtype.hasobject else values.tolist()

    def entry(one: Entry) -> Any:
        if isinstance(one, Each):
            return values[one.start : one.stop].copy()
        if isinstance(one, int):
            return each[one]
        places = {place for pair in one for place in pair} - {None}
        rated = {None: None} | {place: each[place] for place in places}
        return tuple(rated[W] if b == W else (rated[W], rated[b]) for W, b in one)

    same = len(set(form.steps)) == 1
    found = entry(form.steps[0]) if same else [entry(one) for one in form.steps]
    extras = {name: each[place] for name, place in
              (("momentum", form.momentum), ("pull", form.pull)) if place is not None}  # fmt: skip
    return {"rates": found, **extras} if extras else found
