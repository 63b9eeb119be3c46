"""An activation, a loss, an experiment, a format of tables: one file each, and it works everywhere.

Each is added to a copy of the package, and used as a stranger would.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numaml

PACKAGE = Path(numaml.__file__).parent
SHORT = ["--iterations", "20", "--every", "10", "--tasks", "3", "--hidden", "5", "--alone"]


class Copy:
    """The package in a folder of its own, in which programs and commands are run."""

    def __init__(self, folder):
        self.folder, self.package = folder, folder / "numaml"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def changed(self):
        """The files that are not as they were, or were not there."""
        files = [path for path in self.package.rglob("*") if path.is_file()]
        names = [path.relative_to(self.package) for path in files if "__pycache__" not in str(path)]
        was = [PACKAGE / name for name in names]
        return [
            name.as_posix()
            for name, before in zip(names, was, strict=True)
            if not before.exists() or before.read_bytes() != (self.package / name).read_bytes()
        ]

    def append(self, name, text):
        with (self.package / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def run(self, *arguments, status=0):
        """What Python prints with these arguments, on stdout or where it fails on stderr."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "1000"}
        done = subprocess.run(
            [sys.executable, "-W", "error", *map(str, arguments)],
            cwd=self.folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    def command(self, *arguments, status=0):
        return self.run("-m", "numaml", *arguments, status=status)

    def program(self, text):
        place = f"import numaml\nassert numaml.__file__.startswith({str(self.folder)!r})\n"
        return self.run("-c", place + text)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


# Every derivative of a network, to the last digits, against complex steps through its value.
DERIVATIVES = """
import numpy as np
from numaml.check import complex_step
theta, v = model.init(0), np.random.default_rng(1).normal(size=model.size)
x, y = np.random.default_rng(2).normal(size=(2, 3, 7, 2))
batch = numaml.Batch(x[0], y[0])
value, gradient, hvp = model.linearize(theta, batch)
assert value == model.value(theta, batch)
assert abs(complex_step(lambda theta: model.value(theta, batch), theta, v) - gradient @ v) < 1e-12
ahead = complex_step(lambda theta: model.linearize(theta, batch)[1], theta, v)
assert abs(ahead - hvp(v)).max() < 1e-12
tasks = numaml.Tasks(numaml.Batch(x, y), numaml.Batch(x[:, :4], y[:, :4]))
_, meta = numaml.meta_gradient(model, theta, tasks, 0.1, 3)
along = complex_step(lambda theta: numaml.meta_value(model, theta, tasks, 0.1, 3), theta, v)
assert abs(along - meta @ v) < 1e-12
numaml.Learner(model, theta, 0.1, 3).save("new.npz")
assert numaml.Learner.load("new.npz").model == model
"""

ACTIVATION = """
ACTIVATIONS["arctan"] = (
    np.arctan, lambda z: 1 / (1 + z * z), lambda z: -2 * z / (1 + z * z) ** 2
)
"""


def formulas(copy):
    """The first column of what the audit prints."""
    return [line[:30] for line in copy.command("check").splitlines()[1:-1]]


def test_an_activation(copy, tmp_path):
    before = formulas(copy)
    copy.append("network/activations.py", ACTIVATION)
    assert copy.changed() == ["network/activations.py"]
    copy.program('model = numaml.MLP((2, 5, 4, 2), "arctan")' + DERIVATIVES)
    assert formulas(copy) == before
    assert "arctan" in copy.command("train", "sinusoid", "--help")
    copy.command("train", "sinusoid", *SHORT, "--activation", "arctan", "--out", "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["activation"] == "arctan"
    assert "MAML, exact" in copy.command("evaluate", "run")
    (tmp_path / "s.csv").write_text("x,y\n1,2\n")
    copy.command("adapt", "run", "--support", "s.csv", "--query", "s.csv")
    copy.program(
        "import numpy as np\n"
        "x = np.linspace(-1, 1, 60)[:, None]\n"
        "one = numaml.MAMLRegressor(activation='arctan', iterations=3, tasks=2, random_state=0)\n"
        "one.fit(x, x[:, 0] ** 2, np.repeat(np.arange(4), 15))\n"
    )


LOSS = '''

def log_cosh(u: Array, y: Array) -> tuple[Any, Array, Function]:
    """Mean of ln cosh(u − y) over examples and outputs."""
    count, slope = u.shape[-2] * u.shape[-1], np.tanh(u - y)
    value = np.log(np.cosh(u - y)).sum((-2, -1)) / count
    return value, slope / count, lambda u_dot: (1 - slope * slope) * u_dot / count


LOSSES["log_cosh"] = log_cosh
'''


def test_a_loss(copy):
    copy.append("network/losses.py", LOSS)
    assert copy.changed() == ["network/losses.py"]
    copy.program('model = numaml.MLP((2, 5, 4, 2), "tanh", "log_cosh")' + DERIVATIVES)
    copy.program('model = numaml.MLP((2, 5, 2), "tanh", "log_cosh", "layer")' + DERIVATIVES)
    assert copy.command("check").endswith("every formula holds\n")


EXPERIMENT = '''
"""Lines through the origin."""

from dataclasses import dataclass

import numpy as np

from ..data.tasks import Batch, Tasks
from ..network.mlp import MLP
from ..learning.evaluation import evaluate
from .experiment import Experiment
from .figures import learning_curve
from .settings import setting


@dataclass(frozen=True)
class Lines(Experiment):
    """y = slope · x."""

    NAME = "lines"
    HELP = "straight lines, 100 % of them through the origin"
    DESCRIPTION = "Meta-train on lines."
    PRESETS = {"steep": {"slope_limit": 9.0}}

    shots: int = 4
    slope_limit: float = setting(2.0, "slopes are below", metavar="SLOPE", above=0, below=100)

    @property
    def model(self):
        return MLP((1, *self.hidden, 1), self.activation)

    def source(self):
        def tasks(rng):
            slope = rng.uniform(-self.slope_limit, self.slope_limit, (self.tasks, 1, 1))
            x = rng.uniform(-1, 1, (2, self.tasks, self.shots, 1))
            return Tasks(*(Batch(one, slope * one) for one in x))

        return tasks

    def about(self):
        return f"slopes below {self.slope_limit}"

    @classmethod
    def results(cls, trained, seed):
        rows = []
        for learner, one in trained.items():
            tasks = one.experiment.source()(np.random.default_rng([seed, 1]))
            errors = evaluate(one.experiment.model, one.theta, tasks, one.experiment.alpha, 1)
            rows.append({"learner": learner, "before": errors[0].mean(), "after": errors[1].mean()})
        return rows

    @classmethod
    def table(cls, rows):
        return "\\n".join(f"{row['learner']}: {row['before']} -> {row['after']}" for row in rows)

    @classmethod
    def figures(cls, trained, rows, run, seed):
        return [learning_curve(trained, run)]
'''


def test_an_experiment(copy, tmp_path):
    (copy.package / "experiments" / "lines.py").write_text(EXPERIMENT, encoding="utf-8")
    assert copy.changed() == ["experiments/lines.py"]
    assert "straight lines, 100 % of them through" in copy.command("train", "--help")
    text = copy.command("train", "lines", "--help")
    for part in (
        "--slope-limit SLOPE", "slopes are below (default: 2.0)", "steep: slope_limit 9.0",
        "support examples per task (default: 4)", "folder to write (default: runs/lines)",
    ):  # fmt: skip
        assert part in text
    said = copy.command("train", "lines", *SHORT, "--preset", "steep", "--shots", "5")
    for part in ("20 outer steps of 3 tasks each; run folder: runs/lines", "slopes below 9.0",
                 "exact: ", "figures: runs/lines/learning_curve.png"):  # fmt: skip
        assert part in said
    config = json.loads((tmp_path / "runs" / "lines" / "config.json").read_text())
    assert (config["experiment"], config["slope_limit"], config["shots"]) == ("lines", 9.0, 5)
    table = copy.command("evaluate", "runs/lines").strip()
    assert table.startswith("exact: ")
    assert table in said
    refused = copy.command("train", "lines", "--slope-limit", "100", status=2)
    assert "slope_limit is 100.0; want a number > 0, below 100" in refused
    longer = ["train", "--resume", "runs/lines", "--alone", "--iterations", "30"]
    assert "30 outer steps of 3 tasks" in copy.command(*longer)
    refused = copy.command(*longer, "--slope-limit", "3", status=2)
    assert "--slope-limit cannot change in a resumed run" in refused


FORMAT = '''

def read_json(path: str) -> Columns:
    """Read a JSON object with a list per column."""
    import json

    columns = json.loads(Path(path).read_text())
    return Columns(Path(path), {name: np.array(column) for name, column in columns.items()})


READERS[".json"] = read_json
'''


def test_a_format_of_tables(copy, tmp_path):
    copy.append("data/tables.py", FORMAT)
    assert copy.changed() == ["data/tables.py"]
    assert ".parquet or .json" in copy.command("train", "table", "--help")
    rows = [(f"t{i % 6}", i % 7, i, i * (i % 6)) for i in range(72)]
    columns = dict(zip(("task", "a", "b", "y"), zip(*rows, strict=True), strict=True))
    (tmp_path / "t.JSON").write_text(json.dumps(columns))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    options = [*SHORT, "--task", "task", "--target", "y"]
    for name in ("t.JSON", "t.csv"):
        said = copy.command("train", name, *options, "--out", f"run of {name}")
        assert "regression of y; tasks: 4 to train on, 1 to validate with, 1 held out" in said
    runs = [tmp_path / f"run of {name}" for name in ("t.JSON", "t.csv")]
    for file in ("learner.npz", "checkpoint.npz", "results.csv"):
        assert len({(run / file).read_bytes() for run in runs}) == 1, file
    assert "1 held out" not in copy.command("evaluate", "run of t.JSON")
