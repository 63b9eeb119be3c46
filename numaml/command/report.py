"""What is told of a run after it was trained or evaluated: a table, files, and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..experiments import runs
from ..experiments.experiment import Experiment, Trained
from .say import say


def report(trained: Mapping[str, Trained[Any]], seed: int, folder: Path | None = None) -> int:
    """Test the run's learners on the seed's tasks and print; into a folder, write and draw."""
    kind = type(next(iter(trained.values())).experiment)
    results = kind.results(trained, seed)
    say()
    say(kind.table(results))
    if folder is not None:
        paths = runs.write_tables(kind.tables(results), folder)
        say("written: " + ", ".join(map(str, paths)))
        draw(kind, trained, results, folder, seed)
    return 0


def draw(
    kind: type[Experiment],
    trained: Mapping[str, Trained[Any]],
    results: Any,
    folder: Path,
    seed: int,
) -> None:
    """Draw the experiment's figures, where there is matplotlib."""
    try:
        import matplotlib  # noqa: F401  # only to find out whether there is one
    except ImportError:
        say("no figures: they need matplotlib; pip install 'numaml[plot]'")
        return
    with np.errstate(all="ignore"):  # the curves of who diverges at test leave the picture
        paths = kind.figures(trained, results, folder, seed)
    say("figures: " + ", ".join(map(str, paths)))
