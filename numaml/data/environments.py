"""Environments: tasks in which a policy acts, many paths at once, on arrays.

Observations, actions, rewards and ends of T tasks with N paths each are (T, N, …) arrays.
"""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

FARTHEST, NEAR = 0.1, 0.01


class Environment(Protocol):
    """What numaml needs of an environment: to begin N paths in each of its T tasks, and to go on.

    ``reset(paths, rng)`` gives observations (T, N, n_in). ``step(actions)`` takes actions
    (T, N, d) and gives observations, rewards (T, N), and ends (T, N), which are true where a path
    ends with this step; what is observed after a path's end is not looked at, and must be finite.
    """

    def reset(self, paths: int, rng: np.random.Generator) -> Array: ...

    def step(self, actions: Array) -> tuple[Array, Array, Array]: ...


class Navigation:
    """MAML's 2-D navigation: a point that starts at (0, 0) and is to go to its task's goal.

    An action moves it by 0.1 of itself, by at most ±0.1 in each coordinate. The reward is minus
    the distance from the goal after the move; a path ends within ±0.01 of it.

    Parameters
    ----------
    goals : (T, 2) array
        One for each task.

    Raises
    ------
    ValueError
        If goals are not finite numbers of this shape.

    References
    ----------
    Finn, Abbeel, Levine 2017, section 5.3, as its code has it. (The text has the squared distance.)

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.environments import Navigation
    >>> point = Navigation(np.array([[0.3, 0.0], [0.0, -0.2]]))
    >>> point.reset(3, np.random.default_rng(0)).shape
    (2, 3, 2)
    >>> where, rewards, ends = point.step(np.full((2, 3, 2), [5.0, 0.0]))
    >>> where[0, 0], rewards[0].round(3), ends.any()
    (array([0.1, 0. ]), array([-0.2, -0.2, -0.2]), np.False_)
    """

    def __init__(self, goals: Any) -> None:
        goals = np.asarray(goals, float)
        if goals.ndim != 2 or goals.shape[1] != 2 or not len(goals):
            raise ValueError(f"goals has shape {goals.shape}; want (T, 2), a row for each task")
        if not np.isfinite(goals).all():
            raise ValueError("goals has NaN or infinity; want finite numbers")
        self.goals = goals
        self._where = np.zeros((len(goals), 1, 2))

    def reset(self, paths: int, rng: np.random.Generator) -> Array:
        """Begin so many paths in each task, at (0, 0).

        Parameters
        ----------
        paths : int
        rng : numpy Generator
            Nothing is drawn.
        """
        self._where = np.zeros((len(self.goals), paths, 2))
        return self._where

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        """Move every point.

        Parameters
        ----------
        actions : (T, N, 2) array

        Returns
        -------
        observations : (T, N, 2) array
        rewards : (T, N) array
        ends : (T, N) array of bool
        """
        self._where = self._where + np.clip(FARTHEST * actions, -FARTHEST, FARTHEST)
        away = self._where - self.goals[:, None]
        rewards = -np.sqrt(np.add.reduce(away * away, -1))
        return self._where, rewards, (abs(away) < NEAR).all(-1)


@dataclass(frozen=True)
class Rounds:
    """What one outer step of policies is made of: an environment, and seeds of what is drawn in it.

    Parameters
    ----------
    environment : Environment
    support, query : int
        Seeds of the paths to adapt on, and of those after adaptation.
    """

    environment: Environment
    support: int
    query: int


@dataclass(frozen=True)
class Goals:
    """Source of navigation tasks: called with a Generator, it draws goals U[−0.5, 0.5]² and seeds.

    Parameters
    ----------
    tasks : int
        Number T of goals per call.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.environments import Goals
    >>> Goals(20)(np.random.default_rng(0)).environment.goals.shape
    (20, 2)
    """

    tasks: int = 20

    def __call__(self, rng: np.random.Generator) -> Rounds:
        goals = rng.uniform(-0.5, 0.5, (self.tasks, 2))
        support, query = rng.integers(2**63, size=2).tolist()
        return Rounds(Navigation(goals), support, query)


class Gymnasium:
    """A vector environment of gymnasium, with T tasks of N copies each, as an `Environment`.

    Parameters
    ----------
    envs : gymnasium.vector.VectorEnv
        T·N environments, the N of a task one after another, with a box of numbers to observe and
        another to act in; actions are clipped to it.
    tasks : int
        T.

    Raises
    ------
    ValueError
        If the environments cannot be shared out among so many tasks.

    Notes
    -----
    A path ends where its environment is terminated or truncated. What gymnasium makes of it
    then (it may begin another path by itself) is not looked at.
    """

    def __init__(self, envs: Any, tasks: int) -> None:
        if tasks < 1 or envs.num_envs % tasks:
            raise ValueError(
                f"envs has {envs.num_envs} environments; want a multiple of tasks, {tasks}"
            )
        self.envs, self.tasks = envs, tasks

    def reset(self, paths: int, rng: np.random.Generator) -> Array:
        """Begin a path in every environment; N must be as many as each task has.

        Parameters
        ----------
        paths : int
        rng : numpy Generator
            Seeds the environments.
        """
        if paths * self.tasks != self.envs.num_envs:
            raise ValueError(
                f"paths is {paths}; {self.envs.num_envs} environments of {self.tasks} tasks have "
                f"{self.envs.num_envs // self.tasks} each"
            )
        return self._shared(self.envs.reset(seed=int(rng.integers(2**31)))[0])

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        """Act in every environment.

        Parameters
        ----------
        actions : (T, N, d) array

        Returns
        -------
        observations : (T, N, n_in) array
        rewards : (T, N) array
        ends : (T, N) array of bool
        """
        space = self.envs.single_action_space
        flat = actions.reshape(-1, *space.shape).clip(space.low, space.high).astype(space.dtype)
        seen, rewards, terminated, truncated, _ = self.envs.step(flat)
        return self._shared(seen), self._shared(rewards), self._shared(terminated | truncated)

    def _shared(self, array: Array) -> Array:
        """(T·N, …) as (T, N, …)."""
        return array.reshape(self.tasks, -1, *array.shape[1:])
