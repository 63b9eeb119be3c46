"""MAML: inner loop, outer loss, exact and first-order meta-gradient, for any model.

A model is anything with ``value(theta, batch) -> loss`` and
``linearize(theta, batch) -> (loss, gradient, hvp)``, where ``hvp(v)`` is the Hessian times v.
On a stack of T tasks losses are (T,) and gradients (T, P); on one task they have no such axis.

Arguments are taken as they are: alpha is the inner learning rate, steps is K >= 0. The public
calls, which check them, stand in ``engine/calls.py``.
Source: Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", Algorithm 1; the adjoint
recursion is derived in ``derivations/3-meta-gradient.md``.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

Array = np.ndarray[Any, Any]
HVP = Callable[[Array], Array]
Result = tuple[Any, Array]


class Model(Protocol):
    """What numaml needs of a model: a loss, and its linearisation."""

    def value(self, theta: Array, batch: Any) -> Any: ...

    def linearize(self, theta: Array, batch: Any) -> tuple[Any, Array, HVP]: ...


@runtime_checkable
class Lifting(Model, Protocol):
    """What a model may offer besides: checks of its own, and a form that is fast to adapt.

    ``checked(theta, *batches)`` gives theta and the batches as `value` and `linearize` take them
    without another look, or raises before any work. ``lift(theta, *batches)`` gives a vector in
    place of theta, and the batches. Of that vector the loops ask ``phi - alpha * g``, the mean over
    tasks ``lam.mean(0)``, and `numpy.asarray`.
    """

    def checked(self, theta: Array, *batches: Any) -> tuple[Any, ...]: ...

    def lift(self, theta: Array, *batches: Any) -> tuple[Any, ...]: ...


def offers(model: Any, protocol: Any) -> bool:
    """Whether a model has the methods of a protocol."""
    return issubclass(type(model), protocol)


def inner_loop(
    model: Model, theta: Array, support: Any, alpha: Any, steps: int, hvps: list[HVP] | None = None
) -> Array:
    """φ_K from φ_0 = θ; the products v ↦ H_k v are appended to ``hvps`` for who needs them."""
    phi = theta
    for _ in range(steps):
        _, g, hvp = model.linearize(phi, support)
        phi = phi - alpha * g  # (M1)
        if hvps is not None:
            hvps.append(hvp)
    return phi


def adapted(model: Model, theta: Array, S: Any, alpha: Any, steps: int) -> Array:
    """φ_K as an array."""
    theta, S = lifted(model, theta, S)
    return np.asarray(inner_loop(model, theta, S, alpha, steps))


def value_after(model: Model, theta: Array, S: Any, Q: Any, alpha: Any, steps: int) -> Any:
    """The mean over tasks of the query losses after adaptation."""
    theta, S, Q = lifted(model, theta, S, Q)
    value = model.value(inner_loop(model, theta, S, alpha, steps), Q)
    return task_means(value, value)[0]


def exact(model: Model, theta: Array, S: Any, Q: Any, alpha: Any, steps: int) -> Result:
    """That mean and its gradient, the mean over tasks of λ_0."""
    theta, S, Q = lifted(model, theta, S, Q)
    hvps: list[HVP] = []
    value, lam = model.linearize(inner_loop(model, theta, S, alpha, steps, hvps), Q)[:2]  # (M2)
    return task_means(value, pull_back(given_up(hvps), alpha, lam))


def pull_back(hvps: Iterable[HVP], alpha: Any, w: Any) -> Any:
    """Jᵀ w for J = ∂φ_K/∂θ: λ_0 from λ_K = w, by ``λ_k = λ_{k+1} − α H_k λ_{k+1}``.

    Parameters
    ----------
    hvps : iterable of callables
        The products v ↦ H_k v of `inner_loop`, *from the last step to the first*:
        ``reversed(hvps)``.
    alpha : float
        The inner learning rate that they were made with.
    w : (P,) or (T, P) array
        A cotangent of φ_K; one row per task.

    Returns
    -------
    lam : array of w's shape
        For every task its own; the mean over tasks is taken by who needs it.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> from numaml.maml import inner_loop, pull_back, push_forward
    >>> model, rng = numaml.MLP((1, 8, 1), "tanh"), np.random.default_rng(0)
    >>> theta, batch = model.init(rng), numaml.Batch(*rng.normal(size=(2, 5, 1)))
    >>> hvps = []
    >>> phi = inner_loop(model, theta, batch, 0.1, 3, hvps)
    >>> v, w = rng.normal(size=(2, model.size))
    >>> pulled, pushed = pull_back(reversed(hvps), 0.1, w), push_forward(hvps, 0.1, v)
    >>> bool(abs(w @ pushed - pulled @ v) < 1e-12)
    True
    """
    for hvp in hvps:
        w = w - alpha * hvp(w)  # (M3)
    return w


def push_forward(hvps: Iterable[HVP], alpha: Any, v: Any) -> Any:
    """J v for J = ∂φ_K/∂θ: how φ_K moves as θ moves along v, ``v_{k+1} = v_k − α H_k v_k``.

    Parameters
    ----------
    hvps : iterable of callables
        The products v ↦ H_k v of `inner_loop`, in their order.
    alpha : float
        The inner learning rate that they were made with.
    v : (P,) or (T, P) array
        A tangent of θ, the same for all tasks or a row for each.

    Returns
    -------
    phi_dot : (P,) or (T, P) array
        One row per task, as φ_K.
    """
    for hvp in hvps:
        v = v - alpha * hvp(v)  # (J1)
    return v


def given_up(hvps: list[HVP]) -> Iterator[HVP]:
    """From the last to the first, each freed with its trace once it is used."""
    while hvps:
        yield hvps.pop()


def first_order(model: Model, theta: Array, S: Any, Q: Any, alpha: Any, steps: int) -> Result:
    """That mean and, in place of its gradient, the mean over tasks of λ_K."""
    theta, S, Q = lifted(model, theta, S, Q)
    value, lam = model.linearize(inner_loop(model, theta, S, alpha, steps), Q)[:2]  # (M4)
    return task_means(value, lam)


def task_means(value: Any, lam: Any) -> Result:
    """Means over the task axis, if there is one; of the gradient a flat array."""
    if np.ndim(value):
        value, lam = np.add.reduce(value) / len(value), lam.mean(0)
    return value, np.asarray(lam)


def lifted(model: Any, theta: Array, *batches: Any) -> tuple[Any, ...]:
    """θ and batches in the model's own form, if it has one."""
    return model.lift(theta, *batches) if offers(model, Lifting) else (theta, *batches)
