"""Model-Agnostic Meta-Learning in NumPy, every derivative by hand.

`meta_gradient` is exact, second order included; `first_order_meta_gradient` is FOMAML.
"""

from . import check, omniglot
from .maml import adapt, first_order_meta_gradient, meta_gradient, meta_value
from .mlp import MLP
from .shards import sharded
from .tasks import Batch, FewShot, Sinusoids, Tasks, glyphs, split_classes
from .training import accuracies, evaluate, train

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "Batch",
    "FewShot",
    "Sinusoids",
    "Tasks",
    "accuracies",
    "adapt",
    "check",
    "evaluate",
    "first_order_meta_gradient",
    "glyphs",
    "meta_gradient",
    "meta_value",
    "omniglot",
    "sharded",
    "split_classes",
    "train",
]
