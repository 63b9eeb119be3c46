"""The command ``numaml``: train, evaluate, adapt, check. Parses, calls, prints."""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..check import answers as judge
from ..check.audit import audit
from ..data.csvfile import read_csv
from ..experiments import omniglot as characters
from ..experiments import shared as experiment
from ..experiments import sinusoid, table
from ..experiments.shared import LEARNERS, Config, Trained
from ..files.lock import locked
from ..files.version import __version__
from ..files.whole import write_table
from ..learners.learner import Learner
from ..network.activations import ACTIVATIONS
from .adapting import predictions

PROG = "numaml"
# Modules alike.
EXPERIMENTS: dict[str, Any] = {"sinusoid": sinusoid, "omniglot": characters, "table": table}


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
            _complain(f"{PROG}: the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at exit
        return 2


def _open_output() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # to stay open
    if hasattr(sys.stdout, "reconfigure"):  # Windows writes files in encodings without λ
        sys.stdout.reconfigure(errors="backslashreplace")


def _complain(text: str) -> None:
    """Say it in one printable line, whatever somebody's files or paths put into it."""
    safe = (one if one.isprintable() else ascii(one)[1:-1] for one in text)
    with suppress(OSError):  # nobody is listening
        print("".join(safe), file=sys.stderr)


def _run(arguments: list[str] | None) -> int:
    options = argparse.Namespace()
    try:
        given = sys.argv[1:] if arguments is None else arguments
        _parser().parse_args(_experiment_named(given), options)
        return int(options.run(options))
    except KeyboardInterrupt:
        _complain("")  # ends the line that ^C stands in
        _complain(f"interrupted; nothing is lost: {_resume_hint(options)}")
        return 130
    except BrokenPipeError:
        raise
    except MemoryError as error:
        _complain(f"{PROG}: not enough memory. {error}")
        return 2
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        _complain(f"{PROG}: {error}")
        return 2


def _experiment_named(arguments: list[str]) -> list[str]:
    """``train data.csv`` is ``train table --data data.csv``; a run to resume says what it is."""
    train, *rest = arguments or [""]
    if train != "train" or not rest:
        return arguments
    if rest[0].lower().endswith((".csv", ".npz")):
        return [train, "table", "--data", *rest]
    if rest[0] == "--resume" and len(rest) > 1:
        return [train, experiment.read(Path(rest[1]))[0], *rest]
    return arguments


def _resume_hint(options: argparse.Namespace) -> str:
    run = getattr(options, "resume", None) or getattr(options, "out", None)
    if run is None or not (run / "config.json").is_file():
        return "run it again"
    alone = " --alone" * options.alone
    return f"continue with {PROG} train {options.experiment} --resume {run}{alone}"


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
    for name in EXPERIMENTS:
        _add_experiment(experiments, name)

    _add_evaluate(commands)
    _add_adapt(commands)
    _add_check(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluating = commands.add_parser(
        "evaluate",
        help="evaluate a run folder on fresh tasks",
        description="Print how the learners in a run folder do on fresh tasks.",
    )
    evaluating.add_argument("folder", type=Path, metavar="RUN", help="a folder that train wrote")
    evaluating.add_argument(
        "--seed", type=_at_least(0), metavar="N", help="of the test tasks (default: the run's)"
    )
    evaluating.add_argument("--data", metavar="PATH", help="its data, if it has moved")
    evaluating.set_defaults(run=_evaluate)


def _add_adapt(commands: Any) -> None:
    adapting = commands.add_parser(
        "adapt",
        help="adapt a learner to a task of yours and predict",
        description="Adapt a run's learner to the examples of one task and predict others of it. "
        "Files are CSV with a header. Columns are found by the names the learner was trained with; "
        "if it was trained without, the support has those of x, then y. The query needs no y.",
    )
    add = adapting.add_argument
    add("run_or_file", type=Path, metavar="RUN", help="a folder that train wrote, or a learner.npz")
    add("--support", type=Path, metavar="CSV", required=True, help="examples to adapt to")
    add("--query", type=Path, metavar="CSV", required=True, help="rows to predict")
    add("--steps", type=_at_least(0), metavar="K", help="inner steps (default: the learner's)")
    add(
        "--out",
        type=Path,
        metavar="CSV",
        default=Path("predictions.csv"),
        help="file to write: the query's columns and the predictions (default: predictions.csv)",
    )
    adapting.set_defaults(run=_adapt)


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


DESCRIPTIONS = {
    "sinusoid": (
        "few-shot regression on sinusoids (MAML paper, section 5.1)",
        "Meta-train on sinusoids as in the MAML paper, beside first-order MAML and a network "
        "pretrained on all tasks; print the test errors beside the paper's and draw what "
        "adaptation does. The defaults are the paper's settings; what does best in validation is "
        "kept.",
    ),
    "omniglot": (
        "few-shot classification of handwritten characters (MAML paper, section 5.2)",
        "Meta-train on Omniglot as in the MAML paper (no convolutions), beside first-order MAML; "
        "print the accuracy on characters never trained on beside the paper's and draw what "
        "adaptation does. The defaults are the paper's settings. The data: images_background.zip "
        "and images_evaluation.zip from python/ of the repository brendenlake/omniglot.",
    ),
    "table": (
        "your own table; 'train FILE.csv' is short for 'train table --data FILE.csv'",
        "Meta-train on the tasks of a table, beside first-order MAML and a network pretrained on "
        "all tasks; print how they do on tasks held out. Each row belongs to the task that one "
        "column names, and has a target to be predicted from its other columns. Columns are "
        "standardised by the tasks to train on. A CSV file has a header; an npz file has an array "
        "per column.",
    ),
}


def _add_experiment(experiments: Any, name: str) -> None:
    help_text, description = DESCRIPTIONS[name]
    parser = experiments.add_parser(name, help=help_text, description=description)
    add = parser.add_argument
    add("--out", type=Path, metavar="RUN", help=f"folder to write (default: runs/{name})")
    add("--resume", type=Path, metavar="RUN", help="continue this run, with its own settings")
    add("--first-order", action="store_true", help="train first-order MAML as the run's learner")
    add("--alone", action="store_true", help="train no other learners for comparison")
    if presets := getattr(EXPERIMENTS[name], "PRESETS", {}):
        text = "; ".join(f"{preset}: {_settings_shown(of)}" for preset, of in presets.items())
        add("--preset", choices=presets, default="paper", help=f"named settings: {text}")
    for setting in dataclasses.fields(EXPERIMENTS[name].Config):
        own = SETTINGS_OF.get(name, {}).get(setting.name, {})
        if setting.name in SETTINGS or own:
            options = SETTINGS.get(setting.name, {}) | own
            if setting.default not in ("", ()) and "default" not in options["help"]:
                options["help"] += f" (default: {_shown(setting.default)})"
            add(f"--{setting.name}", **options, default=argparse.SUPPRESS)
    parser.set_defaults(run=_train, experiment=name, out=Path("runs") / name)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _settings_shown(settings: dict[str, Any]) -> str:
    named = [f"{name} {_shown(value)}" for name, value in settings.items()]
    return ", ".join(named) or "the defaults"


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


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to below 1")
    return share


SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"metavar": "PATH", "help": "folder with the archives, or with omniglot28.npz"},
    "seed": {
        "type": _at_least(0),
        "metavar": "N",
        "help": "of initialisation and tasks",
    },
    "iterations": {"type": _at_least(1), "metavar": "N", "help": "outer steps"},
    "tasks": {"type": _at_least(1), "metavar": "T", "help": "tasks per outer step"},
    "shots": {"type": _at_least(1), "metavar": "N", "help": "support examples per task"},
    "queries": {"type": _at_least(1), "metavar": "N", "help": "query examples per task"},
    "steps": {"type": _at_least(0), "metavar": "K", "help": "inner steps in training"},
    "alpha": {"type": _rate, "metavar": "RATE", "help": "inner learning rate"},
    "beta": {"type": _rate, "metavar": "RATE", "help": "outer learning rate"},
    "decay": {
        "action": argparse.BooleanOptionalAction,
        "help": "let it fall linearly to 0 at the last outer step",
    },
    "hidden": {
        "type": _at_least(1),
        "nargs": "+",
        "metavar": "WIDTH",
        "help": "widths of the hidden layers",
    },
    "activation": {"choices": sorted(ACTIVATIONS), "help": "of the hidden layers"},
    "dtype": {"choices": ["float32", "float64"], "help": "of training"},
    "every": {"type": _at_least(1), "metavar": "N", "help": "outer steps between checkpoints"},
    "ways": {"type": _at_least(2), "metavar": "N", "help": "classes per task"},
    "norm": {"choices": ["none", "batch", "layer"], "help": "of the hidden layers"},
    "spread": {"type": _rate, "metavar": "SD", "help": "standard deviation of initial weights"},
    "mirrored": {
        "action": argparse.BooleanOptionalAction,
        "help": "train on mirror images as characters too",
    },
    "characters": {"type": _at_least(1), "metavar": "N", "help": "characters not in the test"},
    "validation": {"type": _at_least(0), "metavar": "N", "help": "of these, for validation"},
}
SETTINGS_OF: dict[str, dict[str, Any]] = {
    "omniglot": {
        "seed": {"help": "of initialisation, tasks and the choice of characters"},
        "shots": {"help": "support examples per class"},
        "queries": {"help": "query examples per class (default: as many as shots)"},
        "every": {"help": "outer steps between checkpoints, and between validations"},
    },
    "table": {
        "data": {"help": "CSV or npz file"},
        "task": {"metavar": "COLUMN", "help": "which task a row belongs to"},
        "target": {"metavar": "COLUMN", "help": "what is to be predicted"},
        "features": {
            "nargs": "+",
            "metavar": "COLUMN",
            "help": "what to predict it from (default: all other columns)",
        },
        "kind": {
            "choices": table.KINDS,
            "help": "of the target; classification if it is text",
        },
        "small": {
            "choices": ["drop", "error"],
            "help": "what becomes of tasks with fewer than shots + queries rows",
        },
        "seed": {"help": "of initialisation, draws, and the choice of tasks held out"},
        "held": {
            "type": _share,
            "metavar": "SHARE",
            "help": "of the tasks held out for the test, one at least",
        },
        "validation": {"type": _share, "metavar": "SHARE", "help": "of the tasks, for validation"},
        "every": {"help": "outer steps between checkpoints, and between validations"},
    },
}


def _train(options: argparse.Namespace) -> int:
    config, run = _config(options).prepared(), options.resume or options.out
    beside = [] if options.alone else [one for one in config.BESIDE if one != config.learner]
    print(f"{config.iterations} outer steps of {config.tasks} tasks each; run folder: {run}")
    if about := getattr(EXPERIMENTS[config.NAME], "about", None):
        print(about(config))
    with locked(run):
        for learner in (config.learner, *beside):
            folder = run if learner == config.learner else run / learner
            one = dataclasses.replace(config, learner=learner)
            there = options.resume is not None and (folder / "config.json").exists()
            with _progress(LEARNERS[learner], config.iterations) as progress:
                experiment.fit(one, folder, there, progress)
        trained = experiment.load(run, type(config))
        return _report(EXPERIMENTS[config.NAME], trained, run, config.seed)


def _config(options: argparse.Namespace) -> Config:
    module, given = EXPERIMENTS[options.experiment], _given(options)
    kind, preset = module.Config, getattr(options, "preset", "paper")
    if options.resume is None:
        given = (module.PRESETS[preset] if preset != "paper" else {}) | given
        return kind(learner="first-order" if options.first_order else "exact", **given)
    saved = kind.load(options.resume)
    given = {name: value for name, value in given.items() if value != getattr(saved, name)}
    fixed = sorted(set(given) - {"data"} - ({"iterations"} if not saved.decay else set()))
    fixed += ["first-order"] * options.first_order + ["preset"] * (preset != "paper")
    if fixed:
        why = ", with whose last step the learning rate falls to 0 (--decay)"
        raise ValueError(
            f"--{fixed[0]} cannot change in a resumed run{why * (fixed[0] == 'iterations')}; leave "
            "it out, or start another run with --out"
        )
    return dataclasses.replace(saved, **given)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line."""
    names = SETTINGS.keys() | SETTINGS_OF.get(options.experiment, {}).keys()
    given = {name: value for name, value in vars(options).items() if name in names}
    return {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}


def _report(
    module: Any, trained: dict[str, Trained], run: Path, seed: int, figures: bool = True
) -> int:
    rows = module.results(trained, seed)
    print()
    print(module.table(rows))
    experiment.write_results(rows, run)
    if figures:
        _draw(trained, rows, run, seed)
    return 0


def _draw(trained: dict[str, Trained], rows: list[dict[str, Any]], run: Path, seed: int) -> None:
    try:
        import matplotlib  # noqa: F401  # only to find out whether there is one
    except ImportError:
        print("no figures: they need matplotlib; pip install 'numaml[plot]'")
        return
    from ..experiments import figures as plot

    kind = next(iter(trained.values())).config.NAME
    with np.errstate(all="ignore"):  # the curves of who diverges at test leave the picture
        paths = plot.FIGURES[kind](trained, rows, run, seed)
    print("figures: " + ", ".join(map(str, paths)))


def _evaluate(options: argparse.Namespace) -> int:
    run = options.folder
    name, _ = experiment.read(run)
    if name not in EXPERIMENTS:
        raise ValueError(f"{run / 'config.json'} is not a run's configuration: {name!r}")
    kind = EXPERIMENTS[name].Config
    if options.data and "data" not in kind.__dataclass_fields__:
        raise ValueError(f"{run} is a {name} run, which needs no data; leave --data out")
    trained = experiment.load(run, kind, **({"data": options.data} if options.data else {}))
    seed = options.seed
    if seed is None:
        seed = next(iter(trained.values())).config.seed
    return _report(EXPERIMENTS[name], trained, run, seed, figures=False)


def _adapt(options: argparse.Namespace) -> int:
    path = options.run_or_file
    learner = Learner.load(path / experiment.LEARNER if path.is_dir() else path)
    if options.out.exists():
        raise FileExistsError(f"{options.out} is there already; name another file with --out")
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"{options.out.parent} is not there; make the folder first")
    header, rows = predictions(
        learner, read_csv(options.support), read_csv(options.query), options.steps
    )
    write_table(options.out, header, rows)
    print(f"predictions: {options.out}, {len(rows)} row{'s'[: len(rows) != 1]}")
    return 0


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
def _progress(title: str, total: int) -> Iterator[Callable[..., None]]:
    """A tqdm bar, or without tqdm a line now and then."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield _plain_progress(title, total)
        return
    recent: list[float] = []
    with tqdm(total=total, desc=title, unit="step", dynamic_ncols=True) as bar:

        def update(iteration: int, value: float, *score: float) -> None:
            recent.append(value)
            if len(recent) == 200 or iteration == total:
                text = _progress_text(sum(recent) / len(recent), *score)
                bar.set_postfix_str(text, refresh=False)
                bar.update(iteration - bar.n)
                recent.clear()

        yield update


def _progress_text(value: float, *score: float) -> str:
    shown = (f"{one:.1%}" if one >= 0 else f"{-one:.3g}" for one in score)  # accuracy, or error
    return f"meta-value {value:.3f}" + "".join(f", validation {one}" for one in shown)


def _plain_progress(title: str, total: int) -> Callable[..., None]:
    print(f"{title} (a progress bar needs tqdm: pip install 'numaml[progress]')", file=sys.stderr)
    start, first, spoke = time.monotonic(), 0, time.monotonic()

    def update(iteration: int, value: float, *score: float) -> None:
        nonlocal first, spoke
        first, now = first or iteration, time.monotonic()
        if now - spoke > 5 or iteration == total:
            spoke = now
            left = (now - start) / (iteration - first + 1) * (total - iteration)
            text = _progress_text(value, *score)
            print(f"  step {iteration} of {total}, {text}, {left:.0f} s left", file=sys.stderr)

    return update
