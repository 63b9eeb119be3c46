"""``numaml check``: the audit of the installed formulas, and the verdict on somebody's answers."""

import argparse
from pathlib import Path
from typing import Any

from ..check import answers
from ..check.audit import audit
from ..files.whole import write_whole
from .say import say


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "check",
        help="audit the installed gradients",
        description="Check every formula of the installed package on this machine by a method "
        "that does not use the formula. Exit status 1 if one fails.",
    )
    parser.add_argument(
        "--vectors",
        nargs="?",
        const="",
        metavar="FILE",
        help="judge a file of answers to the test vectors instead; without FILE, say where the "
        "vectors and their README are",
    )
    parser.add_argument(
        "--template",
        metavar="FILE",
        help="write an empty file of answers to the test vectors instead, to be filled in",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="of the vectors only this one, a pattern such as 'rates-*', or a collection, maml or "
        "family; may be given several times",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each formula, or for each answer; 1 if one is wrong."""
    if options.template is not None and options.vectors is not None:
        raise ValueError("got --template and --vectors; want one of them")
    if options.template is not None:
        return _write_template(options.template, options.only)
    if options.vectors is not None:
        return _judge(options.vectors, options.only)
    if options.only:
        raise ValueError("--only chooses among the test vectors; want --vectors FILE too")
    say(f"{'formula':30}{'checked by':44}{'error':>9}{'allowed':>9}  verdict")
    failed = 0
    for row in audit():
        verdict = "ok" if row.passed else "WRONG"
        failed += not row.passed
        say(f"{row.formula:30}{row.method:44}{row.error:9.0e}{row.bound:9.0e}  {verdict}")
    say(f"{failed} formulas are wrong" if failed else "every formula holds")
    return int(failed > 0)


def _write_template(file: str, only: list[str]) -> int:
    path = Path(file)
    if path.exists():
        raise ValueError(f"{path} is there already; want the name of a new file")
    write_whole(path, answers.template(only).encode())
    say(f"fill in what you compute, and judge it by: numaml check --vectors {path}")
    return 0


def _judge(file: str, only: list[str]) -> int:
    if not file:
        say(f"the test vectors, and README.md with all about them: {answers.folder()}")
        return 0
    verdicts = answers.verdicts(Path(file), only)
    for verdict in verdicts:
        say(f"{verdict.vector:28}{verdict.field:27}{verdict.word:9} {verdict.reason}")
    words = [verdict.word for verdict in verdicts]
    counts = {word: words.count(word) for word in ("right", "wrong", "missing", "left out")}
    say(", ".join(f"{count} {word}" for word, count in counts.items()))
    return int(counts["right"] == 0 or counts["wrong"] + counts["missing"] > 0)
