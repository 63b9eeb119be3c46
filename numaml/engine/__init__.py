"""The engine: how it runs fast, changing no number: calls replayed, tasks in parts and in shards.

May import: data, maml.
"""

from .calls import Plan, Seen, plan, recordings, replaying

__all__ = ["Plan", "Seen", "plan", "recordings", "replaying"]
