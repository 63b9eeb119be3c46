"""The command itself: which commands there are, what an error looks like, and the exit status."""

import argparse
import os
import sys

from ..files.version import __version__
from . import adapt, check, evaluate, read, train
from .say import Parser, complain

PROG = "numaml"
FIRST_STEPS = """\
first steps:
  numaml check                    judge every formula on this machine, in a second
  numaml read                     see every formula beside its lines of code
  numaml train sinusoid           the MAML paper's regression, in two minutes
  numaml train data.csv --task COLUMN --target COLUMN
                                  tasks of yours: a row for each example

'numaml COMMAND --help' explains a command; in Python, help(numaml) begins with
a list of what there is.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    _open_output()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the reader has seen enough, as head does
            complain(f"{PROG}: the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at exit
        return 2


def _open_output() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # to stay open
    if hasattr(sys.stdout, "reconfigure"):  # Windows writes files in encodings without λ
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str] | None) -> int:
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if not given:
            parser().print_help(sys.stderr)
            return 2
        options = parser().parse_args(train.experiment_named(given))
        return int(options.run(options))
    except KeyboardInterrupt as stop:
        complain("")  # ends the line that ^C stands in
        complain(f"interrupted; nothing is lost: {str(stop) or 'run it again'}")
        return 130
    except BrokenPipeError:
        raise
    except MemoryError as error:
        complain(f"{PROG}: not enough memory. {error}")
        return 2
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        complain(f"{PROG}: {error}")
        return 2


def parser() -> argparse.ArgumentParser:
    """All that may be typed."""
    parser = Parser(
        prog=PROG,
        description="Model-Agnostic Meta-Learning in NumPy: exact meta-gradients, derived by hand.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (train.add, evaluate.add, adapt.add, check.add, read.add):
        add(commands)
    return parser
