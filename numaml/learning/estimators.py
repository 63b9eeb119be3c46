"""MAML with scikit-learn's manners: ``fit(x, y, groups)``, then ``adapt`` to a group never seen."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from ..data import given
from ..data.grouped import Grouped, only, standardise, standardised
from ..data.scaling import Scaling, limits
from ..network.mlp import MLP
from ..network.network import Network
from ..network.settings import check_name
from .held import MOST_CHOOSING, Held, drawn, error_after, rate_and_steps
from .inner import Inner
from .learner import Adapted, Learner, check_kind
from .outer import train
from .scoring import adapted_predictions
from .state import State

Array = np.ndarray[Any, Any]

GRADIENTS = ("exact", "first-order")


def _generator(random_state: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"random_state is {random_state!r}; want None, an integer >= 0 or a numpy Generator"
        ) from error


class NotFittedError(ValueError, AttributeError):
    """A method of an estimator that wants `fit` first; scikit-learn's own where that is loaded."""


@dataclass(kw_only=True, eq=False, repr=False)
class _Estimator:
    hidden: tuple[int, ...] = (40, 40)
    activation: str = "relu"
    norm: str | None = None
    alpha: Any = 0.05
    steps: int = 3
    beta: float = 1e-3
    shots: int = 5
    queries: int = 5
    tasks: int = 25
    iterations: int = 5000
    meta_gradient: str = "exact"
    rates: str = "fixed"
    moves: str = "all"
    weights: str = "last"
    momentum: float = 0.0
    limit: float | None = None
    decay: bool = True
    standardise: bool = True
    small: str = "drop"
    support: str = "random"
    validation: float = 0.1
    every: int = 250
    verbose: int = 0
    random_state: Any = None
    learner_: Learner = field(init=False, repr=False)
    n_features_in_: int = field(init=False, repr=False)
    feature_names_in_: Array = field(init=False, repr=False)  # where x had names
    dropped_: int = field(init=False, repr=False)
    meta_values_: list[float] = field(init=False, repr=False)
    scores_: list[tuple[int, float]] = field(init=False, repr=False)
    _flat: bool = field(init=False, repr=False)  # whether y was (n,)

    loss: ClassVar[str]

    def fit(self, x: Any, y: Any, groups: Any) -> Self:
        """Meta-train on the rows of a table, each group a task.

        Parameters
        ----------
        x : (n, n_in) array or table
            Real numbers. The dtype of training is float32 for float32, else float64. Names of the
            columns, of a table of pandas', polars' or pyarrow's, are kept, here and in the learner.
        y : (n,) or (n, n_out) array or table
            Numbers; for a classifier (n,) labels, integers or strings.
        groups : (n,) array
            The group of each row, as labels of one kind that NumPy can sort.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, x, y or groups is not as said, a number or label is missing or masked,
            no group has shots + queries rows, or with ``norm="batch"`` shots or queries are 1.
        FloatingPointError
            If training diverges.

        Notes
        -----
        The order of the rows does not count. With an integer for ``random_state`` equal rows give
        equal bits.
        """
        check_name("meta_gradient", self.meta_gradient, GRADIENTS)
        if not np.iterable(self.hidden):
            raise TypeError(f"hidden is {self.hidden!r}; want integers, e.g. (40, 40)")
        given.enough(self.norm, shots=self.shots, queries=self.queries)
        given.same_rows(x, y=y, groups=groups)
        named = _named(x, y, groups)
        flat, (y, classes) = np.asarray(y).ndim == 1, self._targets(y)
        sizes = self.shots, self.queries, self.tasks, self.small, self.support
        whole, rng = Grouped(x, y, groups, *sizes), _generator(self.random_state)
        source, kept, seed = self._parts(whole, rng)
        start = self._start(source, classes, named, rng)
        held = None
        if kept is not None:
            held = drawn(self._scaled(kept, start), [seed], MOST_CHOOSING)
        state = self._trained(start, self._scaled(source, start), held, rng)
        self.learner_, self._flat = self._finished(start, state, held), flat
        self.n_features_in_, self.dropped_ = source.x.shape[1], whole.dropped
        self.meta_values_, self.scores_ = state.values, state.scores
        vars(self).pop("feature_names_in_", None)
        if "features" in named:
            self.feature_names_in_ = np.array(named["features"], object)
        return self

    def _parts(
        self, whole: Grouped, rng: np.random.Generator
    ) -> tuple[Grouped, Grouped | None, int]:
        """Groups to train on, groups for validation, and a seed for draws of these."""
        if not isinstance(self.validation, Real) or not 0 <= self.validation < 1:
            raise ValueError(f"validation is {self.validation!r}; want a share from 0, below 1")
        names = np.unique(whole.groups)
        count = min(math.ceil(self.validation * len(names)), len(names) - 1)
        if count == 0:
            return whole, None, 0
        seed = int(rng.integers(2**32))
        back = np.isin(whole.groups, np.random.default_rng(seed).permutation(names)[:count])
        return only(whole, ~back), only(whole, back), seed

    def _start(
        self, source: Grouped, classes: Any, named: dict[str, Any], rng: np.random.Generator
    ) -> Learner:
        """The learner before training."""
        n_in = source.x.shape[1]
        n_out = source.y.shape[1] if classes is None else len(classes)
        model = MLP((n_in, *self.hidden, n_out), self.activation, self.loss, self.norm)
        scaling = self._scaling(source, n_out) if self.standardise else None
        theta = model.init(rng, np.float32 if source.x.dtype == np.float32 else np.float64)
        about = {"estimator": type(self).__name__, "meta_gradient": self.meta_gradient, **named}
        about["range"] = limits(source.x)
        return Learner(model, theta, self.alpha, self.steps, scaling, classes, about)

    def _trained(
        self, start: Learner, source: Grouped, held: Held | None, rng: np.random.Generator
    ) -> State:
        model, scores, inner = start.model, list[float](), self._inner(start.model)

        def validate(theta: Array) -> float:
            assert held is not None  # noqa: S101  # it is called only then
            scores.append(-error_after(model, *inner.parted(theta), self.steps, held))
            return scores[-1]

        def progress(iteration: int, value: float) -> None:
            if self.verbose and iteration % every == 0:
                told = f", last validation error {-scores[-1]:.3g}" if scores else ""
                sys.stdout.write(
                    f"step {iteration} of {self.iterations}: meta-value {value:.3g}{told}\n"
                )

        every = self.every
        if isinstance(self.iterations, int) and isinstance(every, int):
            every = max(1, min(every, self.iterations))
        return train(
            model, inner.joined(start.theta), source, alpha=inner.given, steps=self.steps,
            every=every, iterations=self.iterations, beta=self.beta, decay=self.decay, rng=rng,
            limit=self.limit, progress=progress,
            gradient=inner.gradient(self.meta_gradient == "first-order", self.iterations),
            validate=None if held is None else validate,
        )  # fmt: skip

    def _finished(self, start: Learner, state: State, held: Held | None) -> Learner:
        """With the best meta-parameters, α and K by validation, or else the last ones."""
        vector = state.theta if state.best is None else state.best
        (theta, alpha), steps = self._inner(start.model).parted(vector), self.steps
        if held is not None:
            alpha, steps = rate_and_steps(start.model, theta, alpha, held)
        return replace(start, theta=theta, alpha=alpha, steps=steps)

    def _inner(self, model: Network) -> Inner:
        words = self.rates, self.moves, self.weights, self.momentum
        return Inner(model, self.alpha, self.steps, *words)

    @staticmethod
    def _scaled(source: Grouped, start: Learner) -> Grouped:
        """In standard units, as the learner takes them."""
        return standardised(source, start.scaling, start.theta.dtype)

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Adapted:
        """Adapt to one group, seen in training or not, from a few of its rows.

        Parameters
        ----------
        x, y : arrays or tables
            As for `fit`. Columns with names are put in the order of training.
        steps : int, optional
            Inner steps, if not as many as validation chose.

        Returns
        -------
        adapted : Adapted
            What predicts for that group; the estimator stays as it is.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `Learner.adapt`; if the estimator was not fitted, columns are other ones than in
            training, a number or label is missing or masked; and with ``norm="batch"``, by which
            what is learned of a row depends on the others, if there are no two rows that differ.
        """
        learner = self._fitted()
        given.same_rows(x, y=y)
        return learner.adapt(self._inputs(x), self._known_targets(y), steps)

    def predict(self, x: Any) -> Array:
        """Predict without adapting: what theta itself says of a row, whatever its group.

        Parameters
        ----------
        x : (n, n_in) array or table
            Columns with names are put in the order of training. With ``norm="batch"`` a prediction
            depends on the other rows.

        Returns
        -------
        y : (n,) or (n, n_out) array
            As `fit` was given; for a classifier (n,) labels.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `Adapted.predict`; if the estimator was not fitted, columns are other ones than in
            training; and with ``norm="batch"`` if there are no two rows that differ.
        """
        learner = self._fitted()
        return Adapted(learner, learner.theta, self._flat).predict(self._inputs(x))

    def score(self, x: Any, y: Any, groups: Any = None) -> float:
        """How good predictions are: R² in regression, accuracy in classification.

        Parameters
        ----------
        x, y : arrays or tables
            As for `fit`.
        groups : (n,) array, optional
            With it, the estimator is adapted to ``shots`` rows of each group and predicts its
            others: the first rows where ``support="first"``, else rows drawn by the seed 0 and the
            group's place among the sorted labels. Groups with fewer rows count for nothing.
            Without groups it predicts all rows without adapting, which says little of what it is
            for.

        Returns
        -------
        score : float
            1 at best.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `adapt` and `predict`; and if no group has more than ``shots`` rows.
        """
        given.same_rows(x, y=y, groups=groups)
        if groups is None:
            return self._score(self._known_targets(y), self.predict(x))
        self._fitted()
        return self._score(*adapted_predictions(self, x, y, groups))

    def set_fit_request(self, *, groups: Any = True) -> Self:
        """Say whether scikit-learn's metadata routing gives ``groups`` to `fit`, as it does.

        Parameters
        ----------
        groups : bool, None or str
            As scikit-learn's own method of that name takes it.
        """
        return self._request("fit", groups)

    def set_score_request(self, *, groups: Any = True) -> Self:
        """Say whether scikit-learn's metadata routing gives ``groups`` to `score`, as it does.

        Parameters
        ----------
        groups : bool, None or str
            As scikit-learn's own method of that name takes it.
        """
        return self._request("score", groups)

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing is to give to which method (needs scikit-learn)."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if not hasattr(self, "_metadata_request"):
            request = MetadataRequest(owner=self)
            for method in (request.fit, request.score):
                method.add_request(param="groups", alias=True)
            # A pipeline hands None of these to every last step.
            request.score.add_request(param="sample_weight", alias=None)
            return request
        return self._metadata_request  # which scikit-learn's clone copies under this name

    def _request(self, method: str, groups: Any) -> Self:
        request = self.get_metadata_routing()
        getattr(request, method).add_request(param="groups", alias=groups)
        self._metadata_request = request
        return self

    def __repr__(self) -> str:
        said = {one.name: (repr(getattr(self, one.name)), repr(one.default))
                for one in fields(self) if one.init}  # fmt: skip
        inner = (f"{name}={given.cut(one)}" for name, (one, usual) in said.items() if one != usual)
        return f"{type(self).__name__}({', '.join(inner)})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the constructor, by name.

        Parameters
        ----------
        deep : bool
            Without effect: there are no estimators inside.
        """
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor, for the next `fit`.

        Parameters
        ----------
        **params
            By name.

        Raises
        ------
        ValueError
            If there is no such parameter; none is set then.
        """
        for name in params:
            check_name(f"a parameter of {type(self).__name__}", name, self.get_params())
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _targets(self, y: Any) -> tuple[Array, Array | None]:
        """y as the loss takes it, and the classes, if any."""
        raise NotImplementedError

    def _values(self, y: Any) -> Array:
        """y as predictions are to be compared with it."""
        raise NotImplementedError

    def _score(self, true: Array, predicted: Array) -> float:
        raise NotImplementedError

    def _inputs(self, x: Any) -> Array:
        """x with its columns in the order of training."""
        learner = self._fitted()
        x = given.numbers(given.table(x, "x", learner.provenance.get("features")), "x")
        if x.ndim == 2 and x.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"  # scikit-learn's own words
            )
        if x.ndim == 2:
            given.differing(x, learner.model.norm, "x")
        return x

    def _known_targets(self, y: Any) -> Array:
        """y as in training."""
        return self._values(given.table(y, "y", self._fitted().provenance.get("targets")))

    def _scaling(self, source: Grouped, n_out: int) -> Scaling:
        return standardise(source.x, None if self.loss == "cross_entropy" else source.y, n_out)

    def _fitted(self) -> Learner:
        if not hasattr(self, "learner_"):
            sklearn = sys.modules.get("sklearn.exceptions")
            error = NotFittedError if sklearn is None else sklearn.NotFittedError
            raise error(f"this {type(self).__name__} is not fitted; call fit(x, y, groups) first")
        return self.learner_


def _named(x: Any, y: Any, groups: Any) -> dict[str, Any]:
    """What the user calls the columns, as a learner's provenance has it."""
    features, targets = given.names(x, "x"), given.names(y, "y")
    if targets is None and isinstance(getattr(y, "name", None), str):
        targets = (y.name,)
    named: dict[str, Any] = {
        "features": features and [str(one) for one in features],
        "targets": targets and [str(one) for one in targets],
        "target": str(targets[0]) if targets and len(targets) == 1 else None,
        "task": groups.name if isinstance(getattr(groups, "name", None), str) else None,
    }
    return {name: said for name, said in named.items() if said is not None}


@dataclass(kw_only=True, eq=False, repr=False)
class MAMLRegressor(_Estimator):
    """Regression for a new group from a few of its rows, having been trained on other groups.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    activation, norm
        As for `numaml.MLP`. With ``norm="batch"`` predictions depend on the other rows that they
        are made with, and of one row alone there are none.
    alpha : float, or a structure of rates
        Inner learning rate; or a structure, as for `numaml.adapt`, whose rates stay as they are.
    steps : int
        Inner steps K in training; `adapt` takes as many as did best on the groups for validation.
    beta : float
        Outer learning rate, Adam's.
    shots, queries : int
        Support and query rows of each task in training. Take for shots about the number of rows
        that there will be to adapt to.
    tasks : int
        Tasks per iteration.
    iterations : int
        Outer steps.
    meta_gradient : str
        "exact", or "first-order", which is cheaper and leaves out the second derivatives.
    rates : str
        What there is a learned rate for, which alpha is the first of: each "layer", "tensor" (and
        step: LSLR) or "parameter" (Meta-SGD), or "one" for all; "fixed": none.
    moves : str
        What inner steps move: "all", the "head" (ANIL), the "body" (BOIL) or the "biases".
    weights : str
        Which query losses count: the "last" step's, or "multi-step" those of all, as in MAML++.
    momentum : float
        Of the inner steps; learned with the rates.
    limit : float, optional
        Most that the norm of a meta-gradient may be.
    decay : bool
        Let beta fall linearly to 0 at the last iteration.
    standardise : bool
        Whether columns of x, and y, are standardised by the training rows' mean and deviation.
        Then alpha's default does whatever the units; the user's own are what goes in and out.
    small : str
        What becomes of groups with fewer than shots + queries rows: "drop" or "error".
    support : str
        Which rows of a group are its support: "random", or "first" as in a time series, where the
        queries come later. So in training, validation and `score`.
    validation : float
        Share of the groups that training does not see and that choose, by their error after
        adaptation, among the meta-parameters after every ``every`` iterations (early stopping),
        and then α and K of `adapt`. With 0 there are none, and the last ones are taken.
    every : int
        Iterations between two validations.
    verbose : int
        1 prints a line at each of them.
    random_state : None, int or numpy Generator
        None gives another result each time; a generator is advanced.

    Attributes
    ----------
    learner_ : Learner
        What was learnt; `Learner.save` keeps it.
    n_features_in_ : int
        Columns of x.
    feature_names_in_ : (n_features_in_,) array of str
        Their names; only if x had names.
    dropped_ : int
        Number of groups that were too small to train on.
    meta_values_ : list of float
        The loss after adaptation, of every iteration.
    scores_ : list of (int, float)
        Iterations and minus the error of validation after ``steps`` steps: the root mean square
        error in standard units, or the share of wrong classes.

    Notes
    -----
    What scikit-learn asks of an estimator is there (``get_params``, ``set_params``, clones, tags),
    except that ``fit`` needs groups. Tell how good the predictions are on groups that training did
    not see: `numaml.split_groups`, or scikit-learn's ``GroupKFold``. With its metadata routing on,
    its grid search and its pipelines give the groups to `fit` and to `score`, which adapts to each
    of them; `numaml.AdaptedScorer` does the same with another metric.

    References
    ----------
    Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", Algorithm 2.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> groups, x = np.repeat(np.arange(40), 10), rng.uniform(-2, 2, (400, 1))
    >>> slope = rng.uniform(-3, 3, 41)                    # each group's own
    >>> maml = numaml.MAMLRegressor(hidden=(16,), activation="tanh", iterations=200, random_state=0)
    >>> maml = maml.fit(x, slope[groups] * x[:, 0], groups)
    >>> new = np.array([[-1.0], [1.0], [2.0], [0.5], [-2.0]])
    >>> y = slope[40] * new[:, 0]                         # a group that fit did not see
    >>> error = abs(maml.adapt(new, y, steps=20).predict(new) - y).mean()
    >>> bool(error < 0.3 * abs(maml.predict(new) - y).mean())
    True
    """

    loss: ClassVar[str] = "squared_error"

    def _targets(self, y: Any) -> tuple[Array, None]:
        return self._values(y), None

    def _values(self, y: Any) -> Array:
        y = given.numbers(y, "y")
        return y.astype(np.float64) if y.dtype.kind in "biu" else y

    def _score(self, true: Array, predicted: Array) -> float:
        """R², its mean over the outputs."""
        true, predicted = (one.reshape(len(one), -1) for one in (true, predicted))
        if true.shape != predicted.shape:
            raise ValueError(f"y has shape {true.shape} and predictions {predicted.shape}")
        with np.errstate(all="ignore"):
            away = true - true.mean(0)
            unit = abs(away).max(0)  # in whose squares nothing is lost
            unit = np.where(unit > 0, unit, 1.0)
            left, whole = (((one / unit) ** 2).sum(0) for one in (true - predicted, away))
            each = np.where(whole > 0, 1 - left / whole, np.where(left > 0, 0.0, 1.0))
        return float(each.mean())

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())


@dataclass(kw_only=True, eq=False, repr=False)
class MAMLClassifier(_Estimator):
    """Classification for a new group from a few of its rows, having been trained on other groups.

    The classes are the same in all groups; what tells them apart may differ.

    Parameters
    ----------
    hidden, activation, norm, alpha, steps, beta, shots, queries, tasks, iterations
        As for `MAMLRegressor`.
    meta_gradient, rates, moves, weights, momentum, limit, decay, standardise, small, support
        As for `MAMLRegressor`.
    validation, every, verbose, random_state
        As for `MAMLRegressor`; y is not standardised.

    Attributes
    ----------
    classes_ : (number of classes,) array
        Labels, sorted.
    learner_, n_features_in_, dropped_, meta_values_, scores_
        As for `MAMLRegressor`.

    References
    ----------
    Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", Algorithm 2.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> groups, x = np.repeat(np.arange(40), 12), rng.uniform(-1, 1, (480, 1))
    >>> limit = rng.uniform(-1, 1, 40)                    # each group's own
    >>> y = np.where(x[:, 0] > limit[groups], "high", "low")
    >>> maml = numaml.MAMLClassifier(hidden=(16,), alpha=1.0, iterations=200, random_state=0)
    >>> maml = maml.fit(x, y, groups)
    >>> maml.classes_
    array(['high', 'low'], dtype='<U4')
    >>> support = np.array([[-0.9], [-0.6], [-0.4], [0.0], [0.7]])
    >>> maml.adapt(support, ["low", "low", "high", "high", "high"]).predict([[-0.8], [-0.2]])
    array(['low', 'high'], dtype='<U4')
    """

    loss: ClassVar[str] = "cross_entropy"

    @property
    def classes_(self) -> Array | None:
        """Labels, in the order of the outputs."""
        return self._fitted().classes

    def predict_proba(self, x: Any) -> Array:
        """Probabilities of the classes without adapting, in the order of ``classes_``.

        Parameters
        ----------
        x : (n, n_in) array or table
            As for `predict`.

        Returns
        -------
        p : (n, number of classes) array

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `predict`.
        """
        learner = self._fitted()
        return Adapted(learner, learner.theta).predict_proba(self._inputs(x))

    def _targets(self, y: Any) -> tuple[Array, Array]:
        y = given.labels(y, "y")
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}; want (n,) labels")
        classes, numbers = given.numbered(y, "y")
        known = classes.tolist()
        if all(isinstance(label, str) for label in known):
            classes = classes.astype(str)
        if classes.tolist() != known:
            raise ValueError("y has labels that end with zero bytes; want others")
        if classes.dtype.kind not in "iuU":
            raise TypeError(f"y has dtype {y.dtype}; want integers or strings, e.g. y.astype(int)")
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class; want at least 2")
        return numbers, classes

    def _values(self, y: Any) -> Array:
        y, classes = given.labels(y, "y"), self.classes_
        check_kind(y, [] if classes is None else classes.tolist())
        return y

    def _score(self, true: Array, predicted: Array) -> float:
        """The accuracy."""
        if true.shape != predicted.shape:
            raise ValueError(f"y has shape {true.shape} and predictions {predicted.shape}")
        return float((true == predicted).mean())

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())
