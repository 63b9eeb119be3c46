"""Model-Agnostic Meta-Learning in NumPy, every derivative by hand.

Read it: ``numaml/textbook.py`` is all of it on one page, ``numaml read`` every formula beside its
code. The same to call:

    MLP, ConvNet                    a network and its loss, of layers or of convolutions
    Batch, Tasks                    the data of one task, of many
    adapt                           the inner loop: φ_K of every task
    meta_value, meta_gradient       the query loss after it, and its exact gradient
    first_order_meta_gradient       FOMAML, under its own name
    train, evaluate, accuracies     the outer loop; losses and accuracies step by step
    family                          learned rates, losses after every step, Reptile, rules

Check yours:

    check                           judges anybody's gradients and names the mistake

Use it on your tasks:

    MAMLRegressor, MAMLClassifier   fit(x, y, groups), adapt(x, y): scikit-learn's manners
    AdaptedScorer                   a score that adapts to each group before it judges
    Grouped, split_groups           tasks from the rows of a table
    FewShot, split_classes          tasks from labelled examples; omniglot, glyphs: such examples
    Sinusoids                       the MAML paper's regression

Ship it:

    Learner, Adapted, Scaling       what is saved and adapted; after adaptation; its units
    sharded                         a meta-gradient over threads, processes or machines
    engine                          how a call runs

``help(numaml.train)`` explains one of them; ``python -m numaml`` is the command. A call is

>>> import numpy as np, numaml
>>> model, tasks = numaml.MLP((1, 40, 40, 1)), numaml.Sinusoids()(np.random.default_rng(0))
>>> value, gradient = numaml.meta_gradient(model, model.init(0), tasks, alpha=0.01, steps=1)
>>> gradient.shape
(1761,)
"""

from typing import TYPE_CHECKING, Any

from . import engine
from .data.scaling import Scaling
from .data.tasks import Batch, Tasks
from .engine.calls import adapt, first_order_meta_gradient, meta_gradient, meta_value
from .files.version import __version__ as __version__
from .learning.learner import Adapted, Learner
from .network.convolution import ConvNet
from .network.mlp import MLP

if TYPE_CHECKING:
    from . import check, family
    from .data import omniglot
    from .data.fewshot import FewShot, split_classes
    from .data.glyphs import glyphs
    from .data.grouped import Grouped, split_groups
    from .data.sinusoids import Sinusoids
    from .engine.shards import sharded
    from .learning.estimators import MAMLClassifier, MAMLRegressor
    from .learning.evaluation import accuracies, evaluate
    from .learning.outer import train
    from .learning.scoring import AdaptedScorer
else:
    # What adapting a learner does not need is loaded when it is first asked for.
    LATER = {
        **dict.fromkeys(("MAMLClassifier", "MAMLRegressor"), "learning.estimators"),
        "AdaptedScorer": "learning.scoring",
        **dict.fromkeys(("FewShot", "split_classes"), "data.fewshot"),
        "glyphs": "data.glyphs",
        **dict.fromkeys(("Grouped", "split_groups"), "data.grouped"),
        "Sinusoids": "data.sinusoids",
        "sharded": "engine.shards",
        **dict.fromkeys(("accuracies", "evaluate"), "learning.evaluation"),
        "train": "learning.outer",
        "check": "check",
        "family": "family",
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
    "AdaptedScorer",
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
    "family",
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
