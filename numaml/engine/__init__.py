"""How it runs fast, changing no number: calls recorded and replayed, tasks in parts and in shards.

May import: data, maml.
"""

from .calls import Plan, plan, recordings, replaying

__all__ = ["Plan", "plan", "recordings", "replaying"]
