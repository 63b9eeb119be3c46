"""The public calls: the mathematics of `maml`, run in the way that is fast for the case at hand."""

from typing import Any

import numpy as np

from .. import maml
from .again import again
from .arguments import checked, checked_tasks, number
from .parts import in_parts, mean
from .replayed import STORE, looked_at, replayed, value_and_gradient


def adapt(model: maml.Model, theta: Any, support: Any, alpha: Any, steps: Any) -> maml.Array:
    """Adapted parameters φ_K: K gradient steps ``φ_{k+1} = φ_k − α ∇L_S(φ_k)`` from φ_0 = θ.

    Parameters
    ----------
    model : Model
        Anything with ``value`` and ``linearize``, e.g. `numaml.MLP`.
    theta : (P,) array
        Meta-parameters, shared by all tasks.
    support : Batch
        Support set of one task, or of T tasks along a leading axis.
    alpha : float, or a structure of rates
        Inner learning rate, >= 0; or rates of any sign: a tuple with a number, None (no step moves
        it) or a pair (W, b) for each layer; an array (P,) laid out as theta; a list with one of
        these for each step; ``{"rates": …, "momentum": m, "pull": p}``; or a `numaml.family.Rule`.
        With a rate for each parameter every weight is multiplied out.
    steps : int
        Number K >= 0 of inner steps.

    Returns
    -------
    phi : (T, P) array, or (P,) for one task
        A new array also when ``steps`` is 0.

    Raises
    ------
    TypeError, ValueError
        If theta is not one row, alpha is neither a real number >= 0 nor fits theta and steps, or
        steps is not an integer >= 0.

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
    if found := STORE.on and again(maml.adapted, model, theta, support, alpha, steps):
        return found[0]
    theta, S, alpha, steps = checked(model, theta, support, alpha=alpha, steps=steps)
    if not steps:
        with np.errstate(under="ignore"):
            tasks = np.shape(looked_at(model).value(theta, S))
        return np.broadcast_to(theta, tasks + theta.shape).copy()
    (phi,) = replayed(maml.adapted, model, theta, S, alpha, steps)
    return phi


def meta_value(model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Any:
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
    return number(_of_tasks(maml.value_after, model, theta, tasks, alpha, steps)[0])


def meta_gradient(model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> maml.Result:
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
    Finn, Abbeel, Levine 2017, Algorithm 1, line 10. Pearlmutter 1994, "Fast Exact Multiplication by
    the Hessian", for the products. Derived in ``derivations/3-meta-gradient.md``.

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
    if found := STORE.on and again(maml.exact, model, theta, tasks, alpha, steps):
        return number(found[0]), found[1]
    model, theta, S, Q, alpha, steps = checked_tasks(model, theta, tasks, alpha, steps)
    parts = list(in_parts(model, theta, S, Q, steps))
    results = (value_and_gradient(maml.exact, model, theta, *b, alpha, steps) for _, b in parts)
    return mean(results, [size for size, _ in parts])


def first_order_meta_gradient(
    model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any
) -> maml.Result:
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
    value, gradient = _of_tasks(maml.first_order, model, theta, tasks, alpha, steps)
    return number(value), gradient


def _of_tasks(core: Any, *arguments: Any) -> Any:
    return (STORE.on and again(core, *arguments)) or replayed(core, *checked_tasks(*arguments))
