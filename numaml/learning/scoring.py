"""Scores of an estimator on groups not seen: it adapts to some rows of each, then predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..data import given

Array = np.ndarray[Any, Any]


def adapted_predictions(
    estimator: Any, x: Any, y: Any, groups: Any, seed: int = 0, proba: bool = False
) -> tuple[Array, Array]:
    """Targets of the rows that were not adapted to, and what is predicted for them.

    Of each group ``estimator.shots`` rows are adapted to: the first, where the estimator's support
    is "first", else rows drawn by the seed and the group's place among the sorted labels. Groups
    with fewer rows count for nothing.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As the estimator's ``adapt``; and if no group has more than ``shots`` rows.
    """
    given.same_rows(x, y=y, groups=groups)
    x, y = estimator._inputs(x), estimator._known_targets(y)
    known, numbers = given.numbered(groups, "groups")
    shots, true, predicted = estimator.shots, [], []
    for group in range(len(known)):
        rows = np.flatnonzero(numbers == group)
        if estimator.support == "random":
            rows = np.random.default_rng([seed, group]).permutation(rows)
        support, query = rows[:shots], rows[shots:]
        if len(query):
            adapted = estimator.learner_.adapt(x[support], y[support])
            true.append(y[query])
            predicted.append((adapted.predict_proba if proba else adapted.predict)(x[query]))
    if not true:
        raise ValueError(f"no group has more than shots = {shots} rows; want more of one")
    return np.concatenate(true), np.concatenate(predicted)


class AdaptedScorer:
    """A scorer for scikit-learn's searches: adapts to part of each held-out group, then judges.

    Parameters
    ----------
    metric : callable
        ``metric(true, predicted)`` -> a number, such as scikit-learn's
        ``mean_absolute_error``.
    greater_is_better : bool
        Whether the metric is a score; of an error the score is minus it.
    proba : bool
        Whether the metric takes probabilities of the classes.
    seed : int
        Of the rows that are adapted to, ``shots`` of each group, as for the estimator's ``score``.

    Notes
    -----
    The estimator is a fitted `MAMLRegressor` or `MAMLClassifier`, or a pipeline that ends in one.
    ``groups`` come by scikit-learn's metadata routing, which has to be enabled.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> groups, x = np.repeat(np.arange(12), 10), rng.uniform(-1, 1, (120, 1))
    >>> y = rng.normal(size=12)[groups] * x[:, 0]
    >>> maml = numaml.MAMLRegressor(hidden=(8,), iterations=20, random_state=0).fit(x, y, groups)
    >>> scorer = numaml.AdaptedScorer(lambda y, p: abs(y - p).mean(), greater_is_better=False)
    >>> scorer(maml, x, y, groups) < 0
    True
    """

    def __init__(
        self,
        metric: Callable[[Any, Any], float],
        greater_is_better: bool = True,
        proba: bool = False,
        seed: int = 0,
    ) -> None:
        self.metric, self.greater_is_better = metric, greater_is_better
        self.proba, self.seed = proba, seed

    def __call__(self, estimator: Any, x: Any, y: Any, groups: Any) -> float:
        """The score on the groups of x."""
        if hasattr(estimator, "steps") and isinstance(estimator.steps, list):  # a pipeline
            x, estimator = estimator[:-1].transform(x), estimator[-1]
        score = self.metric(*adapted_predictions(estimator, x, y, groups, self.seed, self.proba))
        return float(score if self.greater_is_better else -score)

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing is to give (needs scikit-learn): groups."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        request.score.add_request(param="groups", alias=True)
        return request
