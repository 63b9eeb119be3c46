"""``numaml train``: settings from the command line to an experiment, and the experiment to a run.

The options of an experiment are made of its settings, which say what they are for and what they
may be; nothing here knows one experiment from another.
"""

import argparse
import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..experiments import found, runs
from ..experiments.at_once import Job, fit_all
from ..experiments.experiment import LEARNERS, Experiment
from ..experiments.settings import settings
from ..files.lock import locked
from ..files.own import folder_inside
from . import progress
from .options import argument, option, plain, shown
from .report import report
from .say import say


def experiment_named(arguments: list[str]) -> list[str]:
    """``train data.csv`` is ``train table --data data.csv``; a run to resume says what it is."""
    match arguments:
        case ["train", "--resume", folder, *_]:
            return ["train", runs.read(Path(folder)).NAME, *arguments[1:]]
        case ["train", word, *_]:
            for name, kind in found().items():
                if kind.takes(word):
                    return ["train", name, "--data", *arguments[1:]]
    return arguments


def add(commands: Any) -> None:
    """Its options."""
    training = commands.add_parser(
        "train",
        help="meta-train and write a run folder",
        description="Meta-train on an experiment and write a run folder.",
    )
    experiments = training.add_subparsers(required=True, metavar="EXPERIMENT")
    for kind in found().values():
        _add_experiment(experiments, kind)


def _add_experiment(experiments: Any, kind: type[Experiment]) -> None:
    help_text = plain(kind.HELP)
    parser = experiments.add_parser(kind.NAME, help=help_text, description=kind.DESCRIPTION)
    add, out = parser.add_argument, Path("runs") / kind.NAME
    add("--out", type=Path, metavar="RUN", default=out, help=f"folder to write (default: {out})")
    add("--resume", type=Path, metavar="RUN", help="continue this run, with its own settings")
    add("--quiet", action="store_true", help="print results and errors alone")
    add("--first-order", action="store_true", help="train first-order MAML as the run's learner")
    presets = [f"{preset}: {_preset_shown(of)}" for preset, of in kind.PRESETS.items()]
    if presets:
        add("--preset", choices=kind.PRESETS, help=plain(f"named settings: {'; '.join(presets)}"))
    for setting in settings(kind).values():
        if setting.help:
            add(option(setting.name), **argument(setting))
    parser.set_defaults(run=run, experiment=kind, preset=None)


def _preset_shown(preset: dict[str, Any]) -> str:
    named = [f"{name} {shown(value)}" for name, value in preset.items()]
    return ", ".join(named) or "the defaults"


def run(options: argparse.Namespace) -> int:
    """Train, and report on it; an interruption says how to go on."""
    try:
        return _run(options)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(*_how_to_go_on(options)) from stop


def _run(options: argparse.Namespace) -> int:
    folder, resumed = options.resume or options.out, options.resume is not None
    experiment = (_resumed if resumed else _started)(options).prepared()
    work = f"{experiment.iterations} outer steps of {experiment.tasks} tasks each"
    if not options.quiet:
        say(f"{work}; run folder: {folder}")
        if about := experiment.about():
            say(about)
    jobs = [job for one, own in _parts(experiment, folder) for job in _jobs(one, own)]
    with locked(folder):  # by nobody else; from here on each learner locks its own folder
        if not resumed:
            runs.begin(experiment, folder, [job.folder for job in jobs])
    begun = time.monotonic()
    with ExitStack() as bars:
        updates = [
            bars.enter_context(
                progress.shown(_title(job, folder), experiment.iterations, place, options.quiet)
            )
            for place, job in enumerate(jobs)
        ]
        if len(jobs) == 1:
            runs.fit(*jobs[0], *updates)
        else:
            fit_all(jobs, updates)
    if not options.quiet:
        say(f"trained in {time.monotonic() - begun:.0f} s")
    with locked(folder):
        return report(runs.load(folder), experiment.seed, folder)


def _parts(experiment: Experiment, folder: Path) -> list[tuple[Experiment, Path]]:
    """The experiment and what belongs to the same run, each with its folder."""
    others = experiment.others().items()
    return [(experiment, folder)] + [(one, folder_inside(folder, name)) for name, one in others]


def _jobs(experiment: Experiment, folder: Path) -> list[Job]:
    """The experiment's own learner, and those beside it for comparison."""
    beside = () if experiment.alone else experiment.BESIDE
    others = [learner for learner in beside if learner != experiment.learner]
    folders = {experiment.learner: folder} | {one: folder_inside(folder, one) for one in others}
    return [Job(dataclasses.replace(experiment, learner=one), own) for one, own in folders.items()]


def _title(job: Job, run: Path) -> str:
    """What a job is called where its progress is shown."""
    fold = [one for one in job.folder.relative_to(run).parts if one != job.experiment.learner]
    return ", ".join([LEARNERS[job.experiment.learner], *fold])


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line."""
    typed, said = vars(options), settings(options.experiment).values()
    given = {one.name: typed[option(one.name)] for one in said if option(one.name) in typed}
    return {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}


def _started(options: argparse.Namespace) -> Experiment:
    """The experiment with the settings of the command line."""
    kind: type[Experiment] = options.experiment
    preset = kind.PRESETS[options.preset] if options.preset else {}
    learner = "first-order" if options.first_order else "exact"
    return kind(learner=learner, **(preset | _given(options)))


def _resumed(options: argparse.Namespace) -> Experiment:
    """The experiment of the run to resume, in which little may change."""
    saved = runs.read(options.resume, options.experiment.NAME)
    changed = {n: one for n, one in _given(options).items() if one != getattr(saved, n)}
    may_change = {"data", "alone"} | ({"iterations"} if not saved.decay else set())
    fixed = [option(name) for name in sorted(changed.keys() - may_change)]
    fixed += ["--first-order"] * options.first_order + ["--preset"] * (options.preset is not None)
    if fixed:
        why = ", with whose last step the learning rate falls to 0 (--decay)"
        raise ValueError(
            f"{fixed[0]} cannot change in a resumed run{why * (fixed[0] == '--iterations')}; leave "
            "it out, or start another run with --out"
        )
    return dataclasses.replace(saved, **changed)


def _how_to_go_on(options: argparse.Namespace) -> list[str]:
    folder = options.resume or options.out
    if not runs.is_run(folder):
        return []
    return [f"continue with numaml train {options.experiment.NAME} --resume {folder}"]
