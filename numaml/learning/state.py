"""The state of a meta-training run, and its checkpoint: what a resumed run starts from.

``checkpoint.npz`` is an archive (`numaml.files.archive`): ``state`` (a description, JSON in UTF-8),
``theta``, Adam's moments ``first`` and ``second``, ``values``; and where there were validations
their iterations ``validated``, ``scores`` and ``best``. Every byte of it follows from the state,
and `State.load` takes nothing that differs in one bit from what `State.save` would write.
"""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..files.archive import archive, arrays_of, text_of
from ..files.own import check_own, open_own
from ..files.whole import settle, write_table, write_whole
from .generators import recorded, restored

Array = np.ndarray[Any, Any]

CHECKPOINT, METRICS, VALIDATION = FILES = ("checkpoint.npz", "metrics.csv", "validation.csv")
VERSION = 1  # of the checkpoint's format
FIELDS = (
    "version", "dtype", "size", "iterations", "validations", "settings", "conditions", "rng",
)  # fmt: skip
DTYPES = ("float32", "float64")
LONGEST = 1 << 18  # bytes of a description; most have some 1000, or 10 000 with MT19937
WINDOW = 100  # iterations averaged in one row of metrics.csv


class Moments(NamedTuple):
    """Adam's state: first and second moment of the gradient, and the number of steps taken."""

    first: Array
    second: Array
    steps: int


@dataclass
class State:
    """Everything the next iteration depends on; what a checkpoint holds.

    Parameters
    ----------
    theta : (P,) array
        Meta-parameters, float32 or float64.
    rng : numpy Generator
        The one source of randomness.
    moments : Moments, optional
        Adam's; zero by default.
    values : list of float
        The meta-value of every iteration so far.
    settings : dict
        What must not change when training is resumed (alpha, steps, beta, …).
    scores : list of (int, float)
        Every validation so far: iteration and score.
    best : (P,) array, optional
        Meta-parameters at the first of the highest scores.
    conditions : dict of str
        What the last bits depend on besides (processor, NumPy, …).
    """

    theta: Array
    rng: np.random.Generator
    moments: Moments = None  # type: ignore[assignment]  # filled in below, from theta
    values: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best: Array | None = None
    conditions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.moments is None:
            self.moments = Moments(np.zeros_like(self.theta), np.zeros_like(self.theta), 0)

    @property
    def iteration(self) -> int:
        """Number of outer steps taken."""
        return len(self.values)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``checkpoint.npz`` and the tables ``metrics.csv`` and ``validation.csv``.

        Each is written whole or not at all; the last only if there were validations. The tables
        are made from what the checkpoint holds, and made again when a run is resumed.

        Raises
        ------
        OSError
            If they cannot be written.
        TypeError, ValueError
            If the state is none that training comes to, and could not be read again.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._check()
        write_whole(folder / CHECKPOINT, archive(self._arrays(self._description())))
        means = [
            (stop, math.fsum(self.values[stop - WINDOW : stop]) / WINDOW)
            for stop in range(WINDOW, self.iteration + 1, WINDOW)
        ]
        write_table(folder / METRICS, ("iteration", "meta_value"), means)
        if self.scores:
            write_table(folder / VALIDATION, ("iteration", "score"), self.scores)
        settle(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> State:
        """Read what `save` wrote; nothing else is taken.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint in the folder.
        OSError
            If ``checkpoint.npz`` is no file of its own (a link, a pipe, …), or unreadable.
        ValueError
            If it is damaged, altered, or no checkpoint.
        """
        path = Path(folder) / CHECKPOINT
        if check_own(path) is None:
            raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
        with os.fdopen(open_own(path), "rb") as file:
            try:
                return cls._read(file)
            except Exception as error:  # JSON too deep, numbers too large, …: of any kind
                raise ValueError(
                    f"{path} is not a readable checkpoint ({str(error)[:300]}); it was damaged or "
                    "written by something else: train anew in another folder"
                ) from error

    @classmethod
    def _read(cls, file: BinaryIO) -> State:
        """A state, if the bytes are those that are written of it."""
        _refuse_old(file)
        text = text_of(file, "state", LONGEST)
        about = _parse(text)
        vector, n, m = (about["dtype"], about["size"]), about["iterations"], about["validations"]
        layout = {"state": (np.uint8, len(text)), "theta": vector, "first": vector}
        layout |= {"second": vector, "values": (np.float64, n)}
        if m:
            layout |= {"validated": (np.int64, m), "scores": (np.float64, m), "best": vector}
        arrays = arrays_of(file, layout)
        moments = Moments(arrays["first"], arrays["second"], n)
        state = cls(arrays["theta"], restored(about["rng"]), moments, arrays["values"].tolist())
        state.settings, state.conditions = about["settings"], about["conditions"]
        if m:
            validated, scores = arrays["validated"].tolist(), arrays["scores"].tolist()
            state.scores, state.best = list(zip(validated, scores, strict=True)), arrays["best"]
        state._check()
        if state._description() != text:
            raise ValueError("its description is not as it is written")
        return state

    def _description(self) -> bytes:
        """All but the arrays, as JSON."""
        values = (
            VERSION, self.theta.dtype.name, len(self.theta), self.iteration, len(self.scores),
            self.settings, self.conditions, recorded(self.rng),
        )  # fmt: skip
        about = dict(zip(FIELDS, values, strict=True))
        text = json.dumps(about, default=np.ndarray.tolist, allow_nan=False).encode()
        if len(text) > LONGEST:
            raise ValueError(f"all but the arrays takes {len(text)} bytes; want at most {LONGEST}")
        return text

    def _arrays(self, text: bytes) -> dict[str, Array]:
        """What the checkpoint holds, in order."""
        arrays = {
            "state": np.frombuffer(text, np.uint8),
            "theta": self.theta,
            "first": self.moments.first,
            "second": self.moments.second,
            "values": np.array(self.values, np.float64),
        }
        if self.best is not None:
            validated, scores = zip(*self.scores, strict=True)
            arrays["validated"] = np.array(validated, np.int64)
            arrays["scores"] = np.array(scores, np.float64)
            arrays["best"] = self.best
        return arrays

    def _check(self) -> None:
        """What `train` relies on, or an error."""
        theta, n, iterations = self.theta, self.iteration, [i for i, _ in self.scores]
        vectors = [theta, *self.moments[:2], *([] if self.best is None else [self.best])]
        if theta.ndim != 1 or {(v.shape, v.dtype) for v in vectors} != {(theta.shape, theta.dtype)}:
            raise ValueError(f"theta is {theta.dtype} {theta.shape}, and another vector is not")
        if theta.dtype.name not in DTYPES or not all(np.isfinite(v).all() for v in vectors):
            raise ValueError(f"its vectors are {theta.dtype}; want finite {' or '.join(DTYPES)}")
        if self.moments.steps != n or not (self.moments.second >= 0).all():
            raise ValueError(
                f"{self.moments.steps} steps of Adam's gave {n} values, or a square < 0"
            )
        if not np.isfinite([*self.values, *(score for _, score in self.scores)]).all():
            raise ValueError("its meta-values or scores are not finite numbers")
        if any(a >= b for a, b in zip([0, *iterations], [*iterations, n + 1], strict=True)):
            raise ValueError("its validations are not in order, or later than its iterations")
        if (self.best is None) != (not self.scores):
            raise ValueError("it has scores without best meta-parameters, or the other way round")


def _refuse_old(file: BinaryIO) -> None:
    if file.read(39)[30:] == b"theta.npy":
        raise ValueError(
            "it is of numaml 0.1.0, which did not note all that a resumed run depends on; "
            "numpy.load still reads its theta"
        )


def _parse(text: bytes) -> dict[str, Any]:
    """The description, as far as the arrays are found by it."""
    about = json.loads(text)
    version = about.get("version") if isinstance(about, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ValueError(f"its format has the version {version}; update numaml to read it")
    if version != VERSION or tuple(about) != FIELDS:
        raise ValueError("its description has other fields")
    if about["dtype"] not in DTYPES:
        raise ValueError(f"theta has dtype {about['dtype']!r}; want one of {', '.join(DTYPES)}")
    for name in ("size", "iterations", "validations"):
        if type(about[name]) is not int or not 0 <= about[name] < 2**63:
            raise ValueError(f"{name} is {about[name]!r}; want an integer >= 0")
    for name in ("settings", "conditions"):
        if not isinstance(about[name], dict):
            raise ValueError(f"{name} is no dict")
    return about
