"""The verification kit: plain callables and NumPy arrays in, verdicts and numbers out.

Is a meta-gradient right, and if not, which mistake is in it? In PyTorch, with ``meta_loss(theta)``
from one flat tensor to your meta-loss, tasks and seeds fixed::

    import torch, numaml

    def value(p):
        return meta_loss(torch.from_numpy(p).requires_grad_()).item()

    def gradient(p):
        theta = torch.from_numpy(p).requires_grad_()
        return torch.autograd.grad(meta_loss(theta), theta)[0].numpy()

    def test_my_maml():
        theta = theta0.detach().double().numpy()
        numaml.check.assert_meta_gradient(value, gradient, theta)

The test fails with a report that says what is wrong, where, by how much, and how sure that is. It
names the mistake too if it gets the pieces of the inner loop: ``tasks`` (for each task two
functions, the gradients of its support and of its query loss), ``alpha`` and ``steps``; for the
family also ``momentum``, ``adam``, ``decay``, ``pull``, ``weights`` and ``rates``.

=======================  =========================================================================
`meta_gradient`          is it the gradient of this meta-value, and if not, what does it look like?
`assert_meta_gradient`   the same as a line of a test
`implicit_gradient`      the same for minima (iMAML)
`against`                is it numaml's, on the same network and data? No value of yours is needed
`gradient`, `hvp`        of any function: its gradient, its Hessian times a vector
`activation`, `loss`     a triple (f, f′, f″), a loss
`assert_right`           fails with any of these reports unless it says "right"
`order_report`           how much of a meta-gradient is second order, block by block
`blocks`                 names and shapes of an MLP's parameters, by which faults are located
=======================  =========================================================================

A verdict is "right", "wrong" or "cannot tell"; everything is relative, nothing passes because it
is small. float32 will do where the pieces are given. Mistakes that get a name: first order, all or
in some layers or steps; Hessians or rates of the wrong step; rates outside the Hessian product, or
never learned; momentum, Adam's moments, weight decay or proximal term not differentiated; Adam's
epsilon or bias correction elsewhere; weights of a multi-step loss missing; alpha off; sums for
means over tasks, examples or outputs; an optimiser's state that goes on; copies, signs, transposes,
truncation, no adaptation, one step too many. If it is none of them, the report says so.

Five minutes: ``derivations/is-it-second-order.md``. Ways to differentiate without a formula:
`derivative` (chooses), `complex_step`, `central_difference`, `taylor`, and `dual_gradient` (exact
over any ring, e.g. the field `Mod`). `numaml.check.strategies` (Hypothesis) draws problems.

The kit imports nothing of ours. Some files here are not of it: ``audit``, ``audit_family`` and
``audit_policies`` check the formulas that are installed, and ``answers`` judges answers to the test
vectors, which lie in ``vectors``.
May import: learning, family, engine, data, network, maml, weights.
"""

from .checks import gradient, hvp
from .derivatives import TINY, central_difference, complex_step, relative_error
from .diagnosis import RIGHT, UNCLEAR, WRONG
from .implicit import implicit_gradient
from .meta import against, assert_meta_gradient, meta_gradient
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
    "assert_meta_gradient",
    "assert_right",
    "blocks",
    "central_difference",
    "complex_step",
    "derivative",
    "dual_gradient",
    "gradient",
    "hvp",
    "implicit_gradient",
    "loss",
    "meta_gradient",
    "order_report",
    "relative_error",
    "taylor",
]
