"""Reptile: a direction for the outer step, which is no gradient."""

from typing import Any

import numpy as np

from ..engine.calls import adapt, meta_value
from ..maml import Model, Result


def reptile_direction(model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Result:
    """θ − mean over tasks of φ_K, along which Reptile's outer step goes down; no gradient.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `numaml.meta_gradient`. The query set is used for the value alone.

    Returns
    -------
    value : float
        The meta-value M(θ), to look at: the direction is not its gradient.
    direction : (P,) array
        θ − mean φ_K: ``theta − ε·direction`` is Reptile's step. `numaml.train` makes a step of Adam
        of it, whose size does not depend on alpha.

    Raises
    ------
    TypeError, ValueError
        As `numaml.meta_gradient`.

    References
    ----------
    Nichol, Achiam, Schulman 2018, "On First-Order Meta-Learning Algorithms", Algorithm 1.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> arguments = model, model.init(0), tasks, 0.01, 1
    >>> value, direction = numaml.family.reptile_direction(*arguments)
    >>> _, support = numaml.meta_gradient(
    ...     model, model.init(0), numaml.Tasks(tasks.support, tasks.support), 0.01, 0
    ... )
    >>> bool(np.allclose(direction, 0.01 * support))          # at K = 1, pretraining
    True
    """
    value = meta_value(model, theta, tasks, alpha, steps)
    phi = np.atleast_2d(adapt(model, theta, tasks.support, alpha, steps))
    return value, np.asarray(theta - phi.mean(0))  # (G6)
