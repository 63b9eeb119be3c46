"""Policy gradients through the adaptation: paths, advantages, the surrogate, and the curvature.

A policy is a network with the loss "gaussian_nll": its outputs are (μ, ln σ) of each coordinate of
the action. It adapts by policy-gradient steps on paths that it walked itself, and is judged by the
paths it walks then. Trajectories are held fixed wherever a derivative is taken, as in the code of
the paper; what that is a gradient of, and what not, is said in
``derivations/9-policy-gradients.md``.
Source: Finn, Abbeel, Levine 2017, Algorithm 3 and section 5.3.
"""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..data.environments import Environment
from ..data.tasks import Batch
from ..maml import inner_loop, pull_back, push_forward
from ..network.gaussian import gaussian_kl, standardised
from ..network.mlp import MLP
from .trust_region import trust_region_step

Array = np.ndarray[Any, Any]

CLIPPED, RIDGE = 10.0, 1e-5  # observations in the baseline's features; what is added to its squares
LITTLE = 1e-8  # added to a deviation, which may be 0
# Tasks are taken in parts of some so many rows: what their traces need fits into a cache, and the
# next part uses it again.
ROWS = 5000


class Paths(NamedTuple):
    """N paths of T tasks over a horizon of H steps.

    Parameters
    ----------
    observations : (T, N, H, n_in) array
        Before each step.
    actions : (T, N, H, d) array
    rewards : (T, N, H) array
        0 after a path's end.
    taken : (T, N, H) array of bool
        Whether the path had not ended before the step.
    """

    observations: Array
    actions: Array
    rewards: Array
    taken: Array

    @property
    def returns(self) -> Array:
        """Mean return of every task, undiscounted (T,)."""
        return np.add.reduce(self.rewards, -1).mean(-1)

    @property
    def rows(self) -> Array:
        """What a weight of 1 is for each step (T, N, H): means over rows are over steps taken."""
        taken = np.add.reduce(self.taken, (1, 2), keepdims=True, dtype=float)
        return self.taken * (self.taken[0].size / taken)


@dataclass(frozen=True)
class Recipe:
    """How paths are walked, and what an advantage is.

    Parameters
    ----------
    paths, judged_by, horizon : int
        Paths of a task to adapt on, and to judge by; the most steps of a path.
    discount : float
        γ.
    squared : bool
        Adapt on −reward² in place of the reward, which must then be minus a distance. What is
        walked after adaptation is judged by the reward itself.
    each : bool
        Divide the advantages of a task by their own deviation; else they stay in the rewards' unit,
        the same for all tasks.
    """

    paths: int = 20
    judged_by: int = 20
    horizon: int = 100
    discount: float = 0.99
    squared: bool = True
    each: bool = False


def walk(
    model: MLP,
    phi: Array,
    environment: Environment,
    count: int,
    horizon: int,
    rng: np.random.Generator,
) -> Paths:
    """Walk paths by the policies φ, one for all tasks or one for each.

    Parameters
    ----------
    model : MLP
    phi : (P,) or (T, P) array
    environment : Environment
    count, horizon : int
        Paths of each task, and the most steps of a path.
    rng : numpy Generator

    Returns
    -------
    paths : Paths

    Raises
    ------
    FloatingPointError
        If φ or an action is not finite.
    """
    _refuse_runaway(phi)
    seen, d = environment.reset(count, rng), model.sizes[-1] // 2
    noise = rng.standard_normal((horizon, *seen.shape[:2], d)).astype(phi.dtype)
    going, steps = np.ones(seen.shape[:2], bool), []
    for each in noise:
        u = model.predict(phi, seen)
        actions = u[..., :d] + np.exp(u[..., d:]) * each
        _refuse_runaway(actions)
        ahead, rewards, ends = environment.step(actions)
        steps.append((seen, actions, np.where(going, rewards, 0.0), going))
        seen, going = ahead, going & ~ends
    return Paths(*(np.stack(column, 2) for column in zip(*steps, strict=True)))


def _refuse_runaway(numbers: Array) -> None:
    if not np.isfinite(numbers).all():
        raise FloatingPointError("a policy ran away; try a smaller alpha")


def returns_to_go(rewards: Array, discount: float) -> Array:
    """R_t = r_t + γ R_{t+1} along the last axis."""
    total, backwards = np.zeros(rewards.shape[:-1]), []
    for t in reversed(range(rewards.shape[-1])):
        total = rewards[..., t] + discount * total  # (P1)
        backwards.append(total)
    return np.stack(backwards[::-1], -1)


def baseline(paths: Paths, wanted: Array) -> Array:
    """What a linear function of o, o², t, t², t³ says of the returns to go, fitted per task.

    Parameters
    ----------
    paths : Paths
    wanted : (T, N, H) array
        Returns to go.

    Returns
    -------
    expected : (T, N, H) array

    References
    ----------
    Duan et al. 2016, "Benchmarking Deep Reinforcement Learning", section 6.1 of its supplement.
    """
    seen = paths.observations.astype(float).clip(-CLIPPED, CLIPPED)
    t = np.broadcast_to(np.arange(seen.shape[2]) / 100, seen.shape[:3])[..., None]
    features = np.concatenate([seen, seen**2, t, t**2, t**3, np.ones_like(t)], -1)
    features = features.reshape(len(seen), -1, features.shape[-1])
    kept = (features * paths.taken.reshape(len(seen), -1, 1)).mT
    squares = kept @ features + RIDGE * np.eye(features.shape[-1])
    fitted = np.linalg.solve(squares, kept @ wanted.reshape(len(seen), -1, 1))  # (P2)
    return (features @ fitted).reshape(wanted.shape)


def advantages(paths: Paths, recipe: Recipe) -> Array:
    """What each step was better by than expected, centred per task; perhaps divided by a deviation.

    Parameters
    ----------
    paths : Paths
    recipe : Recipe

    Returns
    -------
    advantages : (T, N, H) array
        0 after a path's end.
    """
    rewards = -(paths.rewards**2) if recipe.squared else paths.rewards
    wanted, taken = returns_to_go(rewards, recipe.discount), paths.taken
    better = (wanted - baseline(paths, wanted)) * taken
    count = np.add.reduce(taken, (1, 2), keepdims=True, dtype=float)
    centred = (better - np.add.reduce(better, (1, 2), keepdims=True) / count) * taken
    variance = np.add.reduce(centred**2, (1, 2), keepdims=True) / count
    return centred / (np.sqrt(variance) + LITTLE if recipe.each else 1.0)  # (P3)


def as_batch(paths: Paths, advantages: Array, dtype: Any) -> Batch:
    """Steps as rows for "gaussian_nll", whose mean over rows is one over the steps taken."""
    y = np.concatenate([paths.actions, (advantages * paths.rows)[..., None]], -1)
    return Batch(*(_rows(array).astype(dtype) for array in (paths.observations, y)))


def _rows(array: Array) -> Array:
    """(T, N, H, …) as (T, N·H, …)."""
    return array.reshape(len(array), -1, array.shape[-1])


def surrogate(u: Array, before: Array, y: Array) -> Array:
    """Mean over rows of −weight · π(action) / π_before(action), of every task (T,).

    Its gradient at u = before is that of "gaussian_nll".

    Parameters
    ----------
    u, before : (T, n, 2 d) arrays
        (μ, ln σ) of both policies.
    y : (T, n, d + 1) array
        (action, weight).
    """
    (z, _, now), (z0, _, then) = (standardised(one, y[..., :-1]) for one in (u, before))
    exponent = np.add.reduce((z0 * z0 - z * z) / 2 + then - now, -1)
    return -np.add.reduce(y[..., -1] * np.exp(exponent), -1) / u.shape[-2]  # (P4)


class Stage(NamedTuple):
    """Policies after some inner steps, and what they walked.

    Parameters
    ----------
    phi : (P,) or (T, P) array
    paths : Paths
    batch : Batch
        The paths as rows, with the advantages as weights.
    """

    phi: Array
    paths: Paths
    batch: Batch


def in_parts(phi: Array, batch: Batch, rows: int) -> list[tuple[Array, Batch]]:
    """Parts of the tasks, of so many rows each, whose φ are one row or a row for each."""
    tasks = max(1, ROWS // rows)
    parts = [slice(start, start + tasks) for start in range(0, len(batch.x), tasks)]
    return [
        (phi[part] if phi.ndim > 1 else phi, Batch(batch.x[part], batch.y[part])) for part in parts
    ]


def stages(
    model: MLP,
    theta: Array,
    environment: Environment,
    alphas: Sequence[float],
    recipe: Recipe,
    rngs: Sequence[np.random.Generator],
) -> Iterator[Stage]:
    """Walk, adapt, walk again: the stages k = 0, 1, …, K, K being the number of alphas.

    Parameters
    ----------
    model : MLP
        With "gaussian_nll".
    theta : (P,) array
    environment : Environment
    alphas : sequence of float
        Inner learning rate of every step.
    recipe : Recipe
    rngs : sequence of numpy Generators
        For the paths of every stage.
    """
    phi = theta
    for k, rng in enumerate(rngs):
        count = recipe.paths if k < len(alphas) else recipe.judged_by
        paths = walk(model, phi, environment, count, recipe.horizon, rng)
        own = recipe if k < len(alphas) else replace(recipe, squared=False)
        batch = as_batch(paths, advantages(paths, own), theta.dtype)
        yield Stage(phi, paths, batch)
        if k < len(alphas):
            parts = in_parts(phi, batch, batch.x.shape[1])
            phi = np.concatenate([inner_loop(model, *part, alphas[k], 1) for part in parts])


class Adaptation:
    """One meta-batch of policies: what is walked from θ, and its derivatives, paths held fixed.

    Parameters
    ----------
    model : MLP
        With "gaussian_nll".
    theta : (P,) array
    tasks : Rounds
        An environment, and the seeds of paths before and after adaptation.
    alpha, steps
        Inner learning rate and number K of inner steps.
    recipe : Recipe

    Attributes
    ----------
    seen : list of Stage
        Of every stage k = 0, 1, …, K. What the last one walked is the query.
    """

    def __init__(
        self, model: MLP, theta: Array, tasks: Any, alpha: float, steps: int, recipe: Recipe
    ) -> None:
        self.model, self.alpha = model, alpha
        self._of_kl = replace(model, loss="gaussian_kl")
        rngs = [np.random.default_rng(tasks.support)] * steps + [np.random.default_rng(tasks.query)]
        self.seen = list(stages(model, theta, tasks.environment, (alpha,) * steps, recipe, rngs))
        last, rows = self.seen[-1], _rows(self.seen[-1].paths.rows[..., None])
        self._rows = max(one.batch.x.shape[1] for one in self.seen)
        parts = in_parts(last.phi, last.batch, self._rows)
        u = np.concatenate([model.predict(phi, batch.x) for phi, batch in parts])
        # The policies that walked, and the weights of steps taken: what "gaussian_kl" compares.
        self.judge = Batch(last.batch.x, np.concatenate([u, rows.astype(u.dtype)], -1))

    @property
    def query(self) -> Batch:
        """The rows that the adapted policies are judged by."""
        return self.seen[-1].batch

    @property
    def value(self) -> float:
        """Minus the mean return after adaptation, undiscounted."""
        return -float(self.seen[-1].paths.returns.mean())

    def gradient(self, exact: bool = True) -> Array:
        """Gradient (P,) of the surrogate by θ; without ``exact`` as if J were I."""
        total = np.zeros_like(self.seen[0].phi)
        for *inner, (phi, query) in self._parts():
            lam = self.model.linearize(phi, query)[1]
            if exact:
                hvps = [self.model.linearize(*own)[2] for own in inner]
                lam = pull_back(reversed(hvps), self.alpha, lam)
            total = total + lam.sum(0)
        return total / len(self.query.x)

    def curvature(self, every: int = 1, exact: bool = True) -> Callable[[Array], Array]:
        """The product v ↦ F v with the Hessian of `judged`'s divergence at θ.

        ``F v = mean over tasks of Jᵀ (Fisher at φ_K) J v``: the divergence and its gradient are 0
        at θ, so there is no other term.

        Parameters
        ----------
        every : int
            Of the rows of support and query only every so many-th is looked at, which estimates
            F; with 1 it is exact.
        exact : bool
            Without, as if J were I.
        """
        inner = self.seen[:-1] if exact else []
        hvps = [self.model.linearize(one.phi, _thinned(one.batch, every))[2] for one in inner]
        fisher = self._of_kl.linearize(self.seen[-1].phi, _thinned(self.judge, every))[2]

        def product(v: Array) -> Array:
            moved = push_forward(hvps, self.alpha, v)
            return pull_back(reversed(hvps), self.alpha, fisher(moved)).mean(0)  # (J2)

        return product

    def judged(self, theta: Array) -> tuple[float, float]:
        """Surrogate of minus the return after adaptation from another θ, and how far it leads.

        The same paths are adapted on and judged by: the surrogate is the mean of −advantage times
        the ratio of probabilities, the divergence the mean KL from the policies that walked.
        """
        found = []
        judges = in_parts(theta, self.judge, self._rows)
        for (*inner, (_, query)), (phi, judge) in zip(self._parts(), judges, strict=True):
            for _, support in inner:
                phi = inner_loop(self.model, phi, support, self.alpha, 1)
            u, before = self.model.predict(phi, query.x), judge.y[..., :-1]
            divergences = gaussian_kl(u, judge.y)[0]
            found.append((surrogate(u, before, query.y), divergences))
        values, divergences = (np.concatenate(each).mean() for each in zip(*found, strict=True))
        return float(values), float(divergences)

    @property
    def surrogate(self) -> float:
        """What `judged` says of θ itself, whose divergence is 0."""
        before = self.judge.y[..., :-1]
        return float(surrogate(before, before, self.query.y).mean())

    def _parts(self) -> list[tuple[tuple[Array, Batch], ...]]:
        """Of every part of the tasks φ and rows of all stages."""
        each = (in_parts(one.phi, one.batch, self._rows) for one in self.seen)
        return list(zip(*each, strict=True))


@dataclass(frozen=True)
class PolicyGradient:
    """Meta-gradient of policies, called as `numaml.meta_gradient` is; for `numaml.train`.

    Parameters
    ----------
    recipe : Recipe
    exact : bool
        Without, first-order: as if J were I.
    """

    recipe: Recipe
    exact: bool = True

    def __call__(
        self, model: MLP, theta: Array, tasks: Any, alpha: float, steps: int
    ) -> tuple[float, Array]:
        adaptation = Adaptation(model, theta, tasks, alpha, steps, self.recipe)
        return adaptation.value, adaptation.gradient(self.exact)


@dataclass(frozen=True)
class TrustRegion:
    """An outer step of policies inside a trust region; ``outer`` of `numaml.train`.

    Parameters
    ----------
    recipe : Recipe
    exact : bool
        Without, first-order: gradient and curvature as if J were I. The step is judged by what
        adaptation makes of it either way.
    limit : float
        What the KL divergence of the adapted policies may be.
    every : int
        Only every so many-th row is looked at for the curvature; all with 1.
    """

    recipe: Recipe
    exact: bool = True
    limit: float = 0.03
    every: int = 8

    def __call__(
        self, model: MLP, theta: Array, tasks: Any, alpha: float, steps: int
    ) -> tuple[float, Array]:
        one = Adaptation(model, theta, tasks, alpha, steps, self.recipe)
        product = one.curvature(self.every, self.exact)
        here = one.surrogate, one.gradient(self.exact)
        return one.value, trust_region_step(theta, *here, product, one.judged, self.limit)


def _thinned(batch: Batch, every: int) -> Batch:
    return Batch(batch.x[:, ::every], batch.y[:, ::every])
