"""Weights: θ and its layers, W + UᵀV, and how BLAS is best asked for a product.

May import: nothing of ours.
"""
