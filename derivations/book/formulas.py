"""Every tagged formula, found in the sources: page, textbook, library, audit, planted bug.

Everything is read as text and nothing of numaml is imported, so that a build needs neither NumPy
nor an installed package.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TAG = re.compile(r"\(([A-Z]\d+)\)")
DEFINITION = re.compile(r"^\*\*\(([A-Z]\d+)\)\*\*", re.MULTILINE)
MATH = re.compile(r"^```math\n(.*?)^```", re.MULTILINE | re.DOTALL)
MOST = 8  # lines above a tagged one that are shown with it
LEADING = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.If | ast.For  # that lead to it


class Code(NamedTuple):
    """Lines of a file that compute a formula, the tagged one among them."""

    file: str  # from the root of the repository
    line: int  # of the tag
    text: str


class Check(NamedTuple):
    """A row of the audit."""

    name: str  # with the tag: the key by which the audit knows it
    method: str


class Bug(NamedTuple):
    """What is planted in the library."""

    file: str
    text: str
    bug: str


class Formula(NamedTuple):
    """One tag, and all that bears it."""

    tag: str
    page: str  # the file in derivations/
    title: str  # of that page
    words: str  # the sentence of the definition
    math: str  # LaTeX, or nothing where the words are all
    textbook: list[Code]
    library: list[Code]
    checks: list[Check]
    bugs: list[Bug]


def number(path):
    """Of a page, for its place in the book: those without come last."""
    first = re.match(r"\d+", path.name)
    return (int(first[0]) if first else 999, path.name)


def pages(root=ROOT):
    """The derivations, in reading order."""
    return sorted((root / "derivations").glob("*.md"), key=number)


def definitions(page):
    """(tag, words, math) of each formula that a page defines."""
    text = page.read_text(encoding="utf-8")
    starts = [(found[1], found.start(), found.end()) for found in DEFINITION.finditer(text)]
    for i, (tag, begin, words_from) in enumerate(starts):
        end = starts[i + 1][1] if i + 1 < len(starts) else len(text)
        heading = re.compile(r"^#", re.MULTILINE).search(text, begin, end)
        piece = text[words_from : heading.start() if heading else end]
        found = MATH.search(piece)
        words = piece.split("\n\n")[0].strip().lstrip("=").strip()
        yield tag, words, found[1].strip() if found else ""


def tagged(file, root=ROOT):
    """Code by tag in a file: the tagged statement, and those above it that lead to it."""
    source = (root / file).read_text(encoding="utf-8")
    lines = source.splitlines()
    marks = {}
    for i, line in enumerate(lines, 1):
        if "  # (" in line:
            for tag in TAG.findall(line.split("  #", 1)[1]):
                marks.setdefault(tag, []).append(i)
    if marks:
        where = {i for every in marks.values() for i in every}
        bodies = list(_bodies(ast.parse(source)))
        for tag, every in marks.items():
            for i in every:
                first, last = _span(bodies, i, lines, where)
                yield tag, Code(file, i, _dedented(lines[first - 1 : last]))


def _bodies(tree):
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                yield body


def _span(bodies, i, lines, marks):
    """First and last line to be shown for the tag at line i."""
    of = [(body, j) for body in bodies for j, one in enumerate(body)
          if one.lineno <= i <= one.end_lineno]  # fmt: skip
    body, j = min(of, key=lambda found: found[0][found[1]].end_lineno - found[0][found[1]].lineno)
    first, last = body[j].lineno, body[j].end_lineno
    if i < last and last - first > 3:  # a table, of which this is one entry
        return i, i
    for one in reversed(body[:j]):
        theirs = range(one.lineno, one.end_lineno + 1)
        near = all(lines[k - 1].strip() for k in range(one.end_lineno + 1, first))
        if (
            not isinstance(one, LEADING)
            or marks & set(theirs)
            or not near
            or last - one.lineno > MOST
        ):
            break
        first = one.lineno
    return first, last


def _dedented(lines):
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines)


def _walked(root, *patterns):
    """Every node of the files of these names."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _texts(nodes):
    """The strings among nodes that are strings and nothing else."""
    return [one.value for one in nodes if isinstance(one, ast.Constant)]


def audit(root=ROOT):
    """Rows of the audit: entries ``"(R3) name": ("method", …)`` of a table, in any file of it."""
    found = []
    for node in _walked(root, "numaml/check/audit*.py"):
        entries = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
        for key, value in entries:
            name = key.value if isinstance(key, ast.Constant) else ""
            if isinstance(name, str) and TAG.match(name) and isinstance(value, ast.Tuple):
                found.append(Check(name, value.elts[0].value))
    return found


def planted(root=ROOT):
    """(tag, bug) of every bug: tuples ``(file, text, bug, "(R3)")`` of a list."""
    for node in _walked(root, "tests/test_planted*.py"):
        texts = _texts(node.elts) if isinstance(node, ast.Tuple) else ()
        if len(texts) == 4 and TAG.fullmatch(texts[3]):
            file, text, bug, tag = texts
            yield tag[1:-1], Bug(f"numaml/{file}.py", text, bug)


def not_in_the_textbook(root=ROOT):
    """Tags of formulas that the textbook does without, as the tests say."""
    tags = set()
    for node in _walked(root, "tests/test_formulas.py"):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(getattr(one, "id", "") == "NOT_IN_THE_TEXTBOOK" for one in targets):
            tags.update(_texts(ast.walk(node.value)))
    return tags


@cache
def formulas(root=ROOT):
    """Every formula in reading order.

    Raises
    ------
    LookupError
        If a tag is not on a page, in both texts, in the audit and among the planted bugs; all that
        is missing is named.
    """
    files = sorted(path.relative_to(root).as_posix() for path in (root / "numaml").rglob("*.py"))
    textbook, library = {}, {}
    for file in files:
        found = textbook if file == "numaml/textbook.py" else library
        for tag, code in tagged(file, root):
            found.setdefault(tag, []).append(code)
    checks, bugs = {}, {}
    for check in audit(root):
        checks.setdefault(TAG.match(check.name)[1], []).append(check)
    for tag, bug in planted(root):
        bugs.setdefault(tag, []).append(bug)
    every = [
        Formula(tag, page.name, page.read_text(encoding="utf-8").splitlines()[0].lstrip("# "),
                words, math, *(column.get(tag, []) for column in (textbook, library, checks, bugs)))
        for page in pages(root)
        for tag, words, math in definitions(page)
    ]  # fmt: skip
    columns = textbook, library, checks, bugs
    missing = list(_missing(every, not_in_the_textbook(root), columns))
    if missing:
        raise LookupError("not every tag resolves:\n" + "\n".join(missing))
    return every


def _missing(every, without, columns):
    places = {
        "textbook": "no line of numaml/textbook.py has it (or NOT_IN_THE_TEXTBOOK in "
        "tests/test_formulas.py is to have it)",
        "library": "no line of the library has it",
        "checks": "numaml/check/audit.py has no row for it",
        "bugs": "tests/test_planted_bugs.py plants no bug for it",
    }
    for formula in every:
        for column, complaint in places.items():
            if not getattr(formula, column) and not (
                column == "textbook" and formula.tag in without
            ):
                yield f"({formula.tag}), {formula.page}: {complaint}"
    defined = {formula.tag for formula in every}
    for column, place in zip(columns, places, strict=True):
        for tag in sorted(set(column) - defined):
            yield f"({tag}): no page of derivations/ defines it, but it is in {place}"
