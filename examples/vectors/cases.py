"""The vectors' inputs: small numbers, drawn once and for all, and the edge cases by hand."""

from fractions import Fraction

from solve import Case, Net


def draws(seed):
    """Integers that no version of anything changes: Knuth's congruential generator."""
    state = seed
    while True:
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        yield state >> 33


def drawn(name, about, net, examples, alpha, steps, *, seed, theta=(2, 3), data=(2, 2)):
    """A case whose numbers are k/d with |k| <= the first of the pair and d <= its second.

    ``examples`` holds one pair (support, query) of sizes per task. Real networks have d itself.
    """
    stream = draws(seed)

    def number(largest, divisor):
        k = next(stream) % largest + 1
        sign = (-1) ** (next(stream) % 2)
        return Fraction(sign * k, next(stream) % divisor + 1 if net.rational else divisor)

    def rows(n, width):
        return [[number(*data) for _ in range(width)] for _ in range(n)]

    def batch(n):
        if net.loss == "cross_entropy":
            return rows(n, net.sizes[0]), [next(stream) % net.sizes[-1] for _ in range(n)]
        return rows(n, net.sizes[0]), rows(n, net.sizes[-1])

    return Case(
        name,
        about,
        net,
        [number(*theta) for _ in range(net.length)],
        [number(2, 1) for _ in range(net.length)],
        [(*batch(support), *batch(query)) for support, query in examples],
        Fraction(alpha),
        steps,
    )


def fractions(text):
    return [Fraction(number) for number in text.split()]


def column(text):
    return [[number] for number in fractions(text)]


REAL = {"seed": 1, "theta": (9, 8), "data": (9, 4)}


def kink():
    """Unit 1 has z = 0 on two support examples, unit 3 on every example, adapted or not."""
    x = [fractions(row) for row in ("1 0", "2 1", "0 2", "-1 1", "-1 2", "3 1")]
    y = column("1 -1 2 1/2 -1 1")
    theta = fractions("1 -1/2 0  1/2 1 0  -1 1/2 0  1 -1 2  1/2")
    v = fractions("1 -1 2  2 1 -1  1 2 1  -1 1 -2  1")
    return Case(
        "relu-kink",
        "Pre-activations of exactly 0 before and after adaptation: relu'(0) = 0.",
        Net((2, 3, 1), "relu"), theta, v, [(x[:4], y[:4], x[4:], y[4:])], Fraction(1, 4), 1,
    )  # fmt: skip


def saturated(name, about, right):
    """Logits hundreds apart. Every pre-activation is exact in binary."""
    theta = fractions("1 1/2  1 1/4  100 -100 0  50 -200 32  0 160 -64")
    v = fractions("1 -1  2 1  1 2 -1  -2 1 1  1 -1 2")
    inputs = ("1 3 -3 2", "2 -2 5", "3 1 -4 -2", "4 -3 1")
    classes = [[0 if x > 0 else 1 for [x] in column(text)] for text in inputs]
    if not right:
        classes = [[2 - one for one in row] for row in classes]
    (sx, qx, sx2, qx2), (sy, qy, sy2, qy2) = map(column, inputs), classes
    tasks = [(sx, sy, qx, qy), (sx2, sy2, qx2, qy2)]
    net = Net((1, 2, 3), "relu", "cross_entropy")
    return Case(name, about, net, theta, v, tasks, Fraction(1, 64), 2)


CASES = [
    # Rational: every answer is a fraction.
    drawn("identity-no-hidden-layer", "Linear regression, whose Hessian is constant.",
          Net((3, 2), "identity"), [(4, 5)] * 2, "1/7", 2, seed=43),
    drawn("identity-three-layers", "A deep linear network: curvature without an activation.",
          Net((2, 3, 1, 2), "identity"), [(3, 4)] * 2, "1/9", 1, seed=72),
    drawn("square", "A polynomial activation.",
          Net((2, 3, 1), "square"), [(3, 2)] * 2, "1/40", 1, seed=9),
    drawn("square-two-steps", "A polynomial activation, two steps: fractions grow.",
          Net((1, 2, 1), "square"), [(2, 3)], "1/32", 2, data=(2, 1), seed=38),
    drawn("relu", "One hidden layer, one step, three tasks.",
          Net((2, 4, 1), "relu"), [(3, 5)] * 3, "1/10", 1, seed=13),
    drawn("relu-two-outputs", "The mean is over examples and outputs.",
          Net((3, 4, 2), "relu"), [(5, 3)] * 2, "1/10", 1, seed=3),
    drawn("relu-two-steps", "One hidden layer, two steps.",
          Net((2, 3, 1), "relu"), [(3, 4)] * 2, "1/10", 2, data=(2, 1), seed=28),
    drawn("relu-two-hidden-layers", "Two hidden layers, one step.",
          Net((2, 3, 4, 1), "relu"), [(3, 5)] * 2, "1/80", 1, data=(2, 1), seed=393),
    kink(),
    drawn("zero-steps", "K = 0: phi is theta, the meta-gradient is the query gradient.",
          Net((2, 3, 1), "relu"), [(2, 5)] * 4, "1/10", 0, seed=50),
    drawn("zero-alpha", "alpha = 0: two steps that go nowhere.",
          Net((2, 3, 1), "square"), [(2, 4)] * 3, 0, 2, seed=2),
    drawn("one-task-one-example", "One task with one support and one query example.",
          Net((3, 2, 1), "square"), [(1, 1)], "1/30", 1, seed=57),
    drawn("ragged", "Tasks of different sizes; each task counts the same.",
          Net((2, 3, 1), "relu"), [(1, 4), (3, 2), (2, 5)], "1/10", 1, seed=28),
    drawn("binary32", "Every number on the way fits single precision.",
          Net((3, 1), "identity"), [(4, 2)] * 2, "1/2", 1, theta=(3, 2), data=(2, 1), seed=4),
    drawn("binary64-relu", "Every number on the way fits double precision.",
          Net((2, 3, 1), "relu"), [(4, 2)] * 2, "1/4", 1, theta=(2, 2), data=(2, 1), seed=46),
    drawn("binary64-square", "Every number on the way fits double precision.",
          Net((2, 3, 1), "square"), [(4, 2)] * 2, "1/64", 1, theta=(2, 2), data=(1, 1), seed=9),
    # Real: thirty digits of every answer.
    drawn("tanh", "Smooth regression, two steps.",
          Net((2, 3, 1), "tanh"), [(4, 5)] * 2, "1/8", 2, **REAL),
    drawn("softplus-two-hidden-layers", "Two hidden layers, two outputs.",
          Net((1, 3, 4, 2), "softplus"), [(5, 6)] * 2, "1/16", 1, **REAL),
    drawn("sigmoid-cross-entropy", "Smooth classification, four classes.",
          Net((2, 3, 4), "sigmoid", "cross_entropy"), [(5, 6)] * 2, "1/2", 2, **REAL),
    drawn("relu-cross-entropy", "Curvature of the loss, none of the activation.",
          Net((3, 2, 4), "relu", "cross_entropy"), [(5, 6)] * 2, "1/4", 1, **REAL),
    drawn("softmax-regression", "No hidden layer.",
          Net((3, 4), "identity", "cross_entropy"), [(5, 2)] * 2, "1/2", 2, **REAL),
    drawn("tanh-one-task-one-example", "One task with one support and one query example.",
          Net((3, 2, 4), "tanh", "cross_entropy"), [(1, 1)], "1/4", 2, **REAL),
    drawn("softplus-ragged", "Tasks of different sizes; each task counts the same.",
          Net((2, 3, 1), "softplus"), [(4, 1), (1, 3), (2, 6)], "1/16", 1, **REAL),
    saturated("softmax-saturated-right", "The right class leads by hundreds: tiny losses.", True),
    saturated("softmax-saturated-wrong", "The right class trails by hundreds.", False),
    drawn("tanh-thirty-steps", "A long inner loop.",
          Net((1, 2, 1), "tanh"), [(4, 5)] * 2, "1/8", 30, **REAL),
    drawn("relu-batch-norm", "Classification with batch norm, as in MAML's Omniglot network.",
          Net((3, 4, 2), "relu", "cross_entropy", "batch"), [(5, 6)] * 2, "1/4", 1, **REAL),
    drawn("softplus-batch-norm", "Batch norm in two hidden layers, two steps.",
          Net((2, 3, 4, 1), "softplus", "squared_error", "batch"), [(5, 6)] * 2, "1/16", 2, **REAL),
    drawn("batch-norm-one-example", "Batch norm of one example is 0: only b speaks.",
          Net((2, 3, 1), "tanh", "squared_error", "batch"), [(1, 4)] * 2, "1/8", 2, **REAL),
    drawn("batch-norm-ragged", "Every support and query set has statistics of its own.",
          Net((2, 3, 1), "sigmoid", "squared_error", "batch"), [(4, 3), (3, 6)], "1/8", 1, **REAL),
    drawn("tanh-layer-norm", "Layer norm, two steps.",
          Net((1, 4, 3), "tanh", "squared_error", "layer"), [(5, 6)] * 2, "1/8", 2, **REAL),
    drawn("sigmoid-layer-norm", "Layer norm in two hidden layers, classification.",
          Net((1, 3, 4, 2), "sigmoid", "cross_entropy", "layer"), [(5, 6)] * 2, "1/2", 1, **REAL),
]  # fmt: skip
