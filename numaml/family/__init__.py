"""The family: what grew from MAML: learned rates, losses after every step, policy gradients.

May import: engine, data, network, maml, weights.
"""

from ..engine.inner import Rule
from .directions import reptile_direction
from .gradients import Exact, FirstOrder
from .joint import joined, parted, rates
from .schedules import Annealed, MultiStep

__all__ = [
    "Annealed",
    "Exact",
    "FirstOrder",
    "MultiStep",
    "Rule",
    "joined",
    "parted",
    "rates",
    "reptile_direction",
]
