"""The engine: how it runs fast, changing no number: calls replayed, tasks in parts and in shards.

May import: data, files, network, maml, weights.
"""

from .plan import Plan, Seen, plan, recordings, replaying

__all__ = ["Plan", "Seen", "plan", "recordings", "replaying"]
