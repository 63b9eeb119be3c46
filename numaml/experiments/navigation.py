"""2-D navigation, the reinforcement-learning experiment of the MAML paper: policies that adapt."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..data.environments import Goals, Navigation
from ..family.policies import Paths, PolicyGradient, Recipe, TrustRegion, stages
from ..learning.evaluation import mean_and_interval
from ..network.mlp import MLP
from .experiment import LEARNERS, Array, Experiment, Row, Trained, Validator, steps_title
from .figures import COLOURS, FAINT, INK, figure, plain, write_figure
from .settings import setting

STEPS = 4
FRESH = 200  # goals beside the paper's
VALIDATION = 40  # goals to choose by
CHUNK = 40  # goals at once
# The goals of the paper's Table 4, as its code draws them.
GOALS = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))  # the paper's numbers
# Its returns and intervals after 0, 1, 2 and 3 steps.
PAPER = ("-40.41 ± 4.01", "-11.68 ± 2.16", "-3.33 ± 0.55", "-3.23 ± 0.58")
TITLES = {"paper": f"the paper's {len(GOALS)} goals", "fresh": f"{FRESH} fresh goals"}
PICTURED, SHOWN = (2, 5, 11, 30), 10  # of the paper's goals, and paths of each


@dataclass(frozen=True)
class NavigationExperiment(Experiment):
    """Policies that learn to go to a goal; the defaults do better than the paper's protocol."""

    NAME = "navigation"
    HELP = "policies that adapt to a goal on the plane (MAML paper, section 5.3)"
    DESCRIPTION = (
        "Meta-train policies on 2-D navigation as in the MAML paper, with --no-alone beside "
        "first-order MAML; print returns after every adaptation step beside the paper's, on its "
        "40 goals and on fresh ones, and draw the paths. The defaults adapt on the squared "
        "distance, with one scale of advantages for all tasks; the preset paper is the paper's "
        "protocol. Returns are of the plain distance either way. What does best in validation is "
        "kept."
    )
    BESIDE = ("first-order",)
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "better": {},
        "paper": {
            "iterations": 100, "still": False, "discount": 0.99, "reward": "distance",
            "standardise": True, "alpha": 0.1, "later": (0.25, 0.5, 0.125),
            "divergence": 0.01,
        },
    }  # fmt: skip

    iterations: int = 110
    every: int = setting(10, "outer steps between checkpoints, and between validations")
    tasks: int = setting(20, "goals per outer step")
    shots: int = setting(20, "paths per task to adapt on")
    queries: int = setting(20, "paths per task after adaptation", least=1)
    alpha: float = 0.5
    beta: float = setting(1e-2, "outer learning rate of adam")
    hidden: tuple[int, ...] = (100, 100)
    alone: bool = True
    horizon: int = setting(100, "most steps of a path", metavar="H", least=1)
    discount: float = setting(0.9, "of rewards, a step", metavar="GAMMA", below=1)
    spread: float = setting(0.4, "standard deviation of actions at first", metavar="SIGMA", above=0)
    still: bool = setting(True, "begin with actions of mean 0 everywhere")
    reward: str = setting(
        "squared", "distance to adapt on, negative", choices=("distance", "squared")
    )
    standardise: bool = setting(False, "divide a task's advantages by their own deviation")
    optimizer: str = setting(
        "trust-region", "how the outer steps are made", choices=("adam", "trust-region")
    )
    divergence: float = setting(
        0.03, "KL divergence that an outer step may come to", metavar="KL", above=0
    )
    thin: int = setting(
        8, "of all samples look at every N-th for the curvature", metavar="N", least=1
    )
    test_paths: int = setting(
        40, "paths per task in validation and at test, to adapt on and to judge by", metavar="N",
        least=1,
    )  # fmt: skip
    later: tuple[float, ...] = setting(
        (0.5, 1.0, 0.25),
        "alpha after the first step at test, in parts of alpha; chosen on validation goals",
        metavar="PART",
    )

    @property
    def model(self) -> MLP:
        """The network that is trained: of a place, μ and ln σ of the action."""
        return MLP((2, *self.hidden, 4), self.activation, "gaussian_nll")

    @property
    def recipe(self) -> Recipe:
        """How paths are walked, and what an advantage is."""
        squared, each = self.reward == "squared", self.standardise
        return Recipe(self.shots, self.queries, self.horizon, self.discount, squared, each)

    @property
    def recipe_at_test(self) -> Recipe:
        """The same in validation and at test."""
        return replace(self.recipe, paths=self.test_paths, judged_by=self.test_paths)

    def start(self, rng: np.random.Generator) -> Array:
        """Glorot and Bengio's uniform weights, those of ln σ 0; biases 0 but for the spread's."""
        theta = np.zeros(self.model.size)
        layers = self.model.unpack(theta)
        for W, _ in layers:
            W[...] = rng.uniform(-1, 1, W.shape) * math.sqrt(6 / sum(W.shape))
        layers[-1][0][:, 0 if self.still else 2 :] = 0
        layers[-1][1][2:] = math.log(self.spread)
        return theta.astype(self.dtype)

    def source(self) -> Goals:
        """Goals, and seeds of paths."""
        return Goals(self.tasks)

    def gradient(self) -> Callable[..., Any]:
        """The meta-gradient of the paths, held fixed."""
        return PolicyGradient(self.recipe, self.learner != "first-order")

    def outer(self) -> Callable[..., Any] | None:
        """A step inside a trust region, if it is not Adam's."""
        if self.optimizer == "adam":
            return None
        return TrustRegion(self.recipe, self.learner != "first-order", self.divergence, self.thin)

    def validator(self) -> Validator:
        """Mean return over 1, 2, 3 steps on validation goals, the same goals and noise always."""
        alphas = (self.alpha, *[self.later[0] * self.alpha] * 2)

        def score(theta: Array) -> float:
            returns = returns_along(self, theta, self.validation_goals(), alphas, 3)
            return float(np.where(np.isfinite(returns), returns, -1e3)[1:].mean())

        return score

    def validation_goals(self) -> Array:
        """Goals to choose by: those of the seed, never the test's."""
        return np.random.default_rng([self.seed, 3]).uniform(-0.5, 0.5, (VALIDATION, 2))

    def least_memory(self) -> float:
        """Bytes that training cannot do without: the traces of all paths, and θ."""
        rows = self.tasks * self.horizon * (self.shots * self.steps + self.queries)
        numbers = 4 * rows * sum(self.model.sizes) + 4 * self.tasks * self.model.size
        return float(np.dtype(self.dtype).itemsize * numbers)

    @classmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> list[Row]:
        """One row per learner, goals and steps: mean return, its 95 % interval, who got worse."""
        rows = []
        for learner, one in trained.items():
            alphas = chosen(one)
            for number, (which, goals) in enumerate(goals_at_test(seed).items()):
                returns = returns_along(one.experiment, one.theta, goals, alphas, [seed, number])
                mean, interval = mean_and_interval(returns)
                worse = [0, *(returns[1:] < returns[:-1]).sum(1).tolist()]
                rows += [
                    {"learner": learner, "goals": which, "steps": k, "return": mean[k],
                     "ci95": interval[k], "worse": worse[k], "alpha": (*alphas, 0.0)[k]}
                    for k in range(STEPS + 1)
                ]  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: list[Row]) -> str:
        """The results as text, the paper's below those on its goals."""
        lines = []
        for which in TITLES:
            lines += [
                f"mean return over {TITLES[which]} (minus the sum of distances, ± 95 %)",
                " " * 18 + "".join(f"{steps_title(k):>16}" for k in range(STEPS + 1)),
            ]
            for learner, name in LEARNERS.items():
                mine = [r for r in rows if (r["learner"], r["goals"]) == (learner, which)]
                cells = [f"{row['return']:.2f} ± {row['ci95']:.2f}" for row in mine]
                worse = ["", *(f"{row['worse']} worse" for row in mine[1:])]
                for title, texts in ((name, cells), ("  of the goals", worse)) if mine else ():
                    lines.append(f"{title:18}" + "".join(f"{text:>16}" for text in texts))
            if which == "paper":
                lines.append(f"{'MAML paper':18}" + "".join(f"{text:>16}" for text in PAPER))
            lines.append("")
        return "\n".join(lines)

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], rows: list[Row], run: Path, seed: int
    ) -> list[Path]:
        """Returns against outer steps, the paths, and each goal before and after."""
        learner, one = next(iter(trained.items()))
        mine = [row for row in rows if row["learner"] == learner][:STEPS]
        alphas = tuple(row["alpha"] for row in mine)
        return [
            learning_curve(trained, run),
            paths(one, alphas, run, seed),
            each_goal(one, alphas, run, seed),
        ]


def goals_at_test(seed: int) -> dict[str, Array]:
    """The paper's, and fresh ones of the seed."""
    fresh = np.random.default_rng([seed, 2]).uniform(-0.5, 0.5, (FRESH, 2))
    return {"paper": GOALS, "fresh": fresh}


def walked(
    one: NavigationExperiment, theta: Array, goals: Array, alphas: Sequence[float], rng: Any
) -> list[Paths]:
    """What is walked before and after every step, up to where policies run away."""
    rngs = [np.random.default_rng(rng)] * (len(alphas) + 1)
    found, recipe = [], one.recipe_at_test
    with np.errstate(all="ignore"):
        try:
            for stage in stages(one.model, theta, Navigation(goals), alphas, recipe, rngs):
                found.append(stage.paths)  # noqa: PERF401  # kept if it overflows
        except FloatingPointError:
            pass  # the steps that ran away have no paths
    return found


def returns_along(
    one: NavigationExperiment, theta: Array, goals: Array, alphas: Sequence[float], rng: Any
) -> Array:
    """Return of every goal after 0, 1, …, K steps (K + 1, goals), NaN where they ran away.

    Parameters
    ----------
    rng : seed or sequence of them
    """
    returns = np.full((len(alphas) + 1, len(goals)), np.nan)
    for start in range(0, len(goals), CHUNK):
        part = slice(start, start + CHUNK)
        found = walked(one, theta, goals[part], alphas, [*np.atleast_1d(rng), start])
        for k, each in enumerate(found):
            returns[k, part] = each.returns
    return returns


def chosen(one: Trained[NavigationExperiment]) -> tuple[float, ...]:
    """α of every step at test: what the validation goals do best with."""
    experiment, scores = one.experiment, {}
    for part in experiment.later:
        alphas = (experiment.alpha, *[part * experiment.alpha] * (STEPS - 1))
        goals = experiment.validation_goals()
        returns = returns_along(experiment, one.theta, goals, alphas, 4)
        scores[alphas] = float(np.where(np.isfinite(returns), returns, -1e3)[1:].mean())
    return max(scores, key=scores.__getitem__)


def learning_curve(trained: Mapping[str, Trained[Any]], run: Path) -> Path:
    """Return after adaptation against outer steps, and in validation."""
    drawn = figure(7, 4)
    axes = drawn.subplots()
    for learner, one in trained.items():
        colour = COLOURS[learner]
        axes.plot(-np.array(one.state.values), color=colour, label=LEARNERS[learner])
        if one.state.scores:
            axes.plot(*np.array(one.state.scores).T, "o:", color=colour, markersize=4)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xlabel("outer step")
    axes.set_ylabel("return")
    axes.set_title(
        "Return after adaptation in training; dots: validation, 1 to 3 steps", loc="left"
    )
    plain(axes)
    axes.legend(frameon=False)
    return write_figure(drawn, run / "learning_curve.png")


def paths(
    one: Trained[NavigationExperiment], alphas: Sequence[float], run: Path, seed: int
) -> Path:
    """Paths to some of the paper's goals, before adaptation and after 1 and 3 steps."""
    found = walked(one.experiment, one.theta, GOALS[list(PICTURED)], alphas, [seed, 5])
    drawn = figure(9, 3.1)
    grid = drawn.subplots(1, 3, sharex=True, sharey=True)
    for axes, k in zip(grid, (0, 1, 3), strict=True):
        axes.set_title("before adaptation" if not k else f"after {steps_title(k)}", loc="left")
        axes.plot(0, 0, "o", color=INK, markersize=4)
        for number, goal in enumerate(GOALS[list(PICTURED)]):
            colour = f"C{number}"
            for path in _lines(found[k], number) if k < len(found) else ():
                axes.plot(*path.T, color=colour, linewidth=0.7, alpha=0.6)
            axes.plot(*goal, "*", color=colour, markersize=13, markeredgecolor=INK)
        axes.set(xlim=(-0.75, 0.75), ylim=(-0.75, 0.75), aspect="equal")
        axes.tick_params(color=FAINT)
    return write_figure(drawn, run / "paths.png")


def _lines(found: Paths, task: int) -> Sequence[Array]:
    """Places of the first paths, up to their ends."""
    both = zip(found.observations[task, :SHOWN], found.taken[task, :SHOWN], strict=True)
    return [places[taken] for places, taken in both]


def each_goal(
    one: Trained[NavigationExperiment], alphas: Sequence[float], run: Path, seed: int
) -> Path:
    """Return for each of the paper's goals against its distance, before and after steps."""
    returns = returns_along(one.experiment, one.theta, GOALS, alphas, [seed, 0])
    drawn = figure(7, 4)
    axes = drawn.subplots()
    away = np.sqrt((GOALS**2).sum(1))
    for k, marker in ((0, "x"), (1, "s"), (3, "o")):
        axes.plot(away, returns[k], marker, markersize=4, label=steps_title(k))
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xlabel("distance of the goal from the start")
    axes.set_ylabel("return")
    axes.set_title("Each of the paper's goals, before and after adaptation", loc="left")
    plain(axes)
    axes.legend(frameon=False)
    return write_figure(drawn, run / "each_goal.png")
