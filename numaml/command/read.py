"""``numaml read``: formula, line of code, check and planted bug of every tag, side by side."""

import argparse
import re
import tempfile
import webbrowser
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

from ..check.audit import Row, audit
from ..files.whole import write_whole
from .say import say

PAGE = Path(__file__).with_name("side-by-side.html")  # made when the package is built: setup.py
MARK = re.compile(r"<!--error of (.*?)-->")
BOOK = "derivations/book/make.py"
BUILT = Path(__file__).parents[2] / "build/book/derivations/book/side-by-side.html"  # in a clone


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "read",
        help="open every formula beside its lines of code and its check",
        description="Write a page with every formula as it was derived, its lines in the textbook "
        "and in the library, the check that judges them with its error on this machine, and a bug "
        "that it catches; and open it in a browser.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the page to this file, and open nothing"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page, say where it is, and open it."""
    if not PAGE.is_file() and BUILT.is_file() and not options.out:
        say(f"formulas, code and checks side by side, as the book was built: {BUILT}")
        webbrowser.open(BUILT.as_uri())
        return 0
    if not PAGE.is_file():
        raise FileNotFoundError(
            "this numaml runs from its sources, and the page is made when a package is built of "
            f"them; make the whole book instead: pip install -e '.[docs]' && python {BOOK}"
        )
    if options.out and options.out.exists():
        raise FileExistsError(f"{options.out} is there already; name another file with --out")
    path = options.out or Path(tempfile.mkdtemp(prefix="numaml-")) / PAGE.name
    page = filled(PAGE.read_text(encoding="utf-8"), audit())
    write_whole(path, page.encode())
    say(f"formulas, code and checks side by side: {path}")
    if not options.out:
        webbrowser.open(path.resolve().as_uri())
    return 0


def filled(page: str, rows: Iterable[Row]) -> str:
    """A page in which errors stand where it has marks for them.

    Raises
    ------
    LookupError
        If the page asks for a formula that the audit does not have.
    """
    errors = {row.formula: f"{row.error:.0e} (allowed: {row.bound:.0e})" for row in rows}
    return MARK.sub(lambda found: errors[unescape(found[1])], page)
