"""Which form a weight is kept in: one array for all layers, factors, or multiplied out."""

from .theta import Shapes

# Where a layer's matrices of all tasks hold no more numbers than this, factors save less than their
# handling costs.
FEW = 2**15


def pays(rank: int, n_in: int, n_out: int) -> bool:
    """Whether a product through r-row factors is cheaper than through the matrix itself (W2)."""
    return rank * (n_in + n_out) < n_in * n_out  # (W2)


def layered(shapes: Shapes, tasks: int, rank: int) -> bool:
    """Whether vectors are kept layer by layer, or flat: then factors pay in no layer."""
    return any(tasks * i * o > FEW and pays(rank, i, o) for i, o in shapes)
