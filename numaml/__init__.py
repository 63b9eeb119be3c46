"""Model-Agnostic Meta-Learning in NumPy, every derivative by hand.

`meta_gradient` is exact, second order included; `first_order_meta_gradient` is FOMAML.
"""

from typing import TYPE_CHECKING, Any

from . import engine
from .data.fewshot import FewShot, split_classes
from .data.glyphs import glyphs
from .data.scaling import Scaling
from .data.sinusoids import Sinusoids
from .data.tasks import Batch, Tasks
from .engine.calls import adapt, first_order_meta_gradient, meta_gradient, meta_value
from .engine.shards import sharded
from .files.version import __version__ as __version__
from .learners.learner import Adapted, Learner
from .network.convolution import ConvNet
from .network.mlp import MLP

if TYPE_CHECKING:
    from . import check
    from .data import omniglot
    from .data.grouped import Grouped, split_groups
    from .learners.estimators import MAMLClassifier, MAMLRegressor
    from .training.evaluation import accuracies, evaluate
    from .training.outer import train
else:
    # What adapting a learner does not need is loaded when it is first asked for.
    LATER = {
        **dict.fromkeys(("MAMLClassifier", "MAMLRegressor"), "learners.estimators"),
        **dict.fromkeys(("Grouped", "split_groups"), "data.grouped"),
        **dict.fromkeys(("accuracies", "evaluate"), "training.evaluation"),
        "train": "training.outer",
        "check": "check",
        "omniglot": "data.omniglot",
    }

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name not in LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{LATER[name]}", __name__)
        return getattr(module, name, module)

    def __dir__() -> list[str]:
        return sorted(__all__)


__all__ = [
    "MLP",
    "Adapted",
    "Batch",
    "ConvNet",
    "FewShot",
    "Grouped",
    "Learner",
    "MAMLClassifier",
    "MAMLRegressor",
    "Scaling",
    "Sinusoids",
    "Tasks",
    "accuracies",
    "adapt",
    "check",
    "engine",
    "evaluate",
    "first_order_meta_gradient",
    "glyphs",
    "meta_gradient",
    "meta_value",
    "omniglot",
    "sharded",
    "split_classes",
    "split_groups",
    "train",
]
