"""Training: the outer loop, its state and checkpoints, and how good is what it learned.

May import: engine, files, maml.
"""

from .state import State as State
