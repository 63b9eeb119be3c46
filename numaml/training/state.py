"""The state of a meta-training run, and its checkpoint: what a resumed run starts from."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import io
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files.whole import settle, write_table, write_whole

Array = np.ndarray[Any, Any]

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
        Meta-parameters.
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
    """

    theta: Array
    rng: np.random.Generator
    moments: Moments = None  # type: ignore[assignment]  # filled in below, from theta
    values: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best: Array | None = None

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
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "theta": self.theta,
            "first": self.moments.first,
            "second": self.moments.second,
            "steps": self.moments.steps,
            "values": np.array(self.values, float),
            "rng": _state_of(self.rng.bit_generator),
            "settings": json.dumps(self.settings),
        }
        if self.scores:
            arrays |= {"scores": np.array(self.scores), "best": self.best}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_whole(folder / "checkpoint.npz", buffer.getvalue())
        means = [
            (stop, math.fsum(self.values[stop - WINDOW : stop]) / WINDOW)
            for stop in range(WINDOW, self.iteration + 1, WINDOW)
        ]
        write_table(folder / "metrics.csv", ("iteration", "meta_value"), means)
        if self.scores:
            write_table(folder / "validation.csv", ("iteration", "score"), self.scores)
        settle(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> State:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint in the folder.
        ValueError
            If it cannot be read as one.
        """
        path = Path(folder) / "checkpoint.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
        try:
            return cls._read(path.read_bytes())
        except Exception as error:  # zipfile and NumPy raise a dozen kinds on damaged bytes
            raise ValueError(
                f"{path} is not a readable checkpoint ({error}); it was damaged or written by "
                "something else: train anew in another folder"
            ) from error

    @classmethod
    def _read(cls, content: bytes) -> State:
        import zipfile

        with zipfile.ZipFile(io.BytesIO(content)) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > len(content):  # what `save` writes is not compressed
            raise ValueError(f"its {len(content)} bytes unpack to {size}")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            moments = Moments(saved["first"], saved["second"], int(saved["steps"]))
            settings, values = json.loads(str(saved["settings"])), saved["values"].tolist()
            state = cls(saved["theta"], _generator(str(saved["rng"])), moments, values, settings)
            if "best" in saved:
                state.best = saved["best"]
                state.scores = [(int(i), float(score)) for i, score in saved["scores"].tolist()]
        state._check()
        return state

    def _check(self) -> None:
        """What `train` relies on, or an error."""
        theta, values = self.theta, np.array(self.values)
        vectors = [theta, *self.moments[:2], *([] if self.best is None else [self.best])]
        if theta.ndim != 1 or {(v.shape, v.dtype) for v in vectors} != {(theta.shape, theta.dtype)}:
            raise ValueError(f"theta is {theta.dtype} {theta.shape}, and Adam's moments are not")
        if theta.dtype.kind not in "fc" or not all(np.isfinite(v).all() for v in vectors):
            raise ValueError("theta or Adam's moments are not finite numbers")
        if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError("its meta-values are not finite numbers")
        if self.moments.steps != len(values) or not isinstance(self.settings, dict):
            raise ValueError(f"{self.moments.steps} steps gave {len(values)} meta-values")


def _generator(text: str) -> np.random.Generator:
    state = json.loads(text)
    kind = state["bit_generator"]
    if kind not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise ValueError(f"unknown bit generator {kind!r}")
    bits = getattr(np.random, kind)()
    bits.state = state
    # NumPy takes positions outside its buffers, and then reads there.
    inside = state.get("buffer_pos", 0) in range(5)
    if kind == "MT19937":
        inside = state["state"]["pos"] in range(625)
    if not inside or json.loads(_state_of(bits)) != state:
        raise ValueError(f"not a state of {kind}")
    return np.random.Generator(bits)


def _state_of(bits: np.random.BitGenerator) -> str:
    return json.dumps(bits.state, default=np.ndarray.tolist)
