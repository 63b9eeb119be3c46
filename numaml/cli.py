"""The command ``numaml``: train, evaluate, check. Parses, calls, prints."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import __version__, judge, sinusoid
from .audit import audit
from .primitives import ACTIVATIONS

PROG = "numaml"
COMPARISONS = ("first-order", "pretrained")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing is lost: {_resume_hint(options)}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 2


def _resume_hint(options: argparse.Namespace) -> str:
    run = getattr(options, "resume", None) or getattr(options, "out", None)
    return f"continue with {PROG} train sinusoid --resume {run}" if run else "run it again"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Model-Agnostic Meta-Learning in NumPy: exact meta-gradients, derived by hand.",
        epilog=f"'{PROG} COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    training = commands.add_parser(
        "train",
        help="meta-train and write a run folder",
        description="Meta-train on an experiment and write a run folder.",
    )
    experiments = training.add_subparsers(required=True, metavar="EXPERIMENT")
    _add_sinusoid(experiments)

    _add_evaluate(commands)
    _add_check(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluating = commands.add_parser(
        "evaluate",
        help="evaluate a run folder on fresh tasks",
        description="Print the test errors of the learners in a run folder on 600 fresh tasks.",
    )
    evaluating.add_argument("folder", type=Path, metavar="RUN", help="a folder that train wrote")
    evaluating.add_argument(
        "--seed", type=_at_least(0), metavar="N", help="of the test tasks (default: the run's)"
    )
    evaluating.set_defaults(run=_evaluate)


def _add_check(commands: Any) -> None:
    checking = commands.add_parser(
        "check",
        help="audit the installed gradients",
        description="Check every formula of the installed package on this machine by a method "
        "that does not use the formula. Exit status 1 if one fails.",
    )
    checking.add_argument(
        "--vectors",
        nargs="?",
        const="",
        metavar="FILE",
        help="judge a file of answers to the test vectors instead; without FILE, say where the "
        "vectors and their README are",
    )
    checking.set_defaults(run=_check)


def _add_sinusoid(experiments: Any) -> None:
    parser = experiments.add_parser(
        "sinusoid",
        help="few-shot regression on sinusoids (MAML paper, section 5.1)",
        description="Meta-train on sinusoids as in the MAML paper, beside first-order MAML and a "
        "network pretrained on all tasks; print the test errors beside the paper's and draw what "
        "adaptation does. The defaults are the paper's settings.",
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="RUN", help="folder to write (default: runs/sinusoid)")
    add("--resume", type=Path, metavar="RUN", help="continue this run, with its own settings")
    add("--first-order", action="store_true", help="train first-order MAML as the run's learner")
    add("--alone", action="store_true", help="train no other learners for comparison")
    defaults = sinusoid.Config()
    for name, options in SETTINGS.items():
        default = getattr(defaults, name)
        text = f"{options['help']} (default: {_shown(default)})"
        add(f"--{name}", **{**options, "help": text, "default": argparse.SUPPRESS})
    parser.set_defaults(run=_train_sinusoid, out=Path("runs/sinusoid"))


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return number

    return whole_number


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a learning rate >= 0")
    return rate


SETTINGS: dict[str, dict[str, Any]] = {
    "seed": {"type": _at_least(0), "metavar": "N", "help": "seed of initialisation and tasks"},
    "iterations": {"type": _at_least(1), "metavar": "N", "help": "outer steps"},
    "tasks": {"type": _at_least(1), "metavar": "T", "help": "tasks per outer step"},
    "shots": {"type": _at_least(1), "metavar": "N", "help": "support examples per task"},
    "queries": {"type": _at_least(1), "metavar": "N", "help": "query examples per task"},
    "steps": {"type": _at_least(0), "metavar": "K", "help": "inner steps in training"},
    "alpha": {"type": _rate, "metavar": "RATE", "help": "inner learning rate"},
    "beta": {"type": _rate, "metavar": "RATE", "help": "outer learning rate"},
    "hidden": {
        "type": _at_least(1),
        "nargs": "+",
        "metavar": "WIDTH",
        "help": "widths of the hidden layers",
    },
    "activation": {"choices": sorted(ACTIVATIONS), "help": "of the hidden layers"},
    "dtype": {"choices": ["float32", "float64"], "help": "of training"},
}


def _train_sinusoid(options: argparse.Namespace) -> int:
    config, run = _config(options), options.resume or options.out
    beside = [] if options.alone else [one for one in COMPARISONS if one != config.learner]
    print(f"{config.iterations} outer steps of {config.tasks} tasks each; run folder: {run}")
    for learner in (config.learner, *beside):
        folder = run if learner == config.learner else run / learner
        one = dataclasses.replace(config, learner=learner)
        there = options.resume is not None and (folder / "config.json").exists()
        with _progress(sinusoid.LEARNERS[learner], config.iterations) as progress:
            sinusoid.fit(one, folder, there, progress)
    return _report(run, config.seed, figures=True)


def _config(options: argparse.Namespace) -> sinusoid.Config:
    if options.resume is None:
        config = sinusoid.Config(learner="first-order" if options.first_order else "exact")
        return dataclasses.replace(config, **_given(options))
    fixed = sorted(set(_given(options)) - {"iterations"})
    if fixed or options.first_order:
        raise ValueError(
            f"--{(fixed or ['first-order'])[0]} cannot change in a resumed run; leave it out, or "
            "start another run with --out"
        )
    return dataclasses.replace(sinusoid.Config.load(options.resume), **_given(options))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line."""
    given = {name: value for name, value in vars(options).items() if name in SETTINGS}
    return {**given, **({"hidden": tuple(given["hidden"])} if "hidden" in given else {})}


def _report(run: Path, seed: int, figures: bool) -> int:
    trained = sinusoid.load(run)
    rows = sinusoid.results(trained, seed)
    sinusoid.write_results(rows, run)
    print()
    print(sinusoid.table(rows))
    if figures:
        _draw(trained, run, seed)
    return 0


def _draw(trained: dict[str, sinusoid.Trained], run: Path, seed: int) -> None:
    try:
        import matplotlib  # noqa: F401  # only to find out whether there is one
    except ImportError:
        print("no figures: they need matplotlib; pip install 'numaml[plot]'")
        return
    from . import plot

    plot.learning_curve(trained, run / "learning_curve.png")
    plot.adaptation(trained, run / "adaptation.png", seed)
    print(f"figures: {run / 'learning_curve.png'}, {run / 'adaptation.png'}")


def _evaluate(options: argparse.Namespace) -> int:
    seed = options.seed
    if seed is None:
        seed = sinusoid.Config.load(options.folder).seed
    return _report(options.folder, seed, figures=False)


def _check(options: argparse.Namespace) -> int:
    if options.vectors is not None:
        return _judge(options.vectors)
    print(f"{'formula':30}{'checked by':44}{'error':>9}{'allowed':>9}  verdict")
    failed = 0
    for row in audit():
        verdict = "ok" if row.passed else "WRONG"
        failed += not row.passed
        print(f"{row.formula:30}{row.method:44}{row.error:9.0e}{row.bound:9.0e}  {verdict}")
    print(f"{failed} formulas are wrong" if failed else "every formula holds")
    return int(failed > 0)


def _judge(file: str) -> int:
    if not file:
        print(f"the test vectors, and README.md with all about them: {judge.folder()}")
        return 0
    verdicts = judge.verdicts(Path(file))
    for verdict in verdicts:
        print(f"{verdict.vector:28}{verdict.field:27}{verdict.word:9} {verdict.reason}")
    words = [verdict.word for verdict in verdicts]
    counts = {word: words.count(word) for word in ("right", "wrong", "missing", "left out")}
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return int(counts["right"] == 0 or counts["wrong"] + counts["missing"] > 0)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int, float], None]]:
    """A tqdm bar, or without tqdm a line now and then."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield _plain_progress(title, total)
        return
    recent: list[float] = []
    with tqdm(total=total, desc=title, unit="step", dynamic_ncols=True) as bar:

        def update(iteration: int, value: float) -> None:
            recent.append(value)
            if len(recent) == 200 or iteration == total:
                bar.set_postfix_str(f"meta-value {sum(recent) / len(recent):.3f}", refresh=False)
                bar.update(iteration - bar.n)
                recent.clear()

        yield update


def _plain_progress(title: str, total: int) -> Callable[[int, float], None]:
    print(f"{title} (a progress bar needs tqdm: pip install 'numaml[progress]')", file=sys.stderr)
    start, first, spoke = time.monotonic(), 0, time.monotonic()

    def update(iteration: int, value: float) -> None:
        nonlocal first, spoke
        first, now = first or iteration, time.monotonic()
        if now - spoke > 5 or iteration == total:
            spoke = now
            left = (now - start) / (iteration - first + 1) * (total - iteration)
            print(
                f"  step {iteration} of {total}, meta-value {value:.3f}, {left:.0f} s left",
                file=sys.stderr,
            )

    return update
