"""Run folders: an experiment's settings, its training, and the learners that are there after it.

A folder has ``config.json`` (the settings), what `numaml.learning.outer` keeps in it,
``learner.npz``, tables of results and figures; learners for comparison, and other folds, are in
folders inside it.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.alpha import kept_alpha
from ..engine.shards import sharded
from ..files.lock import locked
from ..files.names import described, name_of
from ..files.own import folder_inside, open_own
from ..files.whole import write_table, write_whole
from ..learning.outer import train
from ..learning.state import CHECKPOINT, State
from . import found
from .experiment import LEARNERS, Array, Experiment, Row, Trained, Validator
from .processes import pool

CONFIG, LEARNER = "config.json", "learner.npz"
CRC = "crc32"  # of all else in a config.json
LARGEST_CONFIG = 1_000_000  # bytes; most have some 500, of a table with many columns more


def is_run(folder: Path) -> bool:
    """Whether a run was begun there."""
    return (folder / CONFIG).is_file()


def write(experiment: Experiment, folder: Path) -> None:
    """Write its settings as ``config.json``."""
    content = _written(experiment)
    if len(content) > LARGEST_CONFIG:
        raise ValueError(
            f"the settings take {len(content)} bytes; want at most {LARGEST_CONFIG}: fewer "
            "features, or shorter names"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG, content)


def _written(experiment: Experiment) -> bytes:
    """The whole of ``config.json``, its own checksum in the last line."""
    content = {"experiment": experiment.NAME, **dataclasses.asdict(experiment)}
    content[CRC] = zlib.crc32(json.dumps(content).encode())
    return (json.dumps(content, indent=2) + "\n").encode()


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
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
    with os.fdopen(open_own(path), "rb") as file:
        content = file.read(LARGEST_CONFIG + 1)
    try:
        if len(content) > LARGEST_CONFIG:
            raise ValueError(f"it has more than {LARGEST_CONFIG} bytes")
        experiment = _experiment(json.loads(content), name)
        if _written(experiment) != content:
            raise ValueError(
                "it was changed since it was written; want it as it was: restore it, or start "
                "another run with these settings"
            )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a run's configuration: {error}") from error
    return experiment


def _experiment(content: dict[str, Any], name: str | None) -> Experiment:
    """What ``config.json`` says, in which a tuple is a list."""
    its_name, _ = content.pop("experiment"), content.pop(CRC, None)
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


def begin(experiment: Experiment, folder: Path, folders: Iterable[Path]) -> None:
    """Write the settings of a run, before any learner in one of its folders is trained.

    Whatever kills it from here on, the run can be resumed.

    Raises
    ------
    FileExistsError
        If one of the folders holds a run.
    BlockingIOError
        If another run is training there.
    MemoryError
        If there is none for the meta-parameters; then nothing is written.
    """
    experiment.joined(experiment.start(np.random.default_rng(0)))  # if there is memory for it
    with locked(folder):
        for one in folders:
            _refuse_overwriting(one)
        write(experiment, folder)


def fit(experiment: Experiment, folder: Path, progress: Callable[..., None]) -> State:
    """Train one learner in its folder; progress gets iteration, meta-value, and last validation.

    What was trained there before is gone on from. At the end ``learner.npz`` is there, with the
    meta-parameters that `Trained` chooses.

    Raises
    ------
    ValueError
        If the run has gone further already.
    BlockingIOError
        If another run is training there.
    """
    source, validator, scores = experiment.source(), experiment.validator(), list[float]()
    rng = np.random.default_rng(experiment.seed)
    start = experiment.joined(experiment.start(rng))
    with locked(folder):
        _refuse_going_back(folder, experiment.iterations)
        write(experiment, folder)
        with _taken(experiment) as gradient:
            state = train(
                experiment.model,
                start,
                source,
                alpha=experiment.inner,
                steps=0 if experiment.learner == "pretrained" else experiment.steps,
                iterations=experiment.iterations,
                beta=experiment.beta,
                decay=experiment.decay,
                limit=experiment.limit or None,
                gradient=gradient,
                outer=experiment.outer(),
                rng=rng,
                folder=folder,
                resume=True,
                every=experiment.every,
                validate=_noting(scores, validator) if validator else None,
                progress=lambda iteration, value: progress(iteration, value, *scores[-1:]),
            )
        experiment.finished(Trained(experiment, state).vector).save(folder / LEARNER)
    return state


@contextmanager
def _taken(experiment: Experiment) -> Iterator[Callable[..., Any]]:
    """The gradient, by as many processes as the experiment wants."""
    if experiment.workers == 1:
        yield _gradient(experiment)
        return
    with pool(experiment.workers) as executor:
        yield _gradient(experiment, executor)


def _gradient(experiment: Experiment, executor: Any = None) -> Callable[..., Any]:
    """It, or for want of an executor its name."""
    gradient, several = experiment.gradient(), experiment.workers > 1
    return sharded(executor, experiment.workers, gradient) if several else gradient


def _noting(scores: list[float], validator: Validator) -> Validator:
    def validate(theta: Array) -> float:
        scores.append(validator(theta))
        return scores[-1]

    return validate


def _refuse_overwriting(folder: Path) -> None:
    if os.path.lexists(folder / CONFIG):
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume {folder}, or choose another "
            "folder with --out"
        )
    if os.path.lexists(folder / CHECKPOINT):
        raise FileExistsError(
            f"{folder} holds a checkpoint already, and no {CONFIG} that says of what; choose "
            "another folder with --out"
        )


def _refuse_going_back(folder: Path, iterations: int) -> None:
    done = State.load(folder).iteration if os.path.lexists(folder / CHECKPOINT) else 0
    if done > iterations:
        raise ValueError(
            f"{folder} has {done} outer steps already; want --iterations {done} or more, or "
            "another run with --out"
        )


def load(run: Path, **changes: Any) -> dict[str, Trained[Any]]:
    """The run's own learner, then those trained beside it for comparison, by learner.

    Those of other folds follow, by their folder and learner.

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
    first = read(run)
    trained = _load(run, first.NAME, changes)
    for name, other in first.others().items():
        folder = folder_inside(run, name)
        if not os.path.lexists(folder / CHECKPOINT):
            raise FileNotFoundError(f"{folder / CHECKPOINT} is not there; {how_to_finish(run)}")
        found = _load(folder, first.NAME, changes)
        if found.get(first.learner, trained[first.learner]).experiment != (
            dataclasses.replace(other, **changes)
        ):
            raise ValueError(f"{folder / CONFIG} is of another run than {run / CONFIG}; want one")
        trained |= {f"{name}/{learner}": one for learner, one in found.items()}
    return trained


def how_to_finish(run: Path) -> str:
    """What to type to continue a run."""
    return f"finish the run with numaml train {read(run).NAME} --resume {run}"


def _load(run: Path, name: str, changes: dict[str, Any]) -> dict[str, Trained[Any]]:
    """The learners of one folder, and of those for comparison inside it."""
    beside = [folder_inside(run, learner) for learner in LEARNERS]
    trained = {}
    for folder in (run, *(one for one in beside if os.path.lexists(one / CHECKPOINT))):
        one, state = dataclasses.replace(read(folder, name), **changes), State.load(folder)
        size = len(one.joined(np.ones(one.model.size)))
        if len(state.theta) != size:
            raise ValueError(
                f"{folder / CHECKPOINT} has theta of {len(state.theta)} numbers, and "
                f"{folder / CONFIG} wants {size}; want both of one run"
            )
        _check_agrees(one, state, folder)
        trained[one.learner] = Trained(one, state)
    return trained


def _check_agrees(one: Experiment, state: State, folder: Path) -> None:
    """Refuse settings by which the checkpoint was not trained."""
    outer = one.outer()
    said = {
        "alpha": kept_alpha(one.inner, state.theta), "beta": one.beta, "every": one.every,
        "dtype": one.dtype,
        "steps": 0 if one.learner == "pretrained" else one.steps, "model": described(one.model),
        "gradient": name_of(_gradient(one)), "decay": one.iterations if one.decay else None,
        "outer": None if outer is None else name_of(outer), "limit": one.limit or None,
    }  # fmt: skip
    for name, value in said.items():
        if (was := state.settings.get(name)) != value:
            raise ValueError(
                f"{folder / CONFIG} says {name} = {value}, and {folder / CHECKPOINT} was "
                f"trained with {was!r:.300}; want both of one run"
            )
    if state.iteration > one.iterations:
        raise ValueError(
            f"{folder / CONFIG} says iterations = {one.iterations}, and {folder / CHECKPOINT} has "
            f"{state.iteration}; want both of one run"
        )


def write_tables(tables: dict[str, list[Row]], folder: Path) -> list[Path]:
    """Write rows as CSV files, by the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / name: rows for name, rows in tables.items()}
    for path, rows in paths.items():
        write_table(path, rows[0], [row.values() for row in rows])
    return list(paths)
