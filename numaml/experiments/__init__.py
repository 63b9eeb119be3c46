"""Experiments: a file each, and what they share.

May import: learning, family, engine, data, files, network.

An experiment is a class in a file of this folder that extends `experiment.Experiment`, a frozen
dataclass. Nothing else names it: `found` lists the folder. An instance is the experiment with one
learner's settings. It must have

- ``NAME``, ``HELP``, ``DESCRIPTION``: what it is called on the command line, and what is said of it
  there, in a line and in a paragraph;
- ``model``, the network, and ``source()``, where tasks to train on come from;
- ``results(trained, seed)``, how a run's learners do on fresh tasks, as rows or anything else, and
  ``table(results)``, which shows it as text.

It may have, or is content with what `Experiment` has:

- settings of its own, or other defaults of those that all have: fields, each with its help and its
  limits beside it (`settings.setting`), from which its command-line options are made;
- ``BESIDE``, learners that are trained beside the run's own for comparison (none), and ``PRESETS``,
  named settings (none);
- ``workers``, how many processes share the tasks of an outer step (one);
- ``gradient()``, how the meta-gradient is taken (exact, or first-order), and ``outer()``, an outer
  step in place of that and Adam (none);
- ``start(rng)``, meta-parameters to begin with (the model's own); ``validator()``, a score to
  choose the best meta-parameters by (none: the last ones are taken);
- ``prepared()``, the settings once more, with what is to be known of the data, all errors raised
  before any work (the memory is looked at); ``about()``, what is said then (nothing);
- ``joined(theta)`` and ``parted(vector)``, all that is learned as one vector, and θ and the rate in
  it (θ alone); ``inner``, the rate of training, and ``gradient()``: `rated.Rated` has all four;
- ``finished(vector)``, the learner that is written (with its settings as provenance);
- ``measure``, what validation measures (accuracy, or the loss); ``others()``, what belongs to the
  same run and is trained in folders inside it, as folds are (nothing);
- ``tables(results)``, rows of CSV files that are written, by name (``results.csv``);
  ``figures(trained, results, folder, seed)``, files drawn into a folder (none);
- ``takes(word)``, whether ``train WORD`` means this experiment with that as its data (never).

Settings go down one way: the command parses them into an experiment, `runs.fit` trains it in a
folder, and the outer loop takes its numbers.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from .experiment import Experiment


@cache
def found() -> dict[str, type[Experiment]]:
    """Every experiment in this folder, by its name."""
    modules = [import_module(f".{module.name}", __name__) for module in iter_modules(__path__)]
    return {
        kind.NAME: kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Experiment)
        if kind.__module__ == module.__name__ and hasattr(kind, "NAME")
    }
