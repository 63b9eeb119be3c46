"""A trained learner: meta-parameters with all that adapting them needs, in memory and as a file.

The file is an uncompressed ``.npz`` of two arrays, ``learner`` (a description, JSON in UTF-8) and
``theta``. Every byte of it follows from the learner, so `Learner.load` reads the two at the places
where they must be, writes the file again in memory, and takes nothing that differs in one bit.
"""

from __future__ import annotations

import math
import operator
import os
from dataclasses import dataclass, field
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..data.scaling import Scaling
from ..data.tasks import Batch
from ..engine.calls import adapt
from ..network.mlp import MLP

Array = np.ndarray[Any, Any]

VERSION = 1  # of the file's format
FIELDS = (
    "version", "sizes", "activation", "loss", "norm", "dtype",
    "alpha", "steps", "scaling", "classes", "provenance",
)  # fmt: skip
DTYPES = ("float32", "float64")
LONGEST = 1 << 22  # bytes of a description: names and scaling of some ten thousand columns
MOST_STEPS = 1_000_000  # a number no learner needs, so that no file keeps its reader busy for ever
LOCAL, HEAD = 30, 128  # bytes in front of a member of the archive, and of its array
START = LOCAL + len("learner.npy") + HEAD  # of the description


@dataclass(frozen=True, eq=False)
class Learner:
    """A model, its meta-parameters and how to adapt them; takes and gives the user's own units.

    Parameters
    ----------
    model : MLP
    theta : (P,) float32 or float64 array
        Meta-parameters. A copy is kept, which is read-only.
    alpha : float
        Inner learning rate, >= 0.
    steps : int
        Inner steps K that `adapt` takes if it is not told otherwise.
    scaling : Scaling, optional
        What training standardised x and y by; `adapt` does the same, and undoes it in predictions.
    classes : (n_out,) array of int or str, optional
        Labels of the outputs of a classifier; by default 0 … n_out − 1.
    provenance : dict
        Where the learner comes from; anything that JSON can hold. ``numaml adapt`` finds columns by
        ``"features"`` (a list of names) and ``"target"`` (a name).

    Raises
    ------
    TypeError, ValueError
        If shapes, dtypes or numbers do not fit.

    Notes
    -----
    Nothing is changed by any call, here or in the module: threads may share a learner.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((2, 16, 1))
    >>> learner = numaml.Learner(model, model.init(0), alpha=0.1, steps=5)
    >>> x = np.array([[0.1, 2.0], [0.3, 1.0], [0.5, 4.0]])
    >>> adapted = learner.adapt(x, np.array([1.0, 0.5, 2.5]))
    >>> adapted.predict(x).shape
    (3,)
    """

    model: MLP
    theta: Array
    alpha: float
    steps: int
    scaling: Scaling | None = None
    classes: Array | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, MLP):
            raise TypeError(f"model is {type(self.model).__name__}; want a numaml.MLP")
        own = {
            "theta": _theta(self.theta, self.model),
            "alpha": _alpha(self.alpha),
            "steps": _steps(self.steps),
            "scaling": None if self.scaling is None else _scaling(self.scaling, self.model),
            "classes": None if self.classes is None else _classes(self.classes, self.model),
        }
        if not isinstance(self.provenance, dict):
            raise TypeError(f"provenance is {type(self.provenance).__name__}; want a dict")
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Adapted:
        """Adapt to one task: K gradient steps on its support set from theta.

        Parameters
        ----------
        x : (n, n_in) array
            In the user's own units. With n = 0 rows, or no steps, what comes back is theta itself.
        y : (n,) or (n, n_out) array
            Numbers in the user's own units; for a classifier (n,) labels.
        steps : int, optional
            Instead of the learner's own.

        Returns
        -------
        adapted : Adapted

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes, numbers or labels do not fit.
        FloatingPointError
            If the steps run away.

        References
        ----------
        Finn, Abbeel, Levine 2017, equation for θ′_i in section 2.2.

        Examples
        --------
        >>> import numpy as np, numaml
        >>> model = numaml.MLP((1, 8, 2), loss="cross_entropy")
        >>> learner = numaml.Learner(model, model.init(0), 0.5, 20, classes=np.array(["no", "yes"]))
        >>> learner.adapt([[-1.0], [1.0]], ["no", "yes"]).predict([[-2.0], [2.0], [3.0]])
        array(['no', 'yes', 'yes'], dtype='<U3')
        """
        steps = self.steps if steps is None else _steps(steps)
        x = self._inputs(x)
        flat = np.ndim(y) == 1
        targets = self._targets(y, len(x))
        if len(x) == 0 or steps == 0:
            return Adapted(self, self.theta, flat)
        with np.errstate(all="ignore"):  # whatever the caller's state: what runs away is told below
            phi = adapt(self.model, self.theta, Batch(x, targets), self.alpha, steps)
        if not np.isfinite(phi).all():
            raise FloatingPointError(
                f"adaptation ran away: phi is not finite after {steps} steps with alpha = "
                f"{self.alpha}; take fewer steps, or look for outliers in the support set"
            )
        return Adapted(self, phi, flat)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner as one ``.npz`` file, whole or not at all; equal learners, equal bytes.

        Parameters
        ----------
        path : path
            Of the file, as it is: no suffix is added.

        Raises
        ------
        TypeError, ValueError
            If the activation is not one of numaml's, or the provenance nothing JSON can hold.

        Examples
        --------
        >>> import numaml, tempfile, pathlib
        >>> model = numaml.MLP((1, 40, 40, 1))
        >>> learner = numaml.Learner(model, model.init(0), 0.01, 5, provenance={"seed": 0})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learner.save(pathlib.Path(folder) / "learner.npz")
        ...     numaml.Learner.load(pathlib.Path(folder) / "learner.npz").provenance
        {'seed': 0}
        """
        from ..files.whole import write_whole

        content = _archive(_description(self), self.theta)
        _read(BytesIO(content))  # nothing is written that could not be read again
        write_whole(Path(path), content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Learner:
        """Read what `save` wrote, on any machine; nothing else is taken, and nothing unpickled.

        Parameters
        ----------
        path : path
            Of the file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no learner, damaged, altered, or written by a newer numaml.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; want a file that Learner.save wrote")
        try:
            with path.open("rb") as file:
                return _read(file)
        except OSError:
            raise
        except Exception as error:  # JSON too deep, numbers too large, …: whatever a file can do
            raise ValueError(f"{path} is not a learner: {str(error)[:300]}") from error

    def _inputs(self, x: Any) -> Array:
        """x (n, n_in) as the network takes it."""
        scaling = self.scaling and self.scaling[:2]
        return self._standardised(_table(x, "x", self.model.sizes[0]), scaling, "x")

    def _targets(self, y: Any, n: int) -> Array:
        """y as the loss takes it."""
        y = np.asarray(y)
        if y.shape[:1] != (n,):
            raise ValueError(f"y has shape {y.shape} and x has {n} rows; want one y for each")
        if self.model.loss == "cross_entropy":
            return _numbered(y, self.classes, self.model.sizes[-1])
        y = _table(y[:, None] if y.ndim == 1 else y, "y", self.model.sizes[-1])
        return self._standardised(y, self.scaling and self.scaling[2:], "y")

    def _standardised(self, given: Array, scaling: Any, name: str) -> Array:
        """(given − mean) / scale in theta's dtype."""
        with np.errstate(all="ignore"):
            scaled = given if scaling is None else (given - scaling[0]) / scaling[1]
            scaled = scaled.astype(self.theta.dtype)
        if not np.isfinite(scaled).all():
            row, column = np.argwhere(~np.isfinite(scaled))[0].tolist()
            raise ValueError(
                f"{name}[{row}, {column}] is {given[row, column]}; want finite numbers that "
                f"theta's {self.theta.dtype} can hold"
            )
        return scaled


@dataclass(frozen=True, eq=False)
class Adapted:
    """A learner after its steps on one task; `Learner.adapt` makes it.

    Parameters
    ----------
    learner : Learner
    phi : (P,) array
        Adapted parameters.
    flat : bool
        Whether y was (n,), as predictions then are.
    """

    learner: Learner
    phi: Array
    flat: bool = False

    def predict(self, x: Any) -> Array:
        """Predict y in the user's own units, or labels.

        Parameters
        ----------
        x : (n, n_in) array
            With ``norm="batch"`` a prediction depends on the other rows.

        Returns
        -------
        y : (n,) or (n, n_out) array
            (n,) if y was (n,), and for labels.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            If x does not fit, or a prediction is not finite.
        """
        u, learner = self._outputs(x), self.learner
        if learner.model.loss == "cross_entropy":
            best = u.argmax(-1)
            return best if learner.classes is None else learner.classes[best]
        if learner.scaling is not None:
            u = u * learner.scaling.y_scale + learner.scaling.y_mean
        return u[:, 0] if self.flat else u

    def predict_proba(self, x: Any) -> Array:
        """Probabilities of the classes, in the order of the learner's ``classes``.

        Parameters
        ----------
        x : (n, n_in) array

        Returns
        -------
        p : (n, n_out) array
            Rows sum to 1.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `predict`; and if the learner is no classifier.

        Examples
        --------
        >>> import numpy as np, numaml
        >>> model = numaml.MLP((4, 8, 3), loss="cross_entropy")
        >>> learner = numaml.Learner(model, model.init(0), alpha=0.5, steps=2)
        >>> p = learner.adapt(np.eye(4), np.array([0, 1, 2, 0])).predict_proba(np.eye(4)[:2])
        >>> p.shape, bool(np.allclose(p.sum(1), 1))
        ((2, 3), True)
        """
        if self.learner.model.loss != "cross_entropy":
            raise TypeError('the learner predicts numbers; only "cross_entropy" has probabilities')
        u = self._outputs(x)
        with np.errstate(all="ignore"):
            e = np.exp(u - u.max(-1, keepdims=True))
            return np.asarray(e / e.sum(-1, keepdims=True))

    def _outputs(self, x: Any) -> Array:
        x = self.learner._inputs(x)
        with np.errstate(all="ignore"):
            u = self.learner.model.predict(self.phi, x)
        if not np.isfinite(u).all():
            row = int(np.argwhere(~np.isfinite(u))[0, 0])
            raise FloatingPointError(
                f"the prediction for row {row} of x is not finite; take fewer steps, or look for "
                "outliers in x"
            )
        return u


def _table(array: Any, name: str, columns: int) -> Array:
    """An array (n, columns) of real numbers."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {array.dtype}; want real numbers, e.g. {name}.astype(float)"
        )
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} has shape {array.shape}; want (n, {columns}), rows are examples")
    return array


def _theta(theta: Any, model: MLP) -> Array:
    theta = np.array(theta)
    if theta.dtype not in map(np.dtype, DTYPES):
        raise TypeError(f"theta has dtype {theta.dtype}; want {' or '.join(DTYPES)}")
    if theta.shape != (model.size,):
        raise ValueError(f"theta has shape {theta.shape}; sizes={model.sizes} need ({model.size},)")
    if not np.isfinite(theta).all():
        raise ValueError(
            "theta is not finite; want the meta-parameters of a training that went well"
        )
    theta.setflags(write=False)
    return theta


def _alpha(alpha: Any) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, Real):
        raise TypeError(f"alpha is {alpha!r}; want one real number >= 0")
    if not 0 <= float(alpha) < math.inf:
        raise ValueError(f"alpha is {alpha}; want a finite number >= 0")
    return float(alpha)


def _steps(steps: Any) -> int:
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"steps is {steps!r}; want an integer K >= 0")
    if not 0 <= operator.index(steps) <= MOST_STEPS:
        raise ValueError(f"steps is {steps}; want an integer from 0 to {MOST_STEPS}")
    return operator.index(steps)


def _scaling(scaling: Any, model: MLP) -> Scaling:
    n_in, n_out = model.sizes[0], model.sizes[-1]
    kept = Scaling(*(np.array(array, np.float64) for array in scaling))
    for name, array, n in zip(kept._fields, kept, (n_in, n_in, n_out, n_out), strict=True):
        if array.shape != (n,) or not np.isfinite(array).all():
            raise ValueError(f"scaling.{name} has shape {array.shape}; want ({n},) finite numbers")
        if name.endswith("scale") and not (array > 0).all():
            raise ValueError(f"scaling.{name} is {array.min()} at its least; want numbers > 0")
        array.setflags(write=False)
    return kept


def _classes(classes: Any, model: MLP) -> Array:
    classes, n_out = np.array(classes), model.sizes[-1]
    if model.loss != "cross_entropy":
        raise ValueError(f'classes are for the loss "cross_entropy", not for {model.loss!r}')
    if classes.dtype.kind not in "iuU":
        raise TypeError(f"classes has dtype {classes.dtype}; want integers, or strings")
    if classes.shape != (n_out,) or len(set(classes.tolist())) != n_out:
        raise ValueError(f"classes is {classes.tolist()!r}; want {n_out} labels that differ")
    classes.setflags(write=False)
    return classes


def _numbered(y: Array, classes: Array | None, n_out: int) -> Array:
    """Labels (n,) as the numbers of their outputs."""
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}; want (n,) labels")
    if classes is None:
        classes = np.arange(n_out)
    named = classes.dtype.kind == "U"
    if len(y) and y.dtype.kind not in ("UOT" if named else "iu"):
        raise TypeError(f"y has dtype {y.dtype}; want labels, each one of {classes.tolist()}")
    y = y.astype(str) if named else y
    found = y[:, None] == classes
    if not found.any(-1).all():
        row = int(np.argmin(found.any(-1)))
        raise ValueError(f"y[{row}] is {y[row].item()!r}; want one of {classes.tolist()}")
    return found.argmax(-1)


def _description(learner: Learner) -> bytes:
    """All but theta, as JSON."""
    import json

    model, scaling, classes = learner.model, learner.scaling, learner.classes
    if not isinstance(model.activation, str):
        raise TypeError("the activation is your own and cannot be saved; want one with a name")
    values = (
        VERSION, model.sizes, model.activation, model.loss, model.norm, learner.theta.dtype.name,
        learner.alpha, learner.steps,
        scaling and {name: array.tolist() for name, array in scaling._asdict().items()},
        None if classes is None else classes.tolist(), learner.provenance,
    )  # fmt: skip
    try:
        text = json.dumps(dict(zip(FIELDS, values, strict=True)), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"provenance is not what JSON can hold: {error}") from error
    if len(text) > LONGEST:
        raise ValueError(f"all but theta takes {len(text)} bytes; want at most {LONGEST}")
    return text


def _read(file: BinaryIO) -> Learner:
    """A learner, if the bytes are those that are written of it."""
    there = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(START)
    if start[LOCAL : START - HEAD] != b"learner.npy":
        raise ValueError("it does not begin like one; want a file that Learner.save wrote")
    length = int.from_bytes(start[18:22], "little") - HEAD
    if not 0 < length <= LONGEST or START + length > there:
        raise ValueError("it is cut off or damaged; copy it again")
    text = file.read(length)
    dtype, arguments = _parse(text)
    size = arguments["model"].size
    need = len(_archive(text, np.empty(0, dtype))) + size * dtype.itemsize
    if there != need:
        raise ValueError(f"it has {there} bytes and its network needs {need}; copy it again")
    rest = file.read()
    theta = np.frombuffer(rest, dtype, size, LOCAL + len("theta.npy") + HEAD)
    if _archive(text, theta) != start + text + rest:
        raise ValueError("it was damaged or altered since it was written; copy it again")
    learner = Learner(theta=theta.astype(dtype.newbyteorder("=")), **arguments)
    if _description(learner) != text:
        raise ValueError("its description is not as Learner.save writes it; save the learner anew")
    return learner


def _parse(text: bytes) -> tuple[np.dtype[Any], dict[str, Any]]:
    """The dtype of theta as it is stored, and what else a learner is made of."""
    import json

    try:
        about = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description cannot be read ({error}); copy it again") from error
    version = about.get("version") if isinstance(about, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ValueError(
            f"its format has the version {version} and this numaml reads {VERSION}; update numaml"
        )
    if version != VERSION or tuple(about) != FIELDS:
        raise ValueError("its description has other fields; want a file that Learner.save wrote")
    model = MLP(*(about[name] for name in ("sizes", "activation", "loss", "norm")))
    scaling = about["scaling"] and Scaling(**about["scaling"])
    if about["dtype"] not in DTYPES:
        raise ValueError(f"theta has dtype {about['dtype']!r}; want one of {', '.join(DTYPES)}")
    kept = {name: about[name] for name in ("alpha", "steps", "classes", "provenance")}
    dtype = np.dtype(about["dtype"]).newbyteorder("<")
    return dtype, {"model": model, "scaling": scaling, **kept}


def _archive(text: bytes, theta: Array) -> bytes:
    """The whole file."""
    members = {"learner.npy": _npy(np.frombuffer(text, np.uint8)), "theta.npy": _npy(theta)}
    return _zip(members)


def _npy(array: Array) -> bytes:
    """An array of one axis in NumPy's format 1.0, little-endian."""
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    head = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': ({len(array)},), }}"
    magic = b"\x93NUMPY\x01\x00" + (HEAD - 10).to_bytes(2, "little")
    return magic + head.encode().ljust(HEAD - 11) + b"\n" + array.tobytes()


def _zip(members: dict[str, bytes]) -> bytes:
    """A zip archive without compression, dated 1980-01-01.

    Source: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
    """
    import struct
    from zlib import crc32

    body, directory = b"", b""
    for name, content in members.items():
        about = struct.pack(
            "<5H3I2H", 20, 0, 0, 0, 0x21, crc32(content), len(content), len(content), len(name), 0
        )
        place = struct.pack("<3H2I", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2\x14\0" + about + place + name.encode()
        body += b"PK\3\4" + about + name.encode() + content
    sizes = (len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, *sizes)
