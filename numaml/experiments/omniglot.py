"""The Omniglot experiment of the MAML paper: characters told apart after a few steps."""

import dataclasses
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..data import omniglot
from ..data.fewshot import FewShot, split_classes
from ..data.omniglot import Characters
from ..data.tasks import Batch
from ..engine.alpha import for_steps
from ..engine.calls import adapt
from ..learning.evaluation import accuracies, mean_and_interval
from ..network.convolution import ConvNet
from ..network.mlp import MLP
from ..network.network import Network
from .experiment import LEARNERS, Array, Row, Trained, Validator, steps_title
from .figures import COLOURS, FAINT, GREEN, INK, RED, figure, learning_curve, plain, write_figure
from .rated import Rated
from .settings import setting, settings

STEPS = (0, 1, 2, 3, 10)  # shown; results.csv has all from 0 to 10
TEST_TASKS, CHUNK = 2000, 100  # tested CHUNK at a time, to bound memory
TEST_STEPS = 3  # that validation counts
# MAML paper, Table 1: accuracy in % by (conv, ways, shots), after 3 steps.
PAPER = {
    (False, 5, 1): "89.7 ± 1.1", (False, 5, 5): "97.5 ± 0.6",
    (True, 5, 1): "98.7 ± 0.4", (True, 5, 5): "99.9 ± 0.1",
}  # fmt: skip
# README of learn2learn, fully connected MAML.
LEARN2LEARN = {(False, 5, 1): "88.9"}


@dataclass(frozen=True)
class Omniglot(Rated):
    """Few-shot classification; the defaults are the MAML paper's (section 5.2 and appendix A).

    Notes
    -----
    MAML's code sums the cross-entropy over the ways · shots examples and divides by shots; here it
    is the mean. So its alpha is ``ways`` times as large here: 0.4 at 5-way is 2.0 (and so are the
    0.1 at which the paper trains its 20-way networks). With ``queries`` 0 there are as many as
    shots, as in MAML's code; validation and test always have as many.
    """

    NAME = "omniglot"
    HELP = "few-shot classification of handwritten characters (MAML paper, section 5.2)"
    DESCRIPTION = (
        "Meta-train on Omniglot as in the MAML paper, without convolutions or with them (--conv), "
        "beside first-order MAML; print the accuracy on characters never trained on beside the "
        "paper's and draw what adaptation does. The defaults are the paper's settings. The data: "
        "images_background.zip and images_evaluation.zip from python/ of the repository "
        "brendenlake/omniglot."
    )
    BESIDE = ("first-order",)
    # Besides the paper's: more query examples make a less noisy meta-gradient, and an outer
    # learning rate that falls to 0 lets it settle, in fewer outer steps. From five shots or with
    # twenty ways, what is trained for one step overshoots in the next ones, so it is trained for
    # two. Five shots leave so little to do better that more characters to learn from count: mirror
    # images. Convolutions are trained for one step at the paper's alpha, where the next ones
    # overshoot; at an eighth of it these do better than the first.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
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
        "conv-1-shot": {
            "conv": True, "filters": (32, 32, 32, 32), "tasks": 8, "queries": 3, "beta": 2e-3,
            "decay": True, "iterations": 125_000, "every": 62_500, "mirrored": True,
            "test_alpha": (2.0, 0.25), "validation_tasks": 1000, "processes": 2, "alone": True,
        },
    }  # fmt: skip

    seed: int = setting(0, "of initialisation, tasks and the choice of characters")
    iterations: int = 60_000
    every: int = setting(1000, "outer steps between checkpoints, and between validations")
    tasks: int = 32
    shots: int = setting(1, "support examples per class")
    queries: int = setting(0, "query examples per class (default: as many as shots)", least=0)
    alpha: float = 2.0
    test_alpha: tuple[float, ...] = setting(
        (), "of the learner in validation and test: of its first step, its second, … and, the last "
        "one, of all others (default: as in training)", metavar="RATE", above=0
    )  # fmt: skip
    hidden: tuple[int, ...] = (256, 128, 64, 64)
    conv: bool = setting(False, "convolutions with kernel 3 and stride 2 in place of hidden")
    filters: tuple[int, ...] = setting(
        (64, 64, 64, 64), "of the convolutions", metavar="N", least=1
    )
    processes: int = setting(1, "that share the tasks of an outer step", metavar="N", least=1)
    ways: int = setting(5, "classes per task", metavar="N", least=2)
    norm: str = setting("batch", "of the hidden layers", choices=("none", "batch", "layer"))
    # In front of a normalisation the weights' size is without effect on the output, and sets how
    # far an inner step turns them.
    spread: float = setting(0.01, "standard deviation of initial weights", metavar="SD")
    mirrored: bool = setting(False, "train on mirror images as characters too")
    characters: int = setting(1200, "characters not in the test", metavar="N", least=1)
    validation: int = setting(100, "of these, for validation", metavar="N")
    validation_tasks: int = setting(200, "of a validation", metavar="N", least=1)
    split: str = setting(
        "characters", "test on characters at random, or on the evaluation set's alphabets after "
        "training on the background's, some of which are for validation, with as many characters "
        "or more", choices=("characters", "alphabets"),
    )  # fmt: skip
    within: bool = setting(False, "with that, take each task from one alphabet")
    data: str = setting("", "folder with the archives, or with omniglot28.npz", metavar="PATH")
    # CRC-32 of the images: the same seed splits other images into other characters, so a run is
    # never continued or tested on any but its own.
    checksum: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_alpha and (self.rates, self.adapt, self.momentum) != ("fixed", "all", 0):
            raise ValueError("test-alpha is a rate for all that is moved; want it with rates "
                             "'fixed', adapt 'all' and no momentum")  # fmt: skip

    @property
    def model(self) -> Network:
        """The network that is trained."""
        image, norm = (omniglot.PIXELS, omniglot.PIXELS, 1), self.norm
        kind = self.activation, "cross_entropy", None if norm == "none" else norm
        if self.conv:
            return ConvNet(image, tuple((n, 3, 2) for n in self.filters), self.ways, *kind)
        return MLP((math.prod(image), *self.hidden, self.ways), *kind)

    def parted(self, vector: Array) -> tuple[Array, Any]:
        """θ, and the rate or rates of the finished learner."""
        theta, alpha = super().parted(vector)
        if len(self.test_alpha) > 1:
            steps = max(TEST_STEPS, len(self.test_alpha))
            return theta, for_steps([*self.test_alpha], steps)
        return theta, self.test_alpha[0] if self.test_alpha else alpha

    @property
    def workers(self) -> int:
        """Of one learner; several have a process each already."""
        return self.processes

    def start(self, rng: np.random.Generator) -> Array:
        """Normal weights of standard deviation ``spread``, as in MAML's code; biases 0.

        Convolutions begin with He's, and a head of zeros.
        """
        if self.conv:
            *seen, (W, b) = self.model.unpack(self.model.init(rng, self.dtype))
            return self.model.pack([*seen, (0 * W, b)])
        theta = np.zeros(self.model.size)
        for W, _ in self.model.unpack(theta):
            W[...] = rng.normal(0, self.spread, W.shape)
        with np.errstate(over="ignore"):  # train refuses what is not finite
            return theta.astype(self.dtype)

    def parts(self) -> tuple[Characters, ...]:
        """Characters to train on, to validate with, and for the test.

        Raises
        ------
        ValueError
            If they are not those the run was trained on, or there are too few.
        """
        found = self._found()
        if self.checksum not in (0, _checksum(found)):
            raise ValueError(
                f"the images of {self.data} are not those this run was trained on; name the same "
                "data with --data PATH"
            )
        images, alphabets = (np.concatenate(both) for both in zip(*found.values(), strict=True))
        if self.split == "alphabets":
            names = self._split_alphabets(found)
            split = tuple(np.flatnonzero(np.isin(alphabets, one)) for one in names)
        else:
            train = self.characters - self.validation
            split = split_classes(np.arange(len(images)), train, self.validation, self.seed)
        return tuple(Characters(images[one], alphabets[one]) for one in split)

    def _found(self) -> dict[str, Characters]:
        if not self.data:
            raise ValueError(
                "where is the data? Name the folder with images_background.zip and "
                "images_evaluation.zip: --data PATH"
            )
        return omniglot.sets(self.data)

    def _split_alphabets(self, found: dict[str, Characters]) -> tuple[Array, ...]:
        """Names of the alphabets to train on, to validate with, and for the test."""
        if missing := set(omniglot.SETS) - {name for name, one in found.items() if len(one.images)}:
            raise ValueError(f"{self.data} has no {missing.pop()} set; want both for split "
                             "'alphabets'")  # fmt: skip
        names, counts = np.unique(found["background"].alphabets, return_counts=True)
        shuffled = np.random.default_rng(self.seed).permutation(len(names))
        held = int((np.cumsum(counts[shuffled]) < self.validation).sum()) + (self.validation > 0)
        if held >= len(names):
            raise ValueError(
                f"validation is {self.validation}, which all {len(names)} background alphabets "
                "are needed for; want fewer, so that one is left to train on"
            )
        validation, train = np.split(names[shuffled], [held])
        return train, validation, found["evaluation"].alphabets

    def tasks_from(self, part: Characters, tasks: int, queries: int) -> FewShot:
        """Source of N-way K-shot tasks from these characters."""
        characters, drawings = part.images.shape[:2]
        y = np.repeat(np.arange(characters), drawings)
        x = part.images.reshape(len(y), -1)
        within = np.repeat(part.alphabets, drawings) if self.within else None
        return FewShot(x, y, self.ways, self.shots, queries, tasks, 1 / 255, within)

    def source(self) -> FewShot:
        """The training characters, each turned by 0°, 90°, 180° and 270° as others.

        A turned alphabet is another one.
        """
        train = self.parts()[0]
        images = omniglot.rotated(train.images, self.mirrored)
        turns = range(len(images) // len(train.images))
        alphabets = np.concatenate(
            [np.char.add(train.alphabets, f", image {turn}") for turn in turns]
        )
        turned = Characters(images, alphabets)
        return self.tasks_from(turned, self.tasks, self.queries or self.shots)

    def validator(self) -> Validator | None:
        """Accuracy on tasks of the validation characters, always the same tasks."""
        if not self.validation:
            return None
        source = self.tasks_from(self.parts()[1], self.validation_tasks, self.shots)
        tasks = source(np.random.default_rng([self.seed, 1]))

        def accuracy(vector: Array) -> float:
            theta, alpha = self.parted(vector)
            alpha = for_steps(alpha, TEST_STEPS)
            return float(accuracies(self.model, theta, tasks, alpha, TEST_STEPS)[-1].mean())

        return accuracy

    def prepared(self) -> Self:
        """The settings with the images' checksum, once every source of tasks was tried."""
        super().prepared()
        self._check_said()
        self.source()
        self.validator()
        self.tasks_from(self.parts()[2], CHUNK, self.shots)
        return dataclasses.replace(self, checksum=_checksum(self._found()))

    def _check_said(self) -> None:
        """Refuse what would be without effect, and more processes than there is work for."""
        given = "with conv" if self.conv else "without conv"
        unused = dict.fromkeys(("hidden", "spread") if self.conv else ("filters",), given)
        if self.split == "alphabets":
            unused["characters"] = "with split 'alphabets'"
        elif self.within:
            raise ValueError("within takes tasks from one alphabet, of which split 'characters' "
                             "leaves too few; want it with split 'alphabets'")  # fmt: skip
        for name, where in unused.items():
            if (got := getattr(self, name)) != settings(type(self))[name].default:
                raise ValueError(f"{name} is {got}, and without effect {where}; leave it out")
        if self.processes > 1 and not self.alone:
            raise ValueError(
                f"processes is {self.processes}; want it with --alone: learners that are compared "
                "are trained at once, in a process each"
            )
        if self.processes > self.tasks:
            raise ValueError(
                f"processes is {self.processes} for {self.tasks} tasks; want at least one for each"
            )

    @classmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> list[Row]:
        """One row per learner and steps: the mean accuracy and its 95 % interval."""
        rows = []
        for learner, one in trained.items():
            with np.errstate(over="ignore", invalid="ignore"):  # who diverges at test guesses
                mean, interval = mean_and_interval(accuracies_on_fresh_tasks(one, seed))
            names = "conv", "ways", "shots", "split", "within"
            of = {name: getattr(one.experiment, name) for name in names}
            case = {"learner": learner, **of}
            rows += [
                {**case, "steps": k, "accuracy": mean[k], "ci95": interval[k]}
                for k in range(len(mean))
            ]
        return rows

    @classmethod
    def table(cls, rows: list[Row]) -> str:
        """The results as text, and what others report."""
        ways, shots = rows[0]["ways"], rows[0]["shots"]
        lines = [
            f"{ways}-way {shots}-shot accuracy in % on {_tested(rows[0])} "
            f"({TEST_TASKS} tasks, ± 95 %)",
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
        if (case := _published(rows[0])) in PAPER:
            paper = [PAPER[case] if k == TEST_STEPS else "" for k in STEPS]
            lines.append(f"{'MAML paper':18}" + "".join(f"{cell:>13}" for cell in paper))
        if case in LEARN2LEARN:
            lines.append(f"learn2learn's README, fully connected MAML: {LEARN2LEARN[case]}")
        return "\n".join([*lines, ""])

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], rows: list[Row], run: Path, seed: int
    ) -> list[Path]:
        """The learning curve, the accuracy after every step, and what happens in one task."""
        first = next(iter(trained.values()))
        return [
            learning_curve(trained, run), accuracy(trained, rows, run), one_task(first, run, seed)
        ]  # fmt: skip


def _checksum(found: dict[str, Characters]) -> int:
    """CRC-32 of the images, and of their alphabets."""
    crc = 0
    for images, alphabets in found.values():
        crc = zlib.crc32(images.data, crc)
        crc = zlib.crc32("\n".join(alphabets.tolist()).encode(), crc)
    return crc


def _tested(row: Row) -> str:
    """What a row of the results was tested on."""
    what = "alphabets" if row["split"] == "alphabets" else "characters"
    return f"{what} never trained on" + ", one a task" * row["within"]


def _published(row: Row) -> tuple[bool, int, int] | None:
    """The case of `PAPER` that a row is, if it is one: there, alphabets are mixed."""
    case = row["conv"], row["ways"], row["shots"]
    return case if row["split"] == "characters" else None


def accuracies_on_fresh_tasks(one: Trained[Omniglot], seed: int) -> Array:
    """Accuracy after 0 … 10 steps on fresh tasks, (11, 2000); the same tasks for a seed."""
    *_, test = one.experiment.parts()
    source = one.experiment.tasks_from(test, CHUNK, one.experiment.shots)
    rng = np.random.default_rng([seed, 2])
    most, alpha = max(STEPS), one.alpha_for(max(STEPS))
    return np.concatenate(
        [
            accuracies(one.experiment.model, one.theta, source(rng), alpha, most)
            for _ in range(TEST_TASKS // CHUNK)
        ],
        axis=1,
    )


def accuracy(trained: Mapping[str, Trained[Omniglot]], rows: list[Row], run: Path) -> Path:
    """Accuracy on fresh tasks against adaptation steps, with 95 % intervals."""
    drawn = figure(7, 4)
    axes = drawn.subplots()
    curves = {
        LEARNERS[one]: (COLOURS[one], [row for row in rows if row["learner"] == one])
        for one in trained
    }
    ways, shots = rows[0]["ways"], rows[0]["shots"]
    if (case := _published(rows[0])) in PAPER:
        published = [float(number) / 100 for number in PAPER[case].split(" ± ")]
        row = dict(zip(("steps", "accuracy", "ci95"), (TEST_STEPS, *published), strict=True))
        curves["MAML paper"] = (INK, [row])
    for name, (colour, points) in curves.items():
        k, mean, interval = ([row[key] for row in points] for key in ("steps", "accuracy", "ci95"))
        style: Any = {"color": colour, "marker": "o", "markersize": 4, "capsize": 3}
        axes.errorbar(k, mean, interval, label=name, **style)
    axes.axhline(1 / ways, color=FAINT, linewidth=1, linestyle=":", label="chance")
    axes.set_xlabel("adaptation steps")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{ways}-way {shots}-shot, {_tested(rows[0])}", loc="left")
    plain(axes)
    axes.legend(frameon=False, loc="center right")
    return write_figure(drawn, run / "accuracy.png")


def one_task(one: Trained[Omniglot], run: Path, seed: int) -> Path:
    """Support and query drawings of a task, and which class each query is taken for."""
    experiment = one.experiment
    source = experiment.tasks_from(experiment.parts()[2], CHUNK, experiment.shots)
    tasks = source(np.random.default_rng([seed, 3]))
    support, query = (Batch(batch.x[0], batch.y[0]) for batch in (tasks.support, tasks.query))
    drawings = {"support": support.x[:: experiment.shots], "query": query.x[:: experiment.shots]}
    verdicts = [np.ones(experiment.ways, bool)] * 2
    for steps in (0, TEST_STEPS):
        phi = adapt(experiment.model, one.theta, support, one.alpha_for(steps), steps)
        if not np.isfinite(phi).all():  # it ran away: there is nothing to show
            continue
        taken = experiment.model.predict(phi, query.x).argmax(-1)[:: experiment.shots]
        when = f"taken for,\nafter {steps} steps" if steps else "taken for,\nbefore"
        drawings[when] = drawings["support"][taken]
        verdicts.append(taken == np.arange(experiment.ways))
    return _drawings(drawings, verdicts, run / "task.png")


def _drawings(drawings: dict[str, Any], right: list[Any], path: Path) -> Path:
    """A row of pictures for each name; framed in red where it is not right."""
    rows, ways = len(drawings), len(right[0])
    drawn = figure(ways + 1.4, rows + 0.8)
    grid = drawn.subplots(rows, ways, squeeze=False)
    for row, (name, pictures) in enumerate(drawings.items()):
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, picture, ok in zip(grid[row], pictures, right[row], strict=True):
            pixels = round(len(picture) ** 0.5)
            axes.imshow(picture.reshape(pixels, pixels), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            colour, width = (FAINT, 0.8) if row < 2 else (GREEN if ok else RED, 2.5)
            axes.spines[:].set(color=colour, linewidth=width)
    drawn.suptitle("One task of characters never trained on")
    return write_figure(drawn, path)
