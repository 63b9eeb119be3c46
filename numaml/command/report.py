"""What is told of a run after it was trained or evaluated: a table, a file, and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..experiments import runs
from ..experiments.experiment import Experiment, Row, Trained
from .say import say


def report(trained: Mapping[str, Trained[Any]], run: Path, seed: int, figures: bool = False) -> int:
    """Test the run's learners on the seed's tasks; print, write and perhaps draw the results."""
    kind = type(next(iter(trained.values())).experiment)
    rows = kind.results(trained, seed)
    say()
    say(kind.table(rows))
    say(f"written to {runs.write_results(rows, run, seed)}")
    if figures:
        draw(kind, trained, rows, run, seed)
    return 0


def draw(
    kind: type[Experiment],
    trained: Mapping[str, Trained[Any]],
    rows: list[Row],
    run: Path,
    seed: int,
) -> None:
    """Draw the experiment's figures, where there is matplotlib."""
    try:
        import matplotlib  # noqa: F401  # only to find out whether there is one
    except ImportError:
        say("no figures: they need matplotlib; pip install 'numaml[plot]'")
        return
    with np.errstate(all="ignore"):  # the curves of who diverges at test leave the picture
        paths = kind.figures(trained, rows, run, seed)
    say("figures: " + ", ".join(map(str, paths)))
