"""Run folders: an experiment's settings, its training, and the learners that are there after it.

A folder has ``config.json`` (the settings), what `numaml.training.outer` keeps in it,
``learner.npz``, ``results.csv`` and figures; learners for comparison are in folders inside it.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.calls import first_order_meta_gradient, meta_gradient
from ..files.lock import locked
from ..files.whole import write_table, write_whole
from ..training.outer import train
from ..training.state import State
from . import found
from .experiment import LEARNERS, Array, Experiment, Row, Trained, Validator

CONFIG, LEARNER, RESULTS = "config.json", "learner.npz", "results.csv"
LARGEST_CONFIG = 100_000  # bytes; the longest has some 500


def is_run(folder: Path) -> bool:
    """Whether a run was begun there."""
    return (folder / CONFIG).is_file()


def write(experiment: Experiment, folder: Path) -> None:
    """Write its settings as ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"experiment": experiment.NAME, **dataclasses.asdict(experiment)}
    write_whole(folder / CONFIG, (json.dumps(content, indent=2) + "\n").encode())


def read(folder: Path, name: str | None = None) -> Experiment:
    """The experiment, with its settings, whose ``config.json`` is in the folder.

    Parameters
    ----------
    folder : path
    name : str, optional
        What the experiment must be called.

    Returns
    -------
    experiment : Experiment

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, damaged, or of another experiment.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it has {path.stat().st_size} bytes; want at most {LARGEST_CONFIG}")
        return _experiment(json.loads(path.read_bytes()), name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a run's configuration: {error}") from error


def _experiment(content: dict[str, Any], name: str | None) -> Experiment:
    """What ``config.json`` says, in which a tuple is a list."""
    its_name = content.pop("experiment")
    if name is not None and its_name != name:
        raise ValueError(f"not of the experiment {name}, but {its_name}")
    if its_name not in found():
        raise ValueError(f"no experiment is called {its_name!r}; want one of {', '.join(found())}")
    said: dict[str, Any] = {
        key: tuple(one) if isinstance(one, list) else one for key, one in content.items()
    }
    experiment = found()[its_name](**said)
    experiment.model  # noqa: B018  # made once, to be refused now
    return experiment


def fit(experiment: Experiment, folder: Path, resume: bool, progress: Callable[..., None]) -> State:
    """Train one learner in its folder; progress gets iteration, meta-value, and last validation.

    At the end ``learner.npz`` is there, with the meta-parameters that `Trained` chooses.

    Raises
    ------
    FileExistsError
        If the folder holds a run and resume is False.
    ValueError
        If the run has gone further already.
    BlockingIOError
        If another run is training there.
    """
    source, validator, scores = experiment.source(), experiment.validator(), list[float]()
    rng = np.random.default_rng(experiment.seed)
    start, first_order = experiment.start(rng), experiment.learner == "first-order"
    with locked(folder):
        _refuse_overwriting(folder, resume)
        _refuse_going_back(folder, experiment.iterations)
        write(experiment, folder)
        state = train(
            experiment.model,
            start,
            source,
            alpha=experiment.alpha,
            steps=0 if experiment.learner == "pretrained" else experiment.steps,
            iterations=experiment.iterations,
            beta=experiment.beta,
            decay=experiment.decay,
            gradient=first_order_meta_gradient if first_order else meta_gradient,
            rng=rng,
            folder=folder,
            resume=resume,
            every=experiment.every,
            validate=_noting(scores, validator) if validator else None,
            progress=lambda iteration, value: progress(iteration, value, *scores[-1:]),
        )
        experiment.finished(Trained(experiment, state).theta).save(folder / LEARNER)
    return state


def _noting(scores: list[float], validator: Validator) -> Validator:
    def validate(theta: Array) -> float:
        scores.append(validator(theta))
        return scores[-1]

    return validate


def _refuse_overwriting(folder: Path, resume: bool) -> None:
    if not resume and (folder / CONFIG).exists():
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume {folder}, or choose another "
            "folder with --out"
        )


def _refuse_going_back(folder: Path, iterations: int) -> None:
    done = State.load(folder).iteration if (folder / "checkpoint.npz").exists() else 0
    if done > iterations:
        raise ValueError(
            f"{folder} has {done} outer steps already; want --iterations {done} or more, or "
            "another run with --out"
        )


def load(run: Path, **changes: Any) -> dict[str, Trained[Any]]:
    """The run's own learner, then those trained beside it for comparison, by learner.

    Parameters
    ----------
    run : path
    changes
        Settings that are others now, as ``data`` may be.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not a run, or one of its files is damaged.
    """
    name = read(run).NAME
    beside = [run / learner for learner in LEARNERS if (run / learner / "checkpoint.npz").is_file()]
    trained = {}
    for folder in (run, *beside):
        one, state = dataclasses.replace(read(folder, name), **changes), State.load(folder)
        if len(state.theta) != one.model.size:
            raise ValueError(
                f"{folder / 'checkpoint.npz'} has theta of {len(state.theta)} numbers, and "
                f"{folder / CONFIG} a network of {one.model.size}; want both of one run"
            )
        trained[one.learner] = Trained(one, state)
    return trained


def write_results(rows: list[Row], run: Path) -> None:
    """Write ``results.csv`` into the run folder."""
    write_table(run / RESULTS, rows[0], [row.values() for row in rows])
