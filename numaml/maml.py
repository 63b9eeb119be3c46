"""MAML: inner loop, outer loss, exact and first-order meta-gradient, for any model.

A model is anything with ``value(theta, batch) -> loss`` and
``linearize(theta, batch) -> (loss, gradient, hvp)``, where ``hvp(v)`` is the Hessian times v.
On a stack of T tasks losses are (T,) and gradients (T, P); on one task they have no such axis.

Conventions: alpha is the inner learning rate, one real number >= 0 (for object arrays an element
of the same ring as theta); steps is K >= 0; the meta-value is the mean over tasks.
Source: Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", Algorithm 1; the adjoint
recursion is derived in ``derivations/3-meta-gradient.md``.
"""

import math
import operator
from collections.abc import Callable
from numbers import Real
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
    phi = inner_loop(model, theta, S, alpha, steps, hvps)
    value, lam, _ = model.linearize(phi, Q)  # (M2)
    while hvps:  # from the last to the first, each freed with its trace once it is used
        lam = lam - alpha * hvps.pop()(lam)  # (M3)
    return task_means(value, lam)


def first_order(model: Model, theta: Array, S: Any, Q: Any, alpha: Any, steps: int) -> Result:
    """That mean and, in place of its gradient, the mean over tasks of λ_K."""
    theta, S, Q = lifted(model, theta, S, Q)
    value, lam, _ = model.linearize(inner_loop(model, theta, S, alpha, steps), Q)  # (M4)
    return task_means(value, lam)


def task_means(value: Any, lam: Any) -> Result:
    """Means over the task axis, if there is one; of the gradient a flat array."""
    if np.ndim(value):
        value, lam = np.add.reduce(value) / len(value), lam.mean(0)
    return value, np.asarray(lam)


def adapt(model: Model, theta: Array, support: Any, alpha: Any, steps: int) -> Array:
    """Adapted parameters φ_K: K gradient steps ``φ_{k+1} = φ_k − α ∇L_S(φ_k)`` from φ_0 = θ.

    Parameters
    ----------
    model : Model
        Anything with ``value`` and ``linearize``, e.g. `numaml.MLP`.
    theta : (P,) array
        Meta-parameters, shared by all tasks.
    support : Batch
        Support set of one task, or of T tasks along a leading axis.
    alpha : float
        Inner learning rate, >= 0.
    steps : int
        Number K >= 0 of inner steps.

    Returns
    -------
    phi : (T, P) array, or (P,) for one task
        A new array also when ``steps`` is 0.

    Raises
    ------
    TypeError, ValueError
        If theta is not one row, alpha is not a real number >= 0, or steps is not an integer >= 0.

    References
    ----------
    Finn, Abbeel, Levine 2017, equation for θ′_i in section 2.2.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> theta = model.init(0)
    >>> rng = np.random.default_rng(1)
    >>> x = rng.uniform(-1, 1, (6, 5, 1))                 # 6 tasks of 5 examples
    >>> support = numaml.Batch(x, rng.normal(size=(6, 1, 1)) * x)
    >>> phi = numaml.adapt(model, theta, support, alpha=0.1, steps=3)
    >>> phi.shape
    (6, 25)
    >>> bool(np.all(model.value(phi, support) < model.value(theta, support)))
    True
    """
    theta, support, alpha, steps = checked(model, theta, support, alpha=alpha, steps=steps)
    if not steps:
        return np.broadcast_to(theta, np.shape(model.value(theta, support)) + theta.shape).copy()
    return adapted(model, theta, support, alpha, steps)


def meta_value(model: Model, theta: Array, tasks: Any, alpha: Any, steps: int) -> Any:
    """Meta-value ``M(θ) = mean over tasks of L_Q(φ_K(θ))``.

    Parameters
    ----------
    model, theta, alpha, steps
        As for `adapt`.
    tasks : Tasks
        Support and query sets of one task or of T tasks.

    Returns
    -------
    value : float
        The mean over tasks of the query loss after adaptation. (Complex for complex theta, an
        element of the ring for object arrays.)

    Raises
    ------
    TypeError, ValueError
        As `adapt`.

    References
    ----------
    Finn, Abbeel, Levine 2017, equation 1.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> before = numaml.meta_value(model, model.init(0), tasks, alpha=0.01, steps=0)
    >>> after = numaml.meta_value(model, model.init(0), tasks, alpha=0.01, steps=5)
    >>> after < before
    True
    """
    return number(value_after(*checked_tasks(model, theta, tasks, alpha, steps)))


def meta_gradient(model: Model, theta: Array, tasks: Any, alpha: Any, steps: int) -> Result:
    """Exact meta-gradient, ``λ_k = λ_{k+1} − α H_k λ_{k+1}`` from ``λ_K = ∇L_Q(φ_K)`` to λ_0.

    Every second-order term is there: this is the gradient of `meta_value`, to rounding.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `meta_value`.

    Returns
    -------
    value : float
        The meta-value M(θ).
    gradient : (P,) array
        ∇M(θ), the mean over tasks of λ_0.

    Raises
    ------
    TypeError, ValueError
        As `adapt`.

    Notes
    -----
    One linearisation and one Hessian-vector product per inner step; no Hessian is formed. Memory
    grows linearly with ``steps``: every step's trace is kept for its product.

    References
    ----------
    Finn, Abbeel, Levine 2017, Algorithm 1, line 10 [*]_. Pearlmutter 1994, "Fast Exact
    Multiplication by the Hessian", for the products.

    .. [*] Derived in ``derivations/3-meta-gradient.md``.

    Examples
    --------
    The result is what ``scipy.optimize.minimize(..., jac=True)`` takes. Here it is checked against
    the complex step, which has no cancellation:

    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1), activation="tanh")
    >>> theta = model.init(0)
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> value, gradient = numaml.meta_gradient(model, theta, tasks, alpha=0.01, steps=5)
    >>> v = np.random.default_rng(1).normal(size=theta.shape)
    >>> exact = numaml.meta_value(model, theta + 1e-30j * v, tasks, 0.01, 5).imag / 1e-30
    >>> bool(abs(gradient @ v - exact) < 1e-14 * np.linalg.norm(gradient) * np.linalg.norm(v))
    True
    """
    value, gradient = exact(*checked_tasks(model, theta, tasks, alpha, steps))
    return number(value), gradient


def first_order_meta_gradient(
    model: Model, theta: Array, tasks: Any, alpha: Any, steps: int
) -> Result:
    """First-order MAML (FOMAML): ``λ_0 := λ_K``, the mean over tasks of ∇L_Q(φ_K).

    An approximation that drops the curvature of the inner loop, *not* the gradient of
    `meta_value`; equal to it when steps or alpha is 0 or the support loss has no curvature.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `meta_value`.

    Returns
    -------
    value : float
        The meta-value M(θ), the same as `meta_gradient` returns.
    gradient : (P,) array
        The mean over tasks of ∇L_Q(φ_K).

    Raises
    ------
    TypeError, ValueError
        As `adapt`.

    References
    ----------
    Finn, Abbeel, Levine 2017, section 5.2 ("first order approximation").

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> arguments = (model, model.init(0), tasks, 0.01, 5)
    >>> value, approximate = numaml.first_order_meta_gradient(*arguments)
    >>> _, exact = numaml.meta_gradient(*arguments)
    >>> bool(np.linalg.norm(approximate - exact) > 0.1 * np.linalg.norm(exact))
    True
    """
    value, gradient = first_order(*checked_tasks(model, theta, tasks, alpha, steps))
    return number(value), gradient


def number(value: Any) -> Any:
    """A Python number, or an element of the ring."""
    return np.asarray(value).item()


def lifted(model: Model, theta: Array, *batches: Any) -> tuple[Any, ...]:
    """θ and batches in the model's own form, if it has one."""
    return model.lift(theta, *batches) if isinstance(model, Lifting) else (theta, *batches)


def checked_tasks(model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """The arguments of a meta-gradient, checked before any work: what the cores above take."""
    S, Q = tasks.support, tasks.query
    theta, S, Q, alpha, steps = checked(model, theta, S, Q, alpha=alpha, steps=steps)
    return model, theta, S, Q, alpha, steps


def checked(model: Model, theta: Any, *batches: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """(theta, *batches, alpha, steps), checked."""
    theta = checked_theta(theta)
    alpha, steps = checked_alpha(alpha, theta), checked_steps(steps)
    if isinstance(model, Lifting):
        theta, *batches = model.checked(theta, *batches)  # type: ignore[assignment]  # a list
    return theta, *batches, alpha, steps


def checked_theta(theta: Any) -> Array:
    """Meta-parameters as an array, or an error."""
    theta = np.asarray(theta)
    if theta.ndim != 1:
        raise ValueError(f"theta has shape {theta.shape}; want one row (P,), shared by all tasks")
    return theta


def checked_alpha(alpha: Any, theta: Array) -> Any:
    """The inner learning rate as a Python float, in exact arithmetic as it is, or an error."""
    if theta.dtype.hasobject:
        ring = type(theta[0])
        if isinstance(alpha, float) and not issubclass(ring, float):
            raise TypeError(
                f"alpha is the float {alpha!r} and theta holds {ring.__name__}; "
                "want an element of the same ring, e.g. Fraction(1, 10)"
            )
        return alpha
    if not isinstance(alpha, (float, Real)):  # a float is seen at once
        raise TypeError(f"alpha is {alpha!r}; want one real number >= 0")
    if not 0 <= float(alpha) < math.inf:
        raise ValueError(f"alpha is {alpha}; want a finite number >= 0")
    return float(alpha)  # a NumPy float64 scalar would promote float32 arrays


def checked_steps(steps: Any) -> int:
    """The number of inner steps, or an error."""
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"steps is {steps!r}; want an integer K >= 0")
    if operator.index(steps) < 0:
        raise ValueError(f"steps is {steps}; want K >= 0 inner steps")
    return operator.index(steps)
