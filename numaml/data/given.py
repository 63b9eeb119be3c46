"""What a user gives, as arrays: nothing that was said with it (masks, names, labels) is dropped.

Every entry that takes x, y or groups takes them by these functions.
"""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WHOLE = 2**53  # from here on float64 leaves integers out
LARGEST = {"f": 8, "c": 16}  # bytes of a number
MOST_NAMES, LONGEST_NAME = 8, 60  # in a message


def array(given: Any, name: str) -> Array:
    """An array in the machine's byte order; masked cells are refused, not read through their mask.

    float16 becomes float32, which loses nothing.

    Raises
    ------
    TypeError, ValueError
        If a cell is masked, or numbers have more digits than float64.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.given import array
    >>> array(np.ma.masked_greater([1.0, 9.0], 5), "y")
    Traceback (most recent call last):
        ...
    ValueError: y[1] is masked; want a value for every row: fill it or leave the row out
    """
    made = _native(given, name)
    if type(given) is not np.ndarray:
        _refuse_rounded(given, made, name)
    return made


def _native(given: Any, name: str) -> Array:
    """An array as NumPy makes it, without masks and in the machine's byte order."""
    if type(given) is not np.ndarray:
        _refuse_masked(given, name)
        if hasattr(given, "toarray"):  # SciPy's
            raise TypeError(f"{name} is a sparse array; want a dense one: {name}.toarray()")
        given = np.asarray(given)
    dtype = given.dtype
    if dtype.kind in "fc" and dtype.itemsize > LARGEST[dtype.kind]:
        raise TypeError(
            f"{name} has dtype {dtype}, with more digits than theta can have; want "
            f"{'float64' if dtype.kind == 'f' else 'complex128'}: convert it with .astype"
        )
    if dtype.char == "e":  # float16
        return np.asarray(given.astype(np.float32))
    return np.asarray(given if dtype.isnative else given.astype(dtype.newbyteorder("=")))


def _refuse_rounded(given: Any, made: Array, name: str) -> None:
    """Refuse integers that became others because something beside them is a float."""
    if made.dtype.kind != "f" or not (np.abs(made) >= WHOLE).any():
        return
    for integer in _integers(given):
        if abs(integer) > WHOLE and int(float(integer)) != integer:
            raise ValueError(
                f"{name} has {integer}, which as a float is another; subtract what all have in "
                "common, or say that rounding is right by making floats of it"
            )


def _integers(given: Any) -> Iterator[int]:
    """The integers in lists, or in the columns of a table."""
    if isinstance(given, (list, tuple)):
        for one in given:
            if isinstance(one, (int, np.integer)):
                yield int(one)
            else:
                yield from _integers(one)
    elif names(given, "") is not None and hasattr(given, "__getitem__"):
        for column in names(given, "") or ():
            cells = np.asarray(given[column])
            if cells.dtype.kind in "iu":
                yield from cells.tolist()


def _refuse_masked(given: Any, name: str, place: tuple[int, ...] = ()) -> None:
    """Refuse a masked array with a masked cell, also inside of lists."""
    if isinstance(given, np.ma.MaskedArray):
        if (mask := np.ma.getmaskarray(given)).any():
            where = [*place, *np.argwhere(mask)[0].tolist()]
            raise ValueError(
                f"{name}{where} is masked; want a value for every row: fill it or leave the row out"
            )
    elif isinstance(given, (list, tuple)):
        for index, one in enumerate(given):
            if isinstance(one, (list, tuple, np.ma.MaskedArray)):
                _refuse_masked(one, name, (*place, index))


def numbers(given: Any, name: str, whole: int = WHOLE) -> Array:
    """An array of finite real numbers; of integers, only such as a float tells from all others.

    Raises
    ------
    TypeError, ValueError
        With the row of what is missing, masked, infinite, or beyond ``whole``.

    Examples
    --------
    >>> from numaml.data.given import numbers
    >>> numbers([[1.0, 2.0], [3.0, None]], "x")
    Traceback (most recent call last):
        ...
    ValueError: x has [3.0, None] in row 1; want finite numbers: fill it or leave the row out
    """
    made = array(given, name)
    if made.dtype.kind not in "biuf":
        rows = made.tolist() if made.dtype.kind == "O" and made.ndim else []
        for row, cells in enumerate(rows):
            if any(map(missing, cells if isinstance(cells, list) else [cells])):
                raise ValueError(_not_finite(name, row, cells))
        raise TypeError(
            f"{name} has dtype {made.dtype}; want real numbers, e.g. {name}.astype(float)"
        )
    if made.dtype.kind == "f" and not np.isfinite(made).all():
        row = int(np.argwhere(~np.isfinite(made))[0, 0]) if made.ndim else 0
        raise ValueError(_not_finite(name, row, made[row] if made.ndim else made))
    if beyond(made, whole):
        at = tuple(np.argwhere((made > whole) | (made < -whole))[0].tolist())
        raise ValueError(
            f"{name}{list(at)} is {made[at]}; floats tell integers up to {whole} apart: subtract "
            f"what all have in common, or say that rounding is right by {name}.astype(float)"
        )
    return made


def beyond(integers: Array, whole: int) -> bool:
    """Whether there is an integer that floats cannot tell from all others."""
    if integers.dtype.kind not in "iu" or not integers.size:
        return False
    if np.iinfo(integers.dtype).max <= whole:
        return False
    return int(integers.max()) > whole or int(integers.min()) < -whole


def _not_finite(name: str, row: int, cells: Any) -> str:
    return (
        f"{name} has {cut(str(cells), 200)} in row {row}; want finite numbers: fill it or leave "
        "the row out"
    )


def missing(label: Any) -> bool:
    """Whether it says that there is none: None, NaN, NaT, pandas' NA, text of blanks alone."""
    if isinstance(label, (str, bytes)):
        return not label.strip()
    if label is None or label is np.ma.masked:
        return True
    try:
        return bool(label != label)  # what NaN and NaT are known by
    except (TypeError, ValueError, ArithmeticError):  # pandas' NA; a signalling Decimal NaN
        return not hasattr(label, "__len__")


def labels(given: Any, name: str) -> Array:
    """An array of labels in which all that differed still do.

    Raises
    ------
    TypeError, ValueError
        If one is missing or masked, or they are of several kinds: 1 and "1", True and 1.

    Examples
    --------
    >>> from numaml.data.given import labels
    >>> labels(["ada", float("nan")], "groups")
    Traceback (most recent call last):
        ...
    ValueError: groups[1] is nan; want a label for every row
    >>> labels([2**63, -1, 2**63 + 1], "groups").tolist()  # NumPy's own array would hold floats
    [9223372036854775808, -1, 9223372036854775809]
    """
    made = _native(given, name)
    if made.ndim != 1:
        raise ValueError(f"{name} has shape {made.shape}; want (n,) labels, one for each row")
    items = list(given) if isinstance(given, (list, tuple)) else made.tolist()
    _refuse_missing(made, items, name)
    _refuse_kinds(items, name)
    counted = made.dtype.kind == "f" and all(isinstance(one, int) for one in items)
    if counted or (made.dtype.kind not in "mM" and made.tolist() != items):
        made = np.empty(len(items), object)
        made[:] = items
    whole = 2.0 ** (np.finfo(made.dtype).nmant + 1) if made.dtype.kind == "f" else 0.0
    if whole and (large := np.abs(made) >= whole).any():
        row = int(np.argmax(large))
        raise ValueError(
            f"{name}[{row}] is {made[row]}, where floats do not tell whole numbers apart; want "
            "integers or text"
        )
    return made


def _refuse_missing(made: Array, items: list[Any], name: str) -> None:
    if made.dtype.kind in "biu":
        return
    tests: dict[str, Any] = {"f": np.isnan, "m": np.isnat, "M": np.isnat}
    test = tests.get(made.dtype.kind)
    lost = [missing(one) for one in items] if test is None else test(made).tolist()
    if True in lost:
        row = lost.index(True)
        raise ValueError(f"{name}[{row}] is {items[row]!r:.80}; want a label for every row")


def _refuse_kinds(items: list[Any], name: str) -> None:
    """Refuse labels of which a conversion might make one."""
    types = {type(one): one for one in items}
    if len({_kind(one) for one in types.values()}) > 1:
        first: dict[str, int] = {}
        for row, one in enumerate(items):
            first.setdefault(_kind(one), row)
        (one, other), (a, b) = list(first)[:2], list(first.values())[:2]
        raise TypeError(
            f"{name}[{a}] is {one} ({items[a]!r:.40}) and {name}[{b}] {other} ({items[b]!r:.40}), "
            "which is no order; want labels of one kind, e.g. all of them text"
        )


def _kind(label: Any) -> str:
    if isinstance(label, (bool, np.bool_)):
        return "true or false"
    if isinstance(label, (str, bytes)):
        return "text" if isinstance(label, str) else "bytes"
    return "a number" if isinstance(label, (int, float, np.number)) else type(label).__name__


def numbered(given: Any, name: str) -> tuple[Array, Array]:
    """The labels that occur, sorted, and of every row the number of its label.

    Raises
    ------
    TypeError, ValueError
        As `labels`; or if they cannot be sorted.
    """
    made = labels(given, name)
    try:
        known, rows = np.unique(made, return_inverse=True)
    except TypeError as error:
        raise TypeError(
            f"{name} cannot be sorted ({error}); want labels of one kind, e.g. {name}.astype(str)"
        ) from error
    return known, rows


def names(given: Any, name: str) -> tuple[Any, ...] | None:
    """Names of the columns of a table of pandas', polars' or pyarrow's, or None if it has none.

    Columns that are merely counted, 0 … n − 1, have none.

    Raises
    ------
    ValueError
        If two columns have one name, or names that are one as text.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.given import names
    >>> names(np.eye(2), "x") is None
    True
    """
    found = getattr(given, "column_names", None)  # pyarrow's
    if found is None:
        found = getattr(given, "columns", None)
    if found is None or callable(found) or not isinstance(found, Iterable):
        return None
    found = tuple(
        name.item() if isinstance(name, np.generic) else name for name in found
    )  # numbers of NumPy's as Python's
    if found == tuple(range(len(found))):
        return None
    (twice, count), *_ = [*Counter(map(str, found)).most_common(1), ("", 0)]
    if count > 1:
        raise ValueError(f"{name} has the column {cut(repr(twice))} twice; rename one of them")
    return found


def table(given: Any, name: str, known: Sequence[str] | None) -> Any:
    """x or y with its columns in the order that they had in training, found by their names.

    Parameters
    ----------
    given : array or table
    name : str
        What it is called.
    known : sequence of str, optional
        Names of the columns in training. Where there were none, or ``given`` has none, there is
        nothing to compare, and it comes back as it is.

    Raises
    ------
    ValueError
        If a column is missing, or is there that training did not have.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.given import table
    >>> class Table:
    ...     columns = ["age", "dose"]
    ...     def __array__(self, dtype=None, copy=None):
    ...         return np.array([[30.0, 0.1], [40.0, 0.2]])
    >>> table(Table(), "x", ["dose", "age"])
    array([[ 0.1, 30. ],
           [ 0.2, 40. ]])
    >>> table(Table(), "x", ["dose", "weight"])
    Traceback (most recent call last):
        ...
    ValueError: x has the columns age, dose; want those of training, dose, weight: without weight...
    """
    there = names(given, name)
    if there is None:
        return given
    if known is None:
        if all(isinstance(one, str) for one in there):
            return given
        known = [str(place) for place in range(len(there))]
    found, known = [str(one) for one in there], [str(one) for one in known]
    if found == known:
        return given
    if set(found) != set(known):
        lacks = [one for one in known if one not in set(found)]
        more = [one for one in found if one not in set(known)]
        raise ValueError(
            f"{name} has the columns {listed(found)}; want those of training, {listed(known)}"
            + f": without {listed(lacks)} nothing is predicted" * bool(lacks)
            + f": leave out {listed(more)}" * (bool(more) and not lacks)
        )
    place = {one: k for k, one in enumerate(found)}
    return array(given, name)[:, [place[one] for one in known]]


def same_rows(x: Any, **others: Any) -> None:
    """Refuse y or groups whose index has that of x in another order.

    Raises
    ------
    ValueError
        If so; with how to put them in order.
    """
    ours: Any = getattr(x, "index", None)
    for name, other in others.items():
        theirs: Any = getattr(other, "index", None)
        if not (hasattr(ours, "equals") and hasattr(theirs, "equals")) or ours.equals(theirs):
            continue
        if len(ours) == len(theirs) and set(ours) == set(theirs):
            raise ValueError(
                f"{name} has the rows of x in another order, its index says; want "
                f"{name}.loc[x.index], or arrays without an index"
            )


def differing(x: Array, norm: str | None, what: str) -> None:
    """Refuse rows that batch normalisation maps to one point, whatever they are.

    Parameters
    ----------
    x : (n, n_in) array
    norm : None, "batch" or "layer"
    what : str
        How an error message names these rows.

    Raises
    ------
    ValueError
        If norm is "batch" and there is one row, or all rows are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.given import differing
    >>> differing(np.array([[3.0, 3.0]]), "batch", "x")
    Traceback (most recent call last):
        ...
    ValueError: x has 1 row, and norm="batch" normalises by the rows at hand: ...
    """
    if norm != "batch" or len(x) == 0 or (x != x[0]).any():
        return
    rows = "1 row" if len(x) == 1 else f"{len(x)} rows that are all the same"
    raise ValueError(
        f'{what} has {rows}, and norm="batch" normalises by the rows at hand: what comes out would '
        'not depend on x. Take more rows together, or train with norm="layer"'
    )


def enough(norm: str | None, **rows: int) -> None:
    """Refuse tasks of one row where batch normalisation would map it to one point.

    Parameters
    ----------
    norm : None, "batch" or "layer"
    **rows : int
        Numbers of rows, by what they are called.

    Raises
    ------
    ValueError
        If norm is "batch" and one of them is 1.
    """
    for name, count in rows.items():
        if norm == "batch" and count == 1:
            raise ValueError(
                f'{name} is 1, and norm="batch" normalises by the rows at hand: what comes out '
                'would not depend on x. Take 2 or more, or norm="layer"'
            )


def cut(text: str, longest: int = LONGEST_NAME) -> str:
    """A text for a message: in one line, its middle left out if it is long."""
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: 2 * longest])
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def listed(texts: Iterable[Any]) -> str:
    """The first few of them for a message, and how many there are."""
    texts = list(texts)
    some = ", ".join(cut(str(text)) for text in texts[:MOST_NAMES])
    return some + (f", … ({len(texts)} in all)" if len(texts) > MOST_NAMES else "")
