"""The multilayer perceptron."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ..weights.theta import Shapes
from . import settings
from .activations import Activation
from .network import Network


@dataclass(frozen=True)
class MLP(Network):
    """Multilayer perceptron ``u = s(… s(x W_1 + b_1) …) W_L + b_L`` and its loss, without state.

    Parameters
    ----------
    sizes : sequence of int
        Widths (n_in, hidden …, n_out), at least two, each >= 1.
    activation : str or triple of callables
        "relu", "tanh", "softplus", "sigmoid", "identity", "square", or (s, s′, s″), each taking
        and returning an array; None for an s″ that is zero everywhere. Not applied to the output.
        relu′(0) is 0.
    loss : str
        "squared_error": the mean over examples *and* outputs of (u − y)².
        "cross_entropy": the mean over examples of −ln softmax(u)[y], natural logarithm.
        "gaussian_nll": u = (μ, ln σ) of d coordinates each, y = (action, weight) of d + 1: the mean
        over examples of −weight · ln N(action; μ, σ²), summed over coordinates.
        "gaussian_kl": u = (μ, ln σ), y = (m, ln s, weight): the mean over examples of
        weight · KL(N(m, s²) ‖ N(μ, σ²)), summed over coordinates.
    norm : None, "batch" or "layer"
        Normalisation of the hidden layers, ``z_l = N(h_{l-1} W_l) + b_l`` with
        ``N(a) = (a − mean) / √(variance + 1e-5)``, the variance being the plain mean of squares.
        "batch": over the examples of the batch at hand, per task and feature, in training *and* at
        test, as MAML's own code does; no running statistics exist, so a prediction depends on the
        other examples in its batch. A batch of one example is mapped to b_l whatever it is: it has
        a loss, but whoever predicts it, or adapts by it, refuses it.
        "layer": over the features of each example. Either has no parameters: b plays the part of
        the shift, and theta's layout does not change. A constant feature is mapped to b_l.

    Raises
    ------
    TypeError, ValueError
        If sizes are not integers >= 1, or a name is unknown.

    Notes
    -----
    Theta is one vector of P numbers, ``[W1.ravel(), b1, W2.ravel(), b2, …]`` in C order, W being
    (n_in, n_out). The dtype of every result follows theta: float32, float64, complex128 (for the
    complex step) or object (for exact arithmetic, with polynomial activations; x and y are object
    arrays too, or integers).

    References
    ----------
    Pearlmutter 1994, "Fast Exact Multiplication by the Hessian", section 4.1 for the R-passes.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((2, 16, 3), activation="tanh", loss="cross_entropy")
    >>> model.size
    99
    >>> theta = model.init(0)
    >>> batch = numaml.Batch(np.eye(2), np.array([0, 2]))
    >>> value, gradient, hvp = model.linearize(theta, batch)
    >>> ahead, _, _ = model.linearize(theta + 1e-6 * gradient, batch)
    >>> bool(np.isclose((ahead - value) / 1e-6, gradient @ gradient, rtol=1e-4))
    True
    """

    sizes: tuple[int, ...]
    activation: str | Activation = "relu"
    loss: str = "squared_error"
    norm: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", settings.as_sizes(self.sizes))
        settings.check_names(self.activation, self.loss, self.norm, self.sizes[-1])

    @cached_property
    def shapes(self) -> Shapes:  # type: ignore[override]  # computed, not given
        """Of every layer the shape (n_in, n_out) of its weight W."""
        return tuple(pairwise(self.sizes))
