"""The engine: how a meta-gradient runs fast, changing no number: parts of the tasks, shards.

May import: data, files, network, maml, weights.
"""
