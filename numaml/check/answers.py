"""Judging somebody's answers to the test vectors: ``numaml check --vectors FILE``.

The vectors and the form of the answers are described in ``vectors/README.md``. Everything
is compared in exact arithmetic, so that thirty digits can be counted.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Context, Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

FIELDS = (
    "meta_value",
    "inner_gradients",
    "phi",
    "hvp",
    "meta_gradient",
    "first_order_meta_gradient",
)
FAMILY_FIELDS = (
    "rate_gradient",
    "first_order_rate_gradient",
    "buffer_gradient",
    "momentum_gradient",
    "decay_gradient",
    "pull_gradient",
    "reptile_direction",
)
COLLECTIONS = {"maml": ("rational.json", "real.json"), "family": ("family.json",)}
DIGITS = {"float32": 5, "float64": 13, "exact": 28}  # a right answer has; rounding takes the rest
BITS = {"float32": 24, "float64": 53, "exact": 0}
ALL_ZERO = {  # by the field and whether there are steps
    ("rate_gradient", True): "all zero: rates that never change, for no gradient reaches them",
    ("meta_gradient", False): "all zero: a minimum that forgets where its search began",
}
LOOKS_LIKE = 4  # digits shared with a wrong answer; all answers to a vector differ in the third
LARGEST_FILE = 2_000_000  # bytes; all vectors answered to thirty digits are 200 000
LONGEST_NUMBER = 1000  # characters
NUMBER = re.compile(r"[+-]?(\d+/0*[1-9]\d*|(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?)", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
CONTEXT = Context(prec=50)


class Verdict(NamedTuple):
    """What is to be said of one field of one vector."""

    vector: str
    field: str
    word: str  # "right", "wrong", "missing" or "left out"
    reason: str


class Misshapen(Exception):  # noqa: N818  # a finding, not an error
    """An answer's lists are not as long as the right one's."""


def folder() -> Traversable:
    """Where the vectors, their schema and their README are."""
    return resources.files(__package__ or "numaml") / "vectors"


def vectors(collection: str = "maml") -> list[dict[str, Any]]:
    """A collection's vectors as in its files, with the mistakes' texts under "mistakes"."""
    files = [json.loads((folder() / name).read_bytes()) for name in COLLECTIONS[collection]]
    return [{**one, "mistakes": file["mistakes"]} for file in files for one in file["vectors"]]


def chosen(only: Sequence[str]) -> list[dict[str, Any]]:
    """The vectors of these names, patterns (``rates-*``) or collections; MAML's if none is given.

    Raises
    ------
    ValueError
        If one of them names no vector.
    """
    every = {name: vectors(name) for name in COLLECTIONS}
    kept: dict[str, dict[str, Any]] = {}
    for pattern in only or ["maml"]:
        found = every.get(pattern) or [
            one for some in every.values() for one in some if fnmatchcase(one["name"], pattern)
        ]
        if not found:
            raise ValueError(f"there is no vector {shown(pattern)}; see {folder()}")
        kept |= {one["name"]: one for one in found}
    return list(kept.values())


def fields_of(vector: dict[str, Any]) -> list[str]:
    """What is asked of a vector."""
    return [field for field in (*FIELDS, *FAMILY_FIELDS) if field in vector["right"]]


def template(only: Sequence[str] = ()) -> str:
    """A file of answers to be filled in: every number is a null, in its place."""

    def empty(answer: Any) -> Any:
        return [empty(one) for one in answer] if isinstance(answer, list) else None

    rows = [
        f"  {json.dumps(one['name'])}: {{\n"
        + ",\n".join(
            f'   "{field}": {json.dumps(empty(one["right"][field]))}' for field in fields_of(one)
        )
        + "\n  }"
        for one in chosen(only)
    ]
    return '{\n "precision": "float64",\n "answers": {\n' + ",\n".join(rows) + "\n }\n}\n"


def verdicts(path: Path, only: Sequence[str] = ()) -> list[Verdict]:
    """One verdict for every field of every vector, or one for all fields if none is answered.

    Parameters
    ----------
    path : Path
        The file of answers.
    only : sequence of str
        Names, patterns or collections: only these vectors are asked for. Without it all of each
        collection from which the file answers one, and of MAML's if it answers none.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it does not have the form that the README describes.
    """
    precision, answers = read(path)
    every = {name: vectors(name) for name in COLLECTIONS}
    names = {name: {one["name"] for one in found} for name, found in every.items()}
    strangers = sorted(set(answers) - set().union(*names.values()))
    if strangers:
        raise ValueError(
            f"{in_a_line(path)}: there is no vector {shown(strangers[0])}; see {folder()}"
        )
    found = chosen(only or [name for name in COLLECTIONS if names[name] & set(answers)])
    return [
        Verdict(one["name"], *rest)
        for one in found
        for rest in of_vector(one, answers.get(one["name"], {}), precision, path)
    ]


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """(precision, answers) of a file, checked but for the answers' numbers."""
    file, text = in_a_line(path), read_bounded(path)
    try:
        content = json.loads(text, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {str(error)[:100]}") from None
    form = '{"precision": "float64", "answers": {"tanh": {"meta_value": 1.5, …}, …}}'
    if not isinstance(content, dict) or set(content) - {"precision"} != {"answers"}:
        raise ValueError(f"{file} holds something else than answers; want {form}")
    precision, answers = content.get("precision", "float64"), content["answers"]
    if not isinstance(precision, str) or precision not in DIGITS:
        raise ValueError(f"{file}: precision is {shown(precision)}; want one of {list(DIGITS)}")
    if not isinstance(answers, dict):
        raise ValueError(f"{file}: answers is {shown(answers)}; want {form}")
    for name, fields in answers.items():
        if fields is not None and not isinstance(fields, dict):
            raise ValueError(f"{file}: {shown(name)} is {shown(fields)}; want fields, or null")
        every = [*FIELDS, *FAMILY_FIELDS]
        if fields and set(fields) - set(every):
            stranger = min(set(fields) - set(every))
            raise ValueError(f"{file}: there is no field {shown(stranger)}; want {every}")
    return precision, answers


def read_bounded(path: Path) -> bytes:
    """The bytes of a regular file that is not too large, whatever its size said before."""
    if not path.is_file():
        raise FileNotFoundError(f"{in_a_line(path)} is not a file; want a JSON file of answers")
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
        size = max(os.fstat(file.fileno()).st_size, len(content))
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{in_a_line(path)} has {size} bytes; want at most {LARGEST_FILE}")
    return content


def without_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, refused if a name stands in it twice."""
    content = dict(members)
    if len(content) < len(members):
        (name, _), *_ = Counter(name for name, _ in members).most_common(1)
        raise ValueError(f"{shown(name)} stands twice in one object")
    return content


def shown(what: Any) -> str:
    """Somebody's text, short and safe to print."""
    text = f"a {type(what).__name__}" if isinstance(what, list | dict) else ascii(what)
    return text if len(text) <= 60 else f"{text[:60]}…"


def in_a_line(path: Path) -> str:
    """A file's name with its control characters escaped, cut where it is endless."""
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(path))
    return text if len(text) <= 300 else f"…{text[-300:]}"


def of_vector(
    vector: dict[str, Any], fields: dict[str, Any] | None, precision: str, path: Path
) -> list[tuple[str, str, str]]:
    """(field, word, reason) for each field of a vector."""
    if not fields:
        return [("every field", *unanswered(fields))]
    asked = fields_of(vector)
    if set(fields) - set(asked):
        stranger = min(set(fields) - set(asked))
        where = f"{in_a_line(path)}: {vector['name']}"
        raise ValueError(f"{where} has no field {shown(stranger)}; want {asked}")
    return [
        (field, *unanswered(fields.get(field, {})))
        if is_blank(fields.get(field))
        else (field, *judged(fields[field], vector, field, precision, path))
        for field in asked
    ]


def is_blank(answer: Any) -> bool:
    """Nothing but nulls, as in the template."""
    while isinstance(answer, list):
        if any(one != answer[0] for one in answer[1:]):
            return False
        answer = answer[0] if answer else 0
    return answer is None


def unanswered(answer: Any) -> tuple[str, str]:
    return ("missing", "no answer") if answer == {} else ("left out", "null in the answers")


def judged(
    answer: Any, vector: dict[str, Any], field: str, precision: str, path: Path
) -> tuple[str, str]:
    """(word, reason) for a field that is answered."""
    try:
        got = numbers(answer, vector["right"][field])
    except Misshapen as finding:
        return "wrong", str(finding)
    except ValueError as error:
        where = f"{in_a_line(path)}: {vector['name']}, {field}"
        raise ValueError(f"{where}: {error}") from None
    if None in got:
        return "wrong", "holds NaN or infinity"
    return compared([one for one in got if one is not None], vector, field, precision)


def numbers(got: Any, want: Any, where: str = "") -> list[Fraction | None]:
    """The numbers of an answer in one row, if its lists are as long as those of ``want``."""
    if not isinstance(want, list):
        if isinstance(got, list):
            raise Misshapen(f"{where or 'the answer'} is a list; want a number")
        return [number(got)]
    if not isinstance(got, list) or len(got) != len(want):
        has = f"has {len(got)} entries" if isinstance(got, list) else "is not a list"
        raise Misshapen(f"{where or 'the answer'} {has}; want a list of {len(want)}")
    return [
        one
        for index, (g, w) in enumerate(zip(got, want, strict=True))
        for one in numbers(g, w, f"{where}[{index}]")
    ]


def number(got: Any) -> Fraction | None:
    """What a JSON number or a string says exactly; None for NaN and the infinities."""
    text = "" if isinstance(got, list | dict) else str(got)
    if NOT_FINITE.fullmatch(text):
        return None
    if len(text) <= LONGEST_NUMBER and NUMBER.fullmatch(text):
        return Fraction(got)
    raise ValueError(f'{shown(got)} is not a number; want 0.25, "0.25", "2.5e-1" or "1/4"')


def compared(
    got: list[Fraction], vector: dict[str, Any], field: str, precision: str
) -> tuple[str, str]:
    """(word, reason) for finite numbers in the right shape."""
    want = in_a_row(vector["right"][field])
    digits, need = agreement(got, want), Decimal(DIGITS[precision])
    if got == want:
        return "right", "exactly" if vector["kind"] == "rational" else "to 30 digits"
    if precision == "exact" and vector["kind"] == "rational":
        need = Decimal("Infinity")
    if vector.get("bits", 99) <= BITS[precision]:
        unit = Fraction(1, 2 ** BITS[precision])
        if all(g == w or abs(g - w) < unit * abs(w) for g, w in zip(got, want, strict=True)):
            return "right", "to the last bit"
        need = Decimal("Infinity")
    if digits >= need:
        return "right", f"to {digits:.1f} digits"
    if digits >= LOOKS_LIKE:
        wanted = "all of them" if need.is_infinite() else f"{need} in {precision}"
        return "wrong", f"only {digits:.1f} digits are right; want {wanted}"
    return "wrong", mistake(got, want, vector, field)


def mistake(got: list[Fraction], want: list[Fraction], vector: dict[str, Any], field: str) -> str:
    """What kind of mistake an answer looks like."""
    if not any(got):
        return ALL_ZERO.get((field, vector["steps"] > 0), "all zero")
    for name, answer in vector["wrong"].get(field, {}).items():
        if agreement(got, in_a_row(answer)) >= LOOKS_LIKE:
            return f"looks like {vector['mistakes'][name]}"
    factor = share(got, want)
    if is_multiple(got, want, factor):
        return f"{factor:.5g} times the right answer: a sum for a mean, or a sign?"
    if agreement(sorted(got), sorted(want)) >= LOOKS_LIKE:
        return "the right numbers in another order: W is (n_in, n_out) in C order, then b"
    return f"no known mistake; off in {blocks_off(got, want, vector)}"


def blocks_off(got: list[Fraction], want: list[Fraction], vector: dict[str, Any]) -> str:
    """Names of the blocks of theta in which an answer is wrong."""
    names = [
        block
        for l, (n_in, n_out) in enumerate(pairwise(vector["network"]["sizes"]), 1)
        for block in [f"W{l}"] * (n_in * n_out) + [f"b{l}"] * n_out
    ]
    if len(got) % len(names):
        return "its value"
    rows = list(zip(names * (len(got) // len(names)), got, want, strict=True))
    chosen = {name: [(g, w) for block, g, w in rows if block == name] for name in names}
    return ", ".join(
        name
        for name, entries in chosen.items()
        if agreement([g for g, _ in entries], [w for _, w in entries]) < LOOKS_LIKE
    )


def in_a_row(answer: Any) -> list[Fraction]:
    """The numbers of an answer in the files, in one row."""
    return [one for one in numbers(answer, answer) if one is not None]


def agreement(got: list[Fraction], want: list[Fraction]) -> Decimal:
    """Number of digits that are right, ``−log10 ‖got − want‖/‖want‖`` (without ‖want‖ if 0)."""
    error = norm([g - w for g, w in zip(got, want, strict=True)])
    if not error:
        return Decimal("Infinity")
    return -CONTEXT.log10(CONTEXT.divide(error, norm(want) or Decimal(1)))


def norm(row: list[Fraction]) -> Decimal:
    """Euclidean norm, to fifty digits."""
    return CONTEXT.sqrt(dot(row, row))


def share(got: list[Fraction], want: list[Fraction]) -> Decimal:
    """The factor by which ``got`` is nearest to a multiple of ``want``, or 0."""
    square = dot(want, want)
    return CONTEXT.divide(dot(got, want), square) if square else Decimal(0)


def is_multiple(got: list[Fraction], want: list[Fraction], factor: Decimal) -> bool:
    """Whether ``got`` is ``factor`` times ``want``; one number always is, so n or 1/n times it."""
    if not factor or agreement(got, [Fraction(factor) * w for w in want]) < LOOKS_LIKE:
        return False
    nearest = (abs(one - round(one)) for one in (factor, CONTEXT.divide(Decimal(1), factor)))
    return len(got) > 1 or min(nearest) < Decimal(10) ** -LOOKS_LIKE


def dot(a: list[Fraction], b: list[Fraction]) -> Decimal:
    """Inner product, to fifty digits: exact fractions of hostile length would take for ever."""
    total, left = Decimal(0), [rounded(one) for one in a]
    for x, y in zip(left, left if a is b else map(rounded, b), strict=True):
        total = CONTEXT.fma(x, y, total)
    return total


def rounded(number: Fraction) -> Decimal:
    return CONTEXT.divide(leading(number.numerator), leading(number.denominator))


def leading(n: int) -> Decimal:
    """An integer to sixty digits: of thousands, those behind would take the time."""
    cut = n.bit_length() - 200
    return CONTEXT.multiply(Decimal(n >> cut), CONTEXT.power(2, cut)) if cut > 0 else Decimal(n)
