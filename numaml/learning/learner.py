"""A trained learner: meta-parameters with all that adapting them needs, in memory and as a file.

The file is an archive (`numaml.files.archive`) of two arrays, ``learner`` (a description, JSON in
UTF-8) and ``theta``; and ``alpha``, where each parameter has a rate of its own. Every byte of it
follows from the learner, and `Learner.load` takes nothing that differs in one bit from what
`Learner.save` would write.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from reprlib import Repr
from typing import Any, BinaryIO

import numpy as np

from ..data import given
from ..data.scaling import Scaling
from ..data.tasks import trusted
from ..engine.alpha import checked_rates, for_steps, kept_alpha, varied
from ..engine.arguments import checked_steps, checked_theta
from ..engine.calls import adapt
from ..files.archive import archive, arrays_of, text_of
from ..files.own import open_given
from ..network.convolution import ConvNet
from ..network.losses import OF_POLICIES, target_width
from ..network.mlp import MLP
from ..network.network import Network

Array = np.ndarray[Any, Any]

# Of every version of the file's format the network it is of. A file begins with its version, then
# come the network's fields, then these.
FORMATS: dict[int, type[Network]] = {1: MLP, 2: ConvNet}
FIELDS = ("dtype", "alpha", "steps", "scaling", "classes", "provenance")
LATER = {"pool": 1}  # fields of a network that its format had not yet, and what stood for them
DTYPES = ("float32", "float64")
NAMES = [f"scaling.{name}" for name in Scaling._fields]
LONGEST = 1 << 22  # bytes of a description: names and scaling of some ten thousand columns
# No file takes more memory than it weighs: in an array, every label takes as much as the longest.
LONGEST_LABEL, LABELS = 1000, 1 << 22  # characters of one, and of all as an array
# No file keeps its reader busy: the work of an inner step is measured in multiplications with a
# parameter, of which one takes some 5 ns. A layer takes as long as LAYER of them, for the calls,
# and each of its outputs as long as OUTPUT, for the rows.
MOST_WORK, LAYER, OUTPUT = 2 * 10**9, 30_000, 1000
# Nor does it ask for more memory for an example than it weighs, or than this many numbers.
MOST_NUMBERS = 1 << 24
MOST_STEPS = 1_000_000  # that one may ask of `Learner.adapt`
_shortener = Repr()
_shortener.maxlist, _shortener.maxstring = 20, 80
_short = _shortener.repr  # of labels in a message


@dataclass(frozen=True, eq=False)
class Learner:
    """A model, its meta-parameters and how to adapt them; takes and gives the user's own units.

    Parameters
    ----------
    model : MLP or ConvNet
    theta : (P,) float32 or float64 array
        Meta-parameters. A copy is kept, which is read-only.
    alpha : float, or a structure of rates
        Inner learning rate, as for `numaml.adapt`. A structure is kept with every kind named, in
        numbers, lists and dicts; with rates of its own for each step, it wants as many steps.
    steps : int
        Inner steps K that `adapt` takes if it is not told otherwise. At most as many as take some
        ten seconds.
    scaling : Scaling, optional
        What training standardised x and y by; `adapt` does the same, and undoes it in predictions.
    classes : (n_out,) array of int or str, optional
        Labels of the outputs of a classifier, of at most 1000 characters; by default 0 … n_out − 1.
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

    model: Network
    theta: Array
    alpha: Any
    steps: int
    scaling: Scaling | None = None
    classes: Array | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, Network):
            raise TypeError(f"model is {type(self.model).__name__}; want a numaml.MLP or ConvNet")
        theta = _theta(self.theta, self.model)
        own = {
            "theta": theta,
            "alpha": kept_alpha(self.alpha, theta),
            "steps": _steps(self.steps, _most_steps(self.model)),
            "scaling": None if self.scaling is None else _scaling(self.scaling, self.model),
            "classes": None if self.classes is None else _classes(self.classes, self.model),
        }
        if varied(own["alpha"]):
            checked_rates(own["alpha"], theta, self.model, own["steps"])
        if not isinstance(self.provenance, dict):
            raise TypeError(f"provenance is {type(self.provenance).__name__}; want a dict")
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is made like any learner, its arrays read-only."""
        return type(self), tuple(getattr(self, one.name) for one in fields(self))

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Adapted:
        """Adapt to one task: K gradient steps on its support set from theta.

        Parameters
        ----------
        x : (n, n_in) array
            In the user's own units. With n = 0 rows, or no steps, what comes back is theta itself.
        y : (n,) or (n, n_out) array
            Numbers in the user's own units; for a classifier (n,) labels.
        steps : int, optional
            Instead of the learner's own. Where steps have rates of their own, those of the last
            are taken for the ones after it.

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
        steps = self.steps if steps is None else _steps(steps, MOST_STEPS)
        given.same_rows(x, y=y)
        flat = np.ndim(y) == 1
        with np.errstate(all="ignore"):  # whatever the caller's state: what runs away is told below
            x = self._inputs(x)
            targets = self._targets(y, len(x))
            if len(x) == 0 or steps == 0:
                return Adapted(self, self.theta, flat)
            alpha = for_steps(self.alpha, steps)
            phi = adapt(self.model, self.theta, trusted(x, targets), alpha, steps)
            finite = _finite(phi)
        if not finite:
            raise FloatingPointError(
                f"adaptation ran away: phi is not finite after {steps} steps with alpha = "
                f"{self.alpha!s:.200}; take fewer steps, or look for outliers in the support set"
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

        content = _archived(_description(self), self.theta, _apart(self.alpha)[1])
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
        try:
            with open_given(path, "a file that Learner.save wrote") as file:
                return _read(file)
        except OSError:
            raise
        except Exception as error:  # JSON too deep, numbers too large, …: whatever a file can do
            raise ValueError(f"{path} is not a learner: {str(error)[:300]}") from error

    def _inputs(self, x: Any) -> Array:
        """x (n, n_in) as the network takes it."""
        scaling, known = self.scaling and self.scaling[:2], self.provenance.get("features")
        x = given.table(x, "x", known if isinstance(known, list) else None)
        x = self._standardised(_table(x, "x", self.model.sizes[0]), scaling, "x")
        given.differing(x, self.model.norm, "x")
        return x

    def _targets(self, y: Any, n: int) -> Array:
        """y as the loss takes it."""
        classifies, known = self.model.loss == "cross_entropy", self.provenance.get("targets")
        if classifies:
            y = given.labels(y, "y")
        else:
            y = given.numbers(given.table(y, "y", known if isinstance(known, list) else None), "y")
        if y.shape[:1] != (n,):
            raise ValueError(f"y has shape {y.shape} and x has {n} rows; want one y for each")
        if classifies:
            return _numbered(y, self.classes, self.model.sizes[-1])
        width = target_width(self.model.loss, self.model.sizes[-1])
        y = _of_width(y[:, None] if y.ndim == 1 else y, "y", width)
        return self._standardised(y, self.scaling and self.scaling[2:], "y")

    def _standardised(self, array: Array, scaling: Any, name: str) -> Array:
        """(given − mean) / scale in theta's dtype."""
        scaled = array if scaling is None else (array - scaling[0]) / scaling[1]
        scaled = scaled.astype(self.theta.dtype)
        if not _finite(scaled):
            row, column = np.argwhere(~np.isfinite(scaled))[0].tolist()
            raise ValueError(
                f"{name}[{row}, {column}] is {array[row, column]}; want finite numbers that "
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
        Adapted parameters, read-only: of an array that is not, a copy is kept.
    flat : bool
        Whether y was (n,), as predictions then are.
    """

    learner: Learner
    phi: Array
    flat: bool = False

    def __post_init__(self) -> None:
        phi = np.asarray(self.phi)
        if phi.flags.writeable:
            phi = phi.copy()
            phi.setflags(write=False)
        object.__setattr__(self, "phi", phi)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is read-only as well."""
        return type(self), (self.learner, self.phi, self.flat)

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
        with np.errstate(all="ignore"):
            x = self.learner._inputs(x)
            u = self.learner.model.predict(self.phi, x)
        if not np.isfinite(u).all():
            row = int(np.argwhere(~np.isfinite(u))[0, 0])
            raise FloatingPointError(
                f"the prediction for row {row} of x is not finite; take fewer steps, or look for "
                "outliers in x"
            )
        return u


def _finite(array: Array) -> bool:
    """Whether all numbers are finite. They are if the sum of their squares is, told 1 μs sooner."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _table(array: Any, name: str, columns: int) -> Array:
    """An array (n, columns) of real numbers."""
    return _of_width(given.numbers(array, name), name, columns)


def _of_width(array: Array, name: str, columns: int) -> Array:
    """The array, if that is its shape."""
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} has shape {array.shape}; want (n, {columns}), rows are examples")
    return array


def _theta(theta: Any, model: Network) -> Array:
    theta = np.array(checked_theta(theta))
    if theta.dtype not in map(np.dtype, DTYPES):
        raise TypeError(f"theta has dtype {theta.dtype}; want {' or '.join(DTYPES)}")
    if theta.shape != (model.size,):
        raise ValueError(f"theta has shape {theta.shape}; sizes={model.sizes} need ({model.size},)")
    theta.setflags(write=False)
    return theta


def _steps(steps: Any, most: int) -> int:
    if checked_steps(steps) > most:
        raise ValueError(f"steps is {steps}; want an integer from 0 to {most}, with this network")
    return checked_steps(steps)


def _most_steps(model: Network) -> int:
    """How many inner steps a learner may have."""
    if (numbers := model.trace_size(0, 1, 0)) > max(MOST_NUMBERS, 4 * model.size):
        raise ValueError(
            f"an example takes {numbers} numbers; want at most {MOST_NUMBERS}: a smaller image, "
            "smaller kernels, or fewer filters"
        )
    outputs, shapes = model.sizes[1:], zip(model.rows(1), model.shapes, strict=True)
    work = sum(rows * (n_in + 1) * n_out for rows, (n_in, n_out) in shapes)
    return MOST_WORK // (work + LAYER * len(outputs) + OUTPUT * sum(outputs))


def _scaling(scaling: Any, model: Network) -> Scaling:
    if model.loss in OF_POLICIES:
        raise ValueError(f"scaling is for outputs in the units of y, not for {model.loss!r}")
    n_in, n_out = model.sizes[0], model.sizes[-1]
    numbers = (given.numbers(*one) for one in zip(Scaling(*scaling), NAMES, strict=True))
    kept = Scaling(*(np.array(one, np.float64) for one in numbers))
    for name, array, n in zip(kept._fields, kept, (n_in, n_in, n_out, n_out), strict=True):
        if array.shape != (n,):
            raise ValueError(f"scaling.{name} has shape {array.shape}; want ({n},)")
        if name.endswith("scale") and not (array > 0).all():
            raise ValueError(f"scaling.{name} is {array.min()} at its least; want numbers > 0")
        array.setflags(write=False)
    return kept


def _classes(classes: Any, model: Network) -> Array:
    given, n_out = (
        classes.tolist() if isinstance(classes, np.ndarray) else [*classes],
        model.sizes[-1],
    )
    if model.loss != "cross_entropy":
        raise ValueError(f'classes are for the loss "cross_entropy", not for {model.loss!r}')
    longest = max((len(label) for label in given if isinstance(label, str)), default=0)
    if longest > LONGEST_LABEL or longest * len(given) > LABELS:
        raise ValueError(
            f"classes has {len(given)} labels of up to {longest} characters; want at most "
            f"{LONGEST_LABEL}, and {LABELS} in all if each were as long"
        )
    classes = np.array(given)
    if classes.dtype.kind not in "iuU":
        raise TypeError(f"classes has dtype {classes.dtype}; want integers, or strings")
    if classes.shape != (n_out,) or len(set(classes.tolist())) != n_out:
        raise ValueError(f"classes is {_short(given)}; want {n_out} labels that differ")
    if classes.tolist() != given:
        raise ValueError(
            f"classes is {_short(given)}, as an array {_short(classes.tolist())}; want labels "
            "of one kind, without zero bytes at their end"
        )
    classes.setflags(write=False)
    return classes


def _numbered(y: Array, classes: Array | None, n_out: int) -> Array:
    """Labels (n,) as the numbers of their outputs."""
    known = list(range(n_out)) if classes is None else classes.tolist()
    check_kind(y, known)
    place, labels = {label: number for number, label in enumerate(known)}, y.tolist()
    for row, label in enumerate(labels):
        if label not in place:
            raise ValueError(f"y[{row}] is {_short(label)}; want one of {_short(known)}")
    return np.array([place[label] for label in labels], np.intp)


def check_kind(y: Array, known: list[Any]) -> None:
    """Refuse labels of another kind than the known ones, though they may look the same."""
    of_one_kind = isinstance(known[0], str) and all(isinstance(one, str) for one in y.tolist())
    if len(y) and not of_one_kind and (isinstance(known[0], str) or y.dtype.kind not in "iu"):
        raise TypeError(
            f"y has dtype {y.dtype} and {_short(y[0])} in it; want labels, each one of "
            f"{_short(known)}"
        )


def _description(learner: Learner) -> bytes:
    """All but theta, as JSON."""
    import json

    model, scaling, classes = learner.model, learner.scaling, learner.classes
    if not isinstance(model.activation, str):
        raise TypeError("the activation is your own and cannot be saved; want one with a name")
    version = next(number for number, kind in FORMATS.items() if isinstance(model, kind))
    network = {name: getattr(model, name) for name in _fields(version)}
    network = dict(one for one in network.items() if one not in LATER.items())
    values = (
        learner.theta.dtype.name, _apart(learner.alpha)[0], learner.steps,
        scaling and {name: array.tolist() for name, array in scaling._asdict().items()},
        None if classes is None else classes.tolist(), learner.provenance,
    )  # fmt: skip
    try:
        about = {"version": version} | network | dict(zip(FIELDS, values, strict=True))
        text = json.dumps(about, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"provenance is not what JSON can hold: {error}") from error
    if len(text) > LONGEST:
        raise ValueError(f"all but theta takes {len(text)} bytes; want at most {LONGEST}")
    return text


def _read(file: BinaryIO) -> Learner:
    """A learner, if the bytes are those that are written of it."""
    text = text_of(file, "learner", LONGEST)
    dtype, arguments = _parse(text)
    size, rates = arguments["model"].size, _of_parameters(arguments["alpha"])
    layout: dict[str, Any] = {"learner": (np.uint8, len(text)), "theta": (dtype, size)}
    if rates is not None and rates["parameters"] is None:
        layout["alpha"] = np.float64, size
    arrays = arrays_of(file, layout)
    if "alpha" in arrays:
        rates["parameters"] = arrays["alpha"].tolist()
    learner = Learner(theta=arrays["theta"], **arguments)
    if _description(learner) != text:
        raise ValueError("its description is not as Learner.save writes it; save the learner anew")
    return learner


def _parse(text: bytes) -> tuple[str, dict[str, Any]]:
    """The dtype of theta, and what else a learner is made of."""
    import json

    try:
        about = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description cannot be read ({error}); copy it again") from error
    version = about.get("version") if isinstance(about, dict) else None
    version = version if isinstance(version, int) else 0
    if version > max(FORMATS):
        raise ValueError(
            f"its format has the version {version} and this numaml reads {max(FORMATS)}; update "
            "numaml"
        )
    names = _fields(version) if version in FORMATS else ()
    names = tuple(name for name in names if name in about or name not in LATER)
    if not names or tuple(about) != ("version", *names, *FIELDS):
        raise ValueError("its description has other fields; want a file that Learner.save wrote")
    model: Network = FORMATS[version](**{name: about[name] for name in names})
    scaling = about["scaling"] and Scaling(**about["scaling"])
    if about["dtype"] not in DTYPES:
        raise ValueError(f"theta has dtype {about['dtype']!r}; want one of {', '.join(DTYPES)}")
    kept = {name: about[name] for name in ("alpha", "steps", "classes", "provenance")}
    return about["dtype"], {"model": model, "scaling": scaling, **kept}


def _fields(version: int) -> tuple[str, ...]:
    """Of a network, in the order that it takes them."""
    return tuple(one.name for one in fields(FORMATS[version]))  # type: ignore[arg-type]  # dataclasses


def _of_parameters(alpha: Any) -> Any:
    """In a structure the dict with the rates of each parameter, if it is the same at all steps."""
    rates = alpha.get("rates", alpha) if isinstance(alpha, dict) else None
    return rates if isinstance(rates, dict) and "parameters" in rates else None


def _apart(alpha: Any) -> tuple[Any, Array | None]:
    """A structure without the rates of each parameter, and these: they are an array of the file."""
    rates = _of_parameters(alpha)
    if rates is None or not isinstance(rates["parameters"], list):
        return alpha, None
    told = {"parameters": None}
    return {**alpha, "rates": told} if "rates" in alpha else told, np.array(rates["parameters"])


def _archived(text: bytes, theta: Array, rates: Array | None = None) -> bytes:
    """The whole file."""
    arrays = {"learner": np.frombuffer(text, np.uint8), "theta": theta}
    return archive(arrays if rates is None else {**arrays, "alpha": rates})
