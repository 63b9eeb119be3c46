"""The family's vectors: small numbers, drawn as those of `cases` are."""

from fractions import Fraction
from itertools import pairwise

from cases import REAL, drawn, fractions
from family import Adam, Member
from solve import Case, Net


def layers_of(net):
    """For each parameter the number of its layer, and that of its tensor."""
    layers, tensors = [], []
    for l, (n_in, n_out) in enumerate(pairwise(net.sizes)):
        layers += [l] * (n_in + 1) * n_out
        tensors += [2 * l] * (n_in * n_out) + [2 * l + 1] * n_out
    return layers, tensors


def member(
    name, about, net, examples, steps, rates, *, shared="one", seed=None, data=(2, 1), **how
):
    """A member with "one" rate, or one for each "layer", "tensor" and step, or "parameter"."""
    drawing = REAL if not net.rational else {"data": data}
    drawing = {**drawing, "seed": seed} if seed else drawing
    case = drawn(name, about, net, examples, 0, steps, **drawing)
    layers, tensors = layers_of(net)
    which = {
        "one": [[0] * net.length] * steps,
        "layer": [layers] * steps,
        "tensor": [[j + k * 2 * (len(net.sizes) - 1) for j in tensors] for k in range(steps)],
        "parameter": [list(range(net.length))] * steps,
    }[shared]
    weights = how.pop("weights", [Fraction(0)] * (steps - 1) + [Fraction(1)])[:steps]
    if how.get("momentum"):
        how.setdefault("buffer", [Fraction(0)] * net.length)
    return Member(case, fractions(rates), which, weights, **how)


def without_a_gradient():
    """The residuals are at right angles to the first input: its gradient is 0, not its Hessian."""
    x = [fractions(row) for row in ("1 1", "-1 1", "2 1", "1 2")]
    y = [[one] for one in fractions("2 1 -1 1")]
    theta, v = fractions("1/2 1 -1/2"), fractions("1 -1 2")
    tasks = [(x[:2], [[Fraction(0)], [Fraction(-1)]], x[2:], y[2:])]
    case = Case(
        "adam-zero-gradient",
        "One Adam step from a gradient that is 0 in one weight: its slope there is 1/epsilon.",
        Net((2, 1), "identity"), theta, v, tasks, Fraction(0), 1,
    )  # fmt: skip
    return Member(
        case, [Fraction(1, 4)], [[0] * 3], [Fraction(1)], adam=ADAM._replace(epsilon=HALF)
    )


HALF = Fraction(1, 2)
ADAM = Adam(Fraction(1, 3), Fraction(3, 4), Fraction(1, 100), inside=False)
RELU = Net((2, 3, 1), "relu")
MEMBERS = [
    # Rational.
    member("maml", "MAML itself, to be asked for the family's mistakes.",
           RELU, [(3, 4)] * 2, 2, "1/10", seed=28, reptile=True),
    member("rates-per-layer", "A rate for each layer, learned.",
           RELU, [(3, 4)] * 2, 2, "1/10 1/20", shared="layer", seed=28),
    member("rates-per-tensor-and-step", "MAML++: a rate for each W and b and step, learned.",
           Net((1, 3, 1), "relu"), [(3, 4)] * 2, 2, "1/10 1/20 1/25 -1/10 1/20 1/10 1/25 1/20",
           shared="tensor", seed=31),
    member("rates-per-parameter", "Meta-SGD: a rate of any sign for each parameter, learned.",
           Net((1, 3, 1), "square"), [(3, 4)] * 2, 1,
           "1/100 1/200 -1/100 1/80 1/50 1/400 1/200 -1/200 1/100 1/250",
           shared="parameter", seed=6),
    member("head-only", "ANIL: only the last layer adapts.",
           RELU, [(3, 4)] * 2, 2, "0 1/5", shared="layer", seed=28),
    member("body-only", "BOIL: the last layer does not adapt.",
           RELU, [(3, 4)] * 2, 2, "1/5 0", shared="layer", seed=28),
    member("multi-step-loss", "MAML++: the query loss after every step counts.",
           RELU, [(3, 4)] * 2, 2, "1/10", seed=28, weights=[Fraction(1, 3), Fraction(2, 3)]),
    member("momentum", "Momentum from a buffer of zeros.",
           RELU, [(3, 4)] * 2, 2, "1/10", seed=28, momentum=HALF),
    member("momentum-buffer", "Momentum from a buffer that is not 0: whose is its gradient?",
           Net((3, 1), "identity"), [(4, 3)] * 2, 3, "1/10", seed=7, momentum=HALF,
           buffer=fractions("1 -1/2 2 1/4")),
    member("weight-decay", "Weight decay in the gradient (L2).",
           RELU, [(3, 4)] * 2, 2, "1/10", seed=28, decay=HALF),
    member("weight-decay-decoupled", "Weight decay beside the gradient, with momentum.",
           Net((3, 1), "identity"), [(4, 3)] * 2, 2, "1/10", seed=7, momentum=HALF, decay=HALF,
           decoupled=True),
    member("proximal-pull", "A pull back to theta in every step.",
           RELU, [(3, 4)] * 2, 2, "1/10", seed=28, pull=Fraction(3, 2)),
    member("adam-one-step", "One Adam step, whose root is a fraction.",
           RELU, [(3, 4)] * 2, 1, "1/10", seed=28, adam=ADAM._replace(epsilon=HALF)),
    without_a_gradient(),
    member("minimum-linear", "iMAML: the minimum of the support loss with a proximal term.",
           Net((2, 2), "identity"), [(4, 5), (3, 2)], 0, "", seed=72, pull=HALF, data=(2, 2)),
    # Real.
    member("maml-classification", "Three ways, two shots: sums and means in three places.",
           Net((2, 2, 3), "tanh", "cross_entropy"), [(6, 3)] * 2, 2, "1/4"),
    member("rates-per-layer-norm", "A rate for each layer, learned, under layer norm.",
           Net((2, 3, 2), "tanh", "squared_error", "layer"), [(3, 2)] * 2, 2, "1/8 1/16",
           shared="layer"),
    member("momentum-batch-norm", "Momentum and multi-step loss under batch norm.",
           Net((2, 2, 2), "softplus", "squared_error", "batch"), [(4, 3)] * 2, 2, "1/8",
           momentum=HALF, weights=[Fraction(1, 4), Fraction(3, 4)]),
    member("adam", "Two Adam steps, epsilon outside the root.",
           Net((2, 2, 1), "tanh"), [(3, 2)] * 2, 2, "1/8", adam=ADAM),
    member("adam-epsilon-inside", "Two Adam steps, epsilon under the root.",
           Net((2, 2, 1), "tanh"), [(3, 2)] * 2, 2, "1/8", adam=ADAM._replace(inside=True)),
    member("adam-decay-decoupled", "AdamW: two Adam steps, weight decay beside them.",
           Net((2, 2, 1), "tanh"), [(3, 2)] * 2, 2, "1/8", adam=ADAM, decay=HALF, decoupled=True),
    member("minimum-tanh", "iMAML: the minimum in a network, and the implicit gradient there.",
           Net((1, 2, 1), "tanh"), [(3, 2)] * 2, 0, "", pull=Fraction(4)),
]  # fmt: skip
