"""The verification kit: plain callables and arrays in, numbers out.

Three ways to differentiate a function without the formulas under test: `complex_step` (no
cancellation), `central_difference` (any real function), `dual_gradient` (exact over any ring,
e.g. the field `Mod`). How they work: ``derivations/4-verification.md``.
"""

from .derivatives import TINY, central_difference, complex_step, relative_error
from .rings import Dual, Mod, dual_gradient

__all__ = [
    "TINY",
    "Dual",
    "Mod",
    "central_difference",
    "complex_step",
    "dual_gradient",
    "relative_error",
]
