"""The verification kit: plain callables and NumPy arrays in, verdicts and numbers out.

Is a meta-gradient right, and if not, what kind of mistake is in it? `meta_gradient` asks the
meta-value itself, `against` numaml's model of the same network; `gradient`, `hvp`, `activation`
and `loss` check what goes into one. Each returns a `Report`, and `assert_right` makes a test of it.
Five minutes: ``derivations/is-it-second-order.md``. `numaml.check.strategies` (Hypothesis) draws
architectures, tasks and step sizes.

Ways to differentiate without a formula: `derivative` (chooses), `complex_step`,
`central_difference`, `taylor`, and `dual_gradient` (exact over any ring, e.g. the field `Mod`).

The kit imports nothing of ours. Some files here are not of it: ``audit``, ``audit_family`` and
``audit_policies`` check the formulas that are installed, and ``answers`` judges answers to the test
vectors, which lie in ``vectors``.
May import: training, family, engine, data, network, maml, weights.
"""

from .checks import gradient, hvp
from .derivatives import TINY, central_difference, complex_step, relative_error
from .diagnosis import RIGHT, UNCLEAR, WRONG
from .meta import against, meta_gradient
from .orders import Orders, blocks, order_report
from .parts import activation, loss
from .probe import Derivative, Taylor, derivative, taylor
from .report import Report, assert_right
from .rings import Dual, Mod, dual_gradient

__all__ = [
    "RIGHT",
    "TINY",
    "UNCLEAR",
    "WRONG",
    "Derivative",
    "Dual",
    "Mod",
    "Orders",
    "Report",
    "Taylor",
    "activation",
    "against",
    "assert_right",
    "blocks",
    "central_difference",
    "complex_step",
    "derivative",
    "dual_gradient",
    "gradient",
    "hvp",
    "loss",
    "meta_gradient",
    "order_report",
    "relative_error",
    "taylor",
]
