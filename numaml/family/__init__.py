"""The family: what grew from MAML: policy gradients through the adaptation, trust regions.

May import: data, network, maml.
"""
