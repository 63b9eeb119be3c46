"""The Omniglot experiment of the MAML paper: characters told apart after a few steps."""

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ..data import omniglot
from ..data.fewshot import FewShot, split_classes
from ..network.mlp import MLP
from ..training.evaluation import accuracies, mean_and_interval
from . import shared as experiment
from .shared import LEARNERS, Trained, Validator, steps_title

Array = np.ndarray[Any, Any]

STEPS = (0, 1, 2, 3, 10)  # shown; results.csv has all from 0 to 10
TEST_TASKS, CHUNK = 2000, 100  # tested CHUNK at a time, to bound memory
VALIDATION_TASKS, TEST_STEPS = 200, 3
# MAML paper, Table 1, "MAML, no conv": accuracy in % by (ways, shots), after 3 steps.
PAPER = {(5, 1): "89.7 ± 1.1", (5, 5): "97.5 ± 0.6"}
# README of learn2learn, fully connected MAML.
LEARN2LEARN = {(5, 1): "88.9"}

# Settings besides the paper's, by name: more query examples make a less noisy meta-gradient, and an
# outer learning rate that falls to 0 lets it settle, in fewer outer steps. From five shots or with
# twenty ways, what is trained for one step overshoots in the next ones, so it is trained for two.
# Five shots leave so little to do better that more characters to learn from count: mirror images.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "1-shot": {"queries": 5, "decay": True, "iterations": 40_000},
    "5-shot": {
        "shots": 5, "steps": 2, "tasks": 16, "beta": 2e-3, "decay": True, "iterations": 50_000,
        "mirrored": True, "validation": 50,
    },
    "20-way": {
        "ways": 20, "steps": 2, "tasks": 16, "queries": 2, "beta": 2e-3, "decay": True,
        "iterations": 18_000,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Config(experiment.Config):
    """One learner's settings; the defaults are the MAML paper's (section 5.2 and appendix A).

    Parameters
    ----------
    ways : int
        Classes per task.
    norm : str
        "none", or as for `numaml.MLP`.
    spread : float
        Standard deviation of the initial weights. In front of a normalisation their size is
        without effect on the output and sets how far an inner step turns them.
    mirrored : bool
        Whether mirror images of the characters to train on are characters as well.
    characters, validation : int
        Characters to train on, and how many of these only validate; the others are the test's.
    data : str
        Path for `numaml.omniglot.load`.
    checksum : int
        CRC-32 of its images: the same seed splits other images into other characters, so a run is
        never continued or tested on any but its own.

    Notes
    -----
    MAML's code sums the cross-entropy over the ways · shots examples and divides by shots; here it
    is the mean. So its alpha is ``ways`` times as large here: 0.4 at 5-way is 2.0 (and so are the
    0.1 at which the paper trains its 20-way networks). With ``queries`` 0 there are as many as
    shots, as in MAML's code; validation and test always have as many.
    """

    NAME: ClassVar[str] = "omniglot"
    BESIDE: ClassVar[tuple[str, ...]] = ("first-order",)

    iterations: int = 60_000
    tasks: int = 32
    shots: int = 1
    queries: int = 0
    alpha: float = 2.0
    hidden: tuple[int, ...] = (256, 128, 64, 64)
    ways: int = 5
    norm: str = "batch"
    spread: float = 0.01
    mirrored: bool = False
    characters: int = 1200
    validation: int = 100
    data: str = ""
    checksum: int = 0

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        sizes = (omniglot.PIXELS**2, *self.hidden, self.ways)
        norm = None if self.norm == "none" else self.norm
        return MLP(sizes, self.activation, "cross_entropy", norm)

    def start(self, rng: np.random.Generator) -> Array:
        """Normal weights of standard deviation ``spread``, as in MAML's code; biases 0."""
        theta = np.zeros(self.model.size)
        for W, _ in self.model.unpack(theta):
            W[...] = rng.normal(0, self.spread, W.shape)
        with np.errstate(over="ignore"):  # train refuses what is not finite
            return theta.astype(self.dtype)

    def images(self) -> tuple[Array, ...]:
        """Drawings (characters, 20, 28, 28) to train on, to validate with, and for the test.

        Raises
        ------
        ValueError
            If they are not those the run was trained on, or there are too few.
        """
        if not self.data:
            raise ValueError(
                "where is the data? Name the folder with images_background.zip and "
                "images_evaluation.zip: --data PATH"
            )
        images = omniglot.load(self.data)
        if self.checksum not in (0, zlib.crc32(images.data)):
            raise ValueError(
                f"the images of {self.data} are not those this run was trained on; name the same "
                "data with --data PATH"
            )
        train = self.characters - self.validation
        split = split_classes(np.arange(len(images)), train, self.validation, self.seed)
        return tuple(images[characters] for characters in split)

    def tasks_from(self, images: Array, tasks: int, queries: int) -> FewShot:
        """Source of N-way K-shot tasks from these characters."""
        characters, drawings = images.shape[:2]
        y = np.repeat(np.arange(characters), drawings)
        x = images.reshape(len(y), -1)
        return FewShot(x, y, self.ways, self.shots, queries, tasks, scale=1 / 255)

    def source(self) -> FewShot:
        """The training characters, each turned by 0°, 90°, 180° and 270° as others."""
        train = omniglot.rotated(self.images()[0], self.mirrored)
        return self.tasks_from(train, self.tasks, self.queries or self.shots)

    def validator(self) -> Validator | None:
        """Accuracy on tasks of the validation characters, always the same tasks."""
        if not self.validation:
            return None
        source = self.tasks_from(self.images()[1], VALIDATION_TASKS, self.shots)
        tasks = source(np.random.default_rng([self.seed, 1]))

        def accuracy(theta: Array) -> float:
            return float(accuracies(self.model, theta, tasks, self.alpha, TEST_STEPS)[-1].mean())

        return accuracy

    def prepared(self) -> Self:
        """The settings with the images' checksum, once every source of tasks was tried."""
        super().prepared()
        self.source()
        self.validator()
        self.tasks_from(self.images()[2], CHUNK, self.shots)
        return dataclasses.replace(self, checksum=zlib.crc32(omniglot.load(self.data).data))


def accuracies_on_fresh_tasks(one: Trained, seed: int) -> Array:
    """Accuracy after 0 … 10 steps on fresh tasks, (11, 2000); the same tasks for a seed."""
    *_, test = one.config.images()
    source = one.config.tasks_from(test, CHUNK, one.config.shots)
    rng = np.random.default_rng([seed, 2])
    return np.concatenate(
        [
            accuracies(one.config.model, one.theta, source(rng), one.config.alpha, max(STEPS))
            for _ in range(TEST_TASKS // CHUNK)
        ],
        axis=1,
    )


def results(trained: dict[str, Trained], seed: int) -> list[dict[str, Any]]:
    """One row per learner and steps: the mean accuracy and its 95 % interval."""
    rows = []
    for learner, one in trained.items():
        with np.errstate(over="ignore", invalid="ignore"):  # who diverges at test guesses
            mean, interval = mean_and_interval(accuracies_on_fresh_tasks(one, seed))
        case = {"learner": learner, "ways": one.config.ways, "shots": one.config.shots}
        rows += [
            {**case, "steps": k, "accuracy": mean[k], "ci95": interval[k]} for k in range(len(mean))
        ]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text, and what others report."""
    ways, shots = rows[0]["ways"], rows[0]["shots"]
    lines = [
        f"{ways}-way {shots}-shot accuracy in % on characters never trained on ({TEST_TASKS} tasks,"
        " ± 95 %)",
        " " * 18 + "".join(f"{steps_title(k):>13}" for k in STEPS),
    ]
    for learner, name in LEARNERS.items():
        cells = [
            f"{100 * row['accuracy']:.1f} ± {100 * row['ci95']:.1f}"
            for row in rows
            if row["learner"] == learner and row["steps"] in STEPS
        ]
        if cells:
            lines.append(f"{name:18}" + "".join(f"{cell:>13}" for cell in cells))
    if (ways, shots) in PAPER:
        paper = [PAPER[ways, shots] if k == TEST_STEPS else "" for k in STEPS]
        lines.append(f"{'MAML paper':18}" + "".join(f"{cell:>13}" for cell in paper))
    if (ways, shots) in LEARN2LEARN:
        lines.append(f"learn2learn's README, fully connected MAML: {LEARN2LEARN[ways, shots]}")
    return "\n".join([*lines, ""])
