"""``numaml evaluate``: how the learners of a run do on fresh tasks."""

import argparse
from pathlib import Path
from typing import Any

from ..experiments import runs
from ..experiments.experiment import Experiment
from ..experiments.settings import settings
from .options import reader
from .report import report


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a run folder on fresh tasks",
        description="Print how the learners in a run folder do on fresh tasks.",
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="a folder that train wrote")
    seed = reader(settings(Experiment)["seed"])
    add("--seed", type=seed, metavar="N", help="of the test tasks (default: the run's)")
    add("--data", metavar="PATH", help="its data, if it has moved")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the results, and write them into the run folder, beside those of other seeds."""
    folder: Path = options.folder
    saved = runs.read(folder)
    if options.data and "data" not in settings(type(saved)):
        raise ValueError(f"{folder} is a {saved.NAME} run, which needs no data; leave --data out")
    trained = runs.load(folder, **({"data": options.data} if options.data else {}))
    return report(trained, folder, saved.seed if options.seed is None else options.seed)
