"""Data: what a task is, and where tasks come from: made up, grouped tables, classes, files.

May import: files, network.
"""
