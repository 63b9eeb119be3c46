"""``numaml evaluate``: how the learners of a run do on fresh tasks."""

import argparse
from pathlib import Path
from typing import Any

from ..experiments import runs
from ..experiments.experiment import LEARNERS, Experiment
from ..experiments.settings import settings
from .options import reader
from .report import report
from .say import say


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a run folder on fresh tasks",
        description="Print how the learners in a run folder do on fresh tasks; files and figures "
        "only where --out says.",
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="a folder that train wrote")
    seed = reader(settings(Experiment)["seed"])
    add("--seed", type=seed, metavar="N", help="of the test tasks (default: the run's)")
    add("--data", metavar="PATH", help="its data, if it has moved")
    shots = reader(settings(Experiment)["shots"])
    add("--shots", type=shots, nargs="+", metavar="N", help="support rows, for tables: one or more")
    add("--out", type=Path, metavar="FOLDER", help="write tables and figures there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the results, and write them into the run folder, beside those of other seeds."""
    folder: Path = options.folder
    saved = runs.read(folder)
    changes = {"data": options.data, "tested": options.shots and tuple(options.shots)}
    changes = {name: one for name, one in changes.items() if one}
    for name, typed in (("data", "--data"), ("tested", "--shots")):
        if name in changes and name not in settings(type(saved)):
            raise ValueError(
                f"{folder} is a {saved.NAME} run, which needs no {typed}; leave it out"
            )
    trained = runs.load(folder, **changes)
    for one in trained.values():
        if one.state.iteration < one.experiment.iterations:
            done = f"{one.state.iteration} of {one.experiment.iterations} outer steps"
            say(f"{LEARNERS[one.experiment.learner]} has {done}: {runs.how_to_finish(folder)}")
    return report(trained, saved.seed if options.seed is None else options.seed, options.out)
