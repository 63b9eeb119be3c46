"""MAML with scikit-learn's manners: ``fit(x, y, groups)``, then ``adapt`` to a group never seen."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..data.grouped import Grouped, numbered, standardise, standardised
from ..data.scaling import Scaling
from ..engine.calls import first_order_meta_gradient, meta_gradient
from ..network.mlp import MLP
from ..network.settings import check_name
from ..training.outer import train
from .learner import Adapted, Learner

Array = np.ndarray[Any, Any]

GRADIENTS = {"exact": meta_gradient, "first-order": first_order_meta_gradient}


def _generator(random_state: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"random_state is {random_state!r}; want None, an integer >= 0 or a numpy Generator"
        ) from error


class NotFittedError(ValueError, AttributeError):
    """A method of an estimator that wants `fit` first; scikit-learn's own where that is loaded."""


@dataclass(kw_only=True, eq=False)
class _Estimator:
    hidden: tuple[int, ...] = (40, 40)
    activation: str = "relu"
    norm: str | None = None
    alpha: float = 0.05
    steps: int = 5
    beta: float = 1e-3
    shots: int = 5
    queries: int = 5
    tasks: int = 25
    iterations: int = 2000
    meta_gradient: str = "exact"
    decay: bool = False
    standardise: bool = True
    small: str = "drop"
    random_state: Any = None
    learner_: Learner = field(init=False, repr=False)
    n_features_in_: int = field(init=False, repr=False)
    dropped_: int = field(init=False, repr=False)
    meta_values_: list[float] = field(init=False, repr=False)
    _flat: bool = field(init=False, repr=False)  # whether y was (n,)

    loss: ClassVar[str]

    def fit(self, x: Any, y: Any, groups: Any) -> Self:
        """Meta-train on the rows of a table, each group a task.

        Parameters
        ----------
        x : (n, n_in) array
            Real numbers. The dtype of training is float32 for float32, else float64.
        y : (n,) or (n, n_out) array
            Numbers; for a classifier (n,) labels, integers or strings.
        groups : (n,) array
            The group of each row, as labels of any dtype that NumPy can sort.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, x, y or groups is not as said, or no group has shots + queries rows.
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
        flat = np.ndim(y) == 1
        y, classes = self._targets(y)
        source = Grouped(x, y, groups, self.shots, self.queries, self.tasks, self.small)
        n_in = source.x.shape[1]
        n_out = source.y.shape[1] if classes is None else len(classes)
        model = MLP((n_in, *self.hidden, n_out), self.activation, self.loss, self.norm)
        scaling = self._scaling(source, n_out) if self.standardise else None
        dtype = np.float32 if source.x.dtype == np.float32 else np.float64
        rng = _generator(self.random_state)
        theta = model.init(rng, dtype)
        about = {"estimator": type(self).__name__, "meta_gradient": self.meta_gradient}
        start = Learner(model, theta, self.alpha, self.steps, scaling, classes, about)
        state = train(
            model, theta, standardised(source, scaling, dtype), alpha=self.alpha, steps=self.steps,
            iterations=self.iterations, beta=self.beta, decay=self.decay, rng=rng,
            gradient=GRADIENTS[self.meta_gradient],
        )  # fmt: skip
        self.learner_, self._flat = replace(start, theta=state.theta), flat
        self.n_features_in_, self.dropped_, self.meta_values_ = n_in, source.dropped, state.values
        return self

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Adapted:
        """Adapt to one group, seen in training or not, from a few of its rows.

        Parameters
        ----------
        x, y : arrays
            As for `fit`.
        steps : int, optional
            Inner steps, if not as many as in training.

        Returns
        -------
        adapted : Adapted
            What predicts for that group; the estimator stays as it is.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `Learner.adapt`; and if the estimator was not fitted.
        """
        return self._fitted().adapt(x, y, steps)

    def predict(self, x: Any) -> Array:
        """Predict without adapting: what theta itself says of a row, whatever its group.

        Parameters
        ----------
        x : (n, n_in) array

        Returns
        -------
        y : (n,) or (n, n_out) array
            As `fit` was given; for a classifier (n,) labels.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `Adapted.predict`; and if the estimator was not fitted.
        """
        learner = self._fitted()
        return Adapted(learner, learner.theta, self._flat).predict(x)

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

    def _scaling(self, source: Grouped, n_out: int) -> Scaling:
        return standardise(source.x, None if self.loss == "cross_entropy" else source.y, n_out)

    def _fitted(self) -> Learner:
        if not hasattr(self, "learner_"):
            sklearn = sys.modules.get("sklearn.exceptions")
            error = NotFittedError if sklearn is None else sklearn.NotFittedError
            raise error(f"this {type(self).__name__} is not fitted; call fit(x, y, groups) first")
        return self.learner_


@dataclass(kw_only=True, eq=False)
class MAMLRegressor(_Estimator):
    """Regression for a new group from a few of its rows, having been trained on other groups.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    activation, norm
        As for `numaml.MLP`.
    alpha : float
        Inner learning rate.
    steps : int
        Inner steps K, in training and in `adapt`.
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
    decay : bool
        Let beta fall linearly to 0.
    standardise : bool
        Whether columns of x, and y, are standardised by the training rows' mean and deviation.
        Then alpha's default does whatever the units; the user's own are what goes in and out.
    small : str
        What becomes of groups with fewer than shots + queries rows: "drop" or "error".
    random_state : None, int or numpy Generator
        None gives another result each time; a generator is advanced.

    Attributes
    ----------
    learner_ : Learner
        What was learnt; `Learner.save` keeps it.
    n_features_in_ : int
        Columns of x.
    dropped_ : int
        Number of groups that were too small to train on.
    meta_values_ : list of float
        The loss after adaptation, of every iteration.

    Notes
    -----
    What scikit-learn asks of an estimator is there (``get_params``, ``set_params``, clones, tags),
    except that ``fit`` needs groups. Tell how good the predictions are on groups that training did
    not see: `numaml.split_groups`, or scikit-learn's ``GroupKFold``.

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
        y = np.asarray(y)
        return (y.astype(np.float64) if y.dtype.kind in "biu" else y), None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())


@dataclass(kw_only=True, eq=False)
class MAMLClassifier(_Estimator):
    """Classification for a new group from a few of its rows, having been trained on other groups.

    The classes are the same in all groups; what tells them apart may differ.

    Parameters
    ----------
    hidden, activation, norm, alpha, steps, beta, shots, queries, tasks, iterations
        As for `MAMLRegressor`.
    meta_gradient, decay, standardise, small, random_state
        As for `MAMLRegressor`; y is not standardised.

    Attributes
    ----------
    classes_ : (number of classes,) array
        Labels, sorted.
    learner_, n_features_in_, dropped_, meta_values_
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
        x : (n, n_in) array

        Returns
        -------
        p : (n, number of classes) array

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `predict`.
        """
        learner = self._fitted()
        return Adapted(learner, learner.theta).predict_proba(x)

    def _targets(self, y: Any) -> tuple[Array, Array]:
        y = np.asarray(y)
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}; want (n,) labels")
        classes, numbers = numbered(y, "y")
        if all(isinstance(label, str) for label in classes.tolist()):
            classes = classes.astype(str)
        if classes.dtype.kind not in "iuU":
            raise TypeError(f"y has dtype {y.dtype}; want integers or strings, e.g. y.astype(int)")
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class; want at least 2")
        return numbers, classes

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())
