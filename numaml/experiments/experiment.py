"""What an experiment is: its settings, its model, its tasks, and what is told of the outcome."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np

from ..engine.alpha import for_steps
from ..engine.calls import first_order_meta_gradient, meta_gradient
from ..files.version import __version__
from ..learning.learner import Learner
from ..learning.outer import Source
from ..learning.state import State
from ..network.activations import ACTIVATIONS
from ..network.network import Network
from .memory import check_memory
from .settings import setting, settings

Array = np.ndarray[Any, Any]
Validator = Callable[[Array], float]
Row = dict[str, Any]  # of a file
E = TypeVar("E", bound="Experiment", covariant=True)

LEARNERS = {
    "exact": "MAML, exact",
    "first-order": "first-order MAML",
    "pretrained": "pretrained on all tasks",
}


class Trained(NamedTuple, Generic[E]):
    """One learner as its folder has it."""

    experiment: E
    state: State

    @property
    def vector(self) -> Array:
        """All that was learned, as it did best in validation, or the last of it."""
        return self.state.theta if self.state.best is None else self.state.best

    @property
    def theta(self) -> Array:
        """The meta-parameters in it."""
        return self.experiment.parted(self.vector)[0]

    @property
    def alpha(self) -> Any:
        """The inner learning rate, or rates, to adapt them by."""
        return self.experiment.parted(self.vector)[1]

    def alpha_for(self, steps: int) -> Any:
        """The same for so many steps, where each has its own."""
        return for_steps(self.alpha, steps)


@dataclass(frozen=True)
class Experiment(ABC):
    """An experiment with one learner's settings: what `numaml.experiments` says it must offer.

    Its fields are its settings, with what the command line says of them. Two have a meaning of
    their own wherever there are settings: ``learner`` is "exact", "first-order", or "pretrained",
    which is one network fitted to all tasks together, meta-training with no inner step; ``data``,
    where an experiment has it, is a path, which may be another when a run is resumed or evaluated,
    and which the learners that are sent to others say nothing of.

    Raises
    ------
    TypeError, ValueError
        If a setting is not of its kind, or outside of its limits.
    """

    NAME: ClassVar[str]
    HELP: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    BESIDE: ClassVar[tuple[str, ...]] = ()
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    learner: str = setting("exact", choices=tuple(LEARNERS))
    seed: int = setting(0, "of initialisation and tasks", metavar="N")
    iterations: int = setting(70_000, "outer steps", metavar="N", least=1)
    every: int = setting(1000, "outer steps between checkpoints", metavar="N", least=1)
    tasks: int = setting(25, "tasks per outer step", metavar="T", least=1)
    shots: int = setting(10, "support examples per task", metavar="N", least=1)
    queries: int = setting(10, "query examples per task", metavar="N", least=1)
    alpha: float = setting(0.01, "inner learning rate", metavar="RATE")
    steps: int = setting(1, "inner steps in training", metavar="K")
    beta: float = setting(1e-3, "outer learning rate", metavar="RATE", above=0)
    decay: bool = setting(False, "let it fall linearly to 0 at the last outer step")
    hidden: tuple[int, ...] = setting(
        (40, 40), "widths of the hidden layers", metavar="WIDTH", least=1
    )
    activation: str = setting("relu", "of the hidden layers", choices=tuple(sorted(ACTIVATIONS)))
    limit: float = setting(0.0)  # most that the norm of a meta-gradient may be, if it is not 0
    alone: bool = setting(False, "train no other learners for comparison")
    dtype: str = setting("float32", "of training", choices=("float32", "float64"))

    def __post_init__(self) -> None:
        for name, one in settings(type(self)).items():
            one.check(getattr(self, name))

    @classmethod
    def takes(cls, word: str) -> bool:
        """Whether ``train WORD`` is short for ``train NAME --data WORD``."""
        return False

    @property
    @abstractmethod
    def model(self) -> Network:
        """The network that is trained."""

    @property
    def workers(self) -> int:
        """How many processes share the tasks of an outer step."""
        return 1

    def start(self, rng: np.random.Generator) -> Array:
        """Meta-parameters to begin with."""
        return self.model.init(rng, self.dtype)

    @property
    def inner(self) -> Any:
        """The inner learning rate of training."""
        return self.alpha

    def joined(self, theta: Array) -> Array:
        """All that is learned, in one vector: θ and, in some experiments, rates."""
        return theta

    def parted(self, vector: Array) -> tuple[Array, Any]:
        """θ in such a vector, and the inner learning rate to adapt it by."""
        return vector, self.alpha

    @abstractmethod
    def source(self) -> Source:
        """Where the tasks to train on come from."""

    def gradient(self) -> Callable[..., Any]:
        """What takes the meta-gradient, called as `numaml.meta_gradient` is."""
        return first_order_meta_gradient if self.learner == "first-order" else meta_gradient

    def outer(self) -> Callable[..., Any] | None:
        """An outer step in place of the meta-gradient and Adam, as `numaml.train` takes it."""
        return None

    def validator(self) -> Validator | None:
        """What to choose the best meta-parameters by, if not simply the last ones."""
        return None

    def prepared(self) -> Self:
        """The settings together with what is to be known of the data; errors before any work."""
        check_memory(self.least_memory())
        return self

    def least_memory(self) -> float:
        """Bytes that training cannot do without: θ, its gradient, Adam's moments, activations."""
        sizes, exact = self.model.sizes, self.learner == "exact"
        kept, at_once = (self.steps, 1) if exact else (0, self.tasks)  # the smallest block is one
        inputs = self.tasks * (self.shots + self.queries) * sizes[0]
        examples = at_once * (self.shots * (kept + 1) + self.queries)
        return np.dtype(self.dtype).itemsize * (
            4 * self.model.size + inputs + examples * sum(sizes[1:])
        )

    def about(self) -> str:
        """What is learned, and from what, if there is something to say before the training."""
        return ""

    def finished(self, theta: Array) -> Learner:
        """What the run's ``learner.npz`` holds."""
        said = dataclasses.asdict(self)
        for name in ("data", "alone"):  # nothing that the learner was trained by
            said.pop(name, None)
        provenance = {"numaml": __version__, "experiment": self.NAME, **said}
        return Learner(self.model, theta, self.alpha, self.steps, provenance=provenance)

    @property
    def measure(self) -> str:
        """What validation measures, an accuracy or an error."""
        loss = self.model.loss
        return "accuracy" if loss == "cross_entropy" else loss.replace("_", " ")

    def others(self) -> dict[str, Self]:
        """What belongs to the same run, by the folders inside it that it is trained in."""
        return {}

    @classmethod
    @abstractmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> Any:
        """How the learners of a run do on fresh tasks, which the seed names: rows, as a rule."""

    @classmethod
    @abstractmethod
    def table(cls, results: Any) -> str:
        """The results as text."""

    @classmethod
    def tables(cls, results: Any) -> dict[str, list[Row]]:
        """Rows of the CSV files that are written of the results, by the files' names."""
        return {"results.csv": results}

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], results: Any, run: Path, seed: int
    ) -> list[Path]:
        """Draw files into a folder (needs matplotlib): their paths."""
        return []


def steps_title(k: int) -> str:
    """What stands over a column of results."""
    return "1 step" if k == 1 else f"{k} steps"
