"""Model-Agnostic Meta-Learning in NumPy, every derivative by hand.

`meta_gradient` is exact, second order included; `first_order_meta_gradient` is FOMAML.
"""

from typing import TYPE_CHECKING, Any

from .learner import Adapted, Learner, Scaling
from .maml import adapt, first_order_meta_gradient, meta_gradient, meta_value
from .mlp import MLP
from .shards import sharded
from .tasks import Batch, FewShot, Sinusoids, Tasks, glyphs, split_classes

if TYPE_CHECKING:
    from . import check, omniglot
    from .estimator import MAMLClassifier, MAMLRegressor
    from .grouped import Grouped, split_groups
    from .training import accuracies, evaluate, train
else:
    # What adapting a learner does not need is loaded when it is first asked for.
    LATER = {
        **dict.fromkeys(("MAMLClassifier", "MAMLRegressor"), "estimator"),
        **dict.fromkeys(("Grouped", "split_groups"), "grouped"),
        **dict.fromkeys(("accuracies", "evaluate", "train"), "training"),
        **{name: name for name in ("check", "omniglot")},
    }

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name not in LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{LATER[name]}", __name__)
        return getattr(module, name, module)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"
__all__ = [
    "MLP",
    "Adapted",
    "Batch",
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
