"""Which form a weight is kept in: one array for all layers, factors, or multiplied out."""

from .theta import Shapes

# Where a layer's matrices of all tasks hold no more numbers than this, factors save less than their
# handling costs. Where factors do not pay and it holds more than MANY, the mean over tasks at the
# end does: in one product of all tasks and examples, 1.00 to 1.16 times as fast on nine networks.
FEW, MANY = 2**15, 2**17


def pays(rank: int, n_in: int, n_out: int) -> bool:
    """Whether a product through r-row factors is cheaper than through the matrix itself (W2)."""
    return rank * (n_in + n_out) < n_in * n_out  # (W2)


def layered(shapes: Shapes, tasks: int, rank: int) -> bool:
    """Whether vectors are kept layer by layer, or flat: then no layer is large."""
    return any(tasks * i * o > (FEW if pays(rank, i, o) else MANY) for i, o in shapes)
