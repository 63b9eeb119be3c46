"""Learners: what is trained and shipped, to be adapted where it is needed.

May import: training, engine, data, files, network.
"""
