"""Learning: what trains, and what is trained and shipped.

The outer loop, its state and checkpoints, how good is what it learned; learners, estimators.
May import: family, engine, data, files, network, maml.
"""
