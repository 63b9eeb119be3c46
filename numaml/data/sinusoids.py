"""MAML's sinusoids: regression tasks that differ in amplitude and phase."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.settings import as_count
from .tasks import Tasks, trusted

Array = np.ndarray[Any, Any]


def sinusoid(amplitude: Any, phase: Any, x: Array) -> Array:
    """MAML's regression target ``A sin(x − φ)``."""
    return amplitude * np.sin(x - phase)


@dataclass(frozen=True)
class Sinusoids:
    """Source of MAML's sinusoid tasks: called with a Generator, it draws fresh `Tasks`.

    ``y = A sin(x − φ)``, amplitude A ~ U[0.1, 5], phase φ ~ U[0, π], x ~ U[−5, 5].

    Parameters
    ----------
    tasks : int
        Number T of tasks per call.
    shots : int
        Support examples per task.
    queries : int
        Query examples per task.

    Raises
    ------
    ValueError
        If a number is below 1.

    References
    ----------
    Finn, Abbeel, Levine 2017, section 5.1. (The JAX and functorch tutorials draw A from
    U[0.1, 0.5] and call it the paper's task.)

    Examples
    --------
    >>> import numpy as np, numaml
    >>> tasks = numaml.Sinusoids(tasks=25, shots=10)(np.random.default_rng(0))
    >>> tasks.support.x.shape, tasks.query.y.shape
    ((25, 10, 1), (25, 10, 1))
    """

    tasks: int = 25
    shots: int = 10
    queries: int = 10

    def __post_init__(self) -> None:
        for name in ("tasks", "shots", "queries"):
            as_count(name, getattr(self, name))

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw amplitudes and phases, each (T, 1, 1).

        Parameters
        ----------
        rng : numpy Generator
            It is advanced.
        """
        shape = (self.tasks, 1, 1)
        return rng.uniform(0.1, 5.0, shape), rng.uniform(0.0, np.pi, shape)

    def __call__(self, rng: np.random.Generator) -> Tasks:
        amplitude, phase = self.draw(rng)
        x = rng.uniform(-5.0, 5.0, (self.tasks, self.shots + self.queries, 1))
        y = sinusoid(amplitude, phase, x)
        shots = self.shots
        return Tasks(trusted(x[:, :shots], y[:, :shots]), trusted(x[:, shots:], y[:, shots:]))
