"""The network: activations, losses, normalisation, the four passes, and what input it takes.

May import: weights.
"""
