"""Ways to predict a task from a few of its rows without meta-learning: what MAML has to beat.

Each is a `numaml.learning.held.Way`, whose choices are made on validation tasks as MAML's are.
"""

import itertools
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..data.grouped import Grouped
from ..data.tasks import Tasks
from ..learning.held import RATES, Candidate, Way, adapting
from ..network.mlp import MLP

Array = np.ndarray[Any, Any]

LONG = 100  # inner steps at most, from scratch
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
LENGTHS, NOISES = (0.5, 1.0, 2.0, 4.0), (0.01, 0.1, 1.0)
TREES, SHRINKAGES, TRUSTS = 100, (0.0, 1.0, 3.0, 10.0), (0.0, 0.3, 1.0)


def baselines(train: Grouped, model: MLP, seed: int) -> dict[str, Way]:
    """Ways that need no meta-training, by name, for tasks like those of a source.

    ``model`` is the network that they are compared with. A random forest is among them where
    scikit-learn is installed.
    """
    alone = adapting(model, model.init(seed + 1), RATES, LONG)
    if model.loss == "cross_entropy":
        linear = MLP((model.sizes[0], model.sizes[-1]), loss="cross_entropy")
        found = {
            "majority of the support": _shares(train, model.sizes[-1]),
            "logistic regression per task": adapting(linear, np.zeros(linear.size), RATES, LONG),
            "one network per task": alone,
        }
    else:
        found = {
            "mean of the support": lambda tasks: iter([("", _mean(tasks))]),
            "ridge per task": ridge,
            "Gaussian process per task": gaussian_process,
            "one network per task": alone,
        }
    return found | ({"random forest, offset by task": forest(train, model.sizes[-1], seed)}
                    if find_spec("sklearn") else {})  # fmt: skip


def _mean(tasks: Tasks) -> Array:
    return np.broadcast_to(tasks.support.y.mean(1, keepdims=True), tasks.query.y.shape)


def _shares(train: Grouped, classes: int) -> Way:
    """Shares of the classes in the support and, as one row more, in what was trained on."""
    prior = np.bincount(train.y, minlength=classes) / len(train.y)

    def way(tasks: Tasks) -> Iterator[Candidate]:
        p = _counted(tasks, prior)
        yield "", np.broadcast_to(p[:, None], (*tasks.query.y.shape, classes))

    return way


def _counted(tasks: Tasks, prior: Array) -> Array:
    """The same for each task, (T, classes); ``prior`` (classes,) or (T, classes)."""
    y = tasks.support.y
    counts = (y[..., None] == np.arange(prior.shape[-1])).sum(1)
    return np.asarray((counts + prior) / (y.shape[1] + 1))


def ridge(tasks: Tasks) -> Iterator[Candidate]:
    """Linear in the features, the constant not penalised, in closed form over the rows."""
    support, y = tasks.support, tasks.support.y
    mean, level = support.x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    x, query = support.x - mean, tasks.query.x - mean
    for penalty in PENALTIES:
        w = np.linalg.solve(x @ x.mT + penalty * np.eye(x.shape[1]), y - level)
        yield f"penalty {penalty:g}", query @ x.mT @ w + level


def gaussian_process(tasks: Tasks) -> Iterator[Candidate]:
    """A constant and a smooth function, squared-exponential, each with variance 1."""
    x, query = tasks.support.x, tasks.query.x
    near, far = (_squares(one, x) / x.shape[-1] for one in (x, query))
    for length, noise in itertools.product(LENGTHS, NOISES):
        kernel, towards = (1 + np.exp(-0.5 * one / length**2) for one in (near, far))
        w = np.linalg.solve(kernel + noise * np.eye(x.shape[1]), tasks.support.y)
        yield f"length {length:g}, noise {noise:g}", towards @ w


def _squares(a: Array, b: Array) -> Array:
    """Squared distances of rows, (T, n, m)."""
    lengths = (a * a).sum(-1)[:, :, None] + (b * b).sum(-1)[:, None]
    return np.maximum(lengths - 2 * (a @ b.mT), 0)


def forest(train: Grouped, classes: int, seed: int) -> Way:
    """scikit-learn's random forest on all rows to train on, moved by what it misses in the support.

    Numbers by the mean of what is missed, shrunk; probabilities by shares in the support over the
    forest's own, to a power.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    counted = train.y.ndim == 1
    kind = RandomForestClassifier if counted else RandomForestRegressor
    trees = kind(TREES, random_state=seed).fit(train.x, train.y.ravel())

    def predicted(x: Array) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        if not counted:
            return np.asarray(trees.predict(rows).reshape(*x.shape[:2], 1))
        p = np.full((len(rows), classes), 1 / (100 * classes))  # no class is impossible
        p[:, trees.classes_] += trees.predict_proba(rows)
        return np.asarray(p / p.sum(-1, keepdims=True)).reshape(*x.shape[:2], classes)

    return _moved(predicted, counted)


def _moved(predicted: Callable[[Array], Array], counted: bool) -> Way:
    def way(tasks: Tasks) -> Iterator[Candidate]:
        known, new = predicted(tasks.support.x), predicted(tasks.query.x)
        if counted:
            mean = known.mean(1)
            for trust in TRUSTS:
                p = new * ((_counted(tasks, mean) / mean) ** trust)[:, None]
                yield f"power {trust:g}", p / p.sum(-1, keepdims=True)
            return
        missed = (tasks.support.y - known).sum(1, keepdims=True)
        for shrinkage in SHRINKAGES:
            yield f"shrinkage {shrinkage:g}", new + missed / (known.shape[1] + shrinkage)

    return way
