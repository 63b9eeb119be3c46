"""The command ``numaml``: parses, calls, prints.

May import: experiments, check, learning, data, files. No room imports it.

``main`` is the command itself; a file for each of ``train``, ``evaluate``, ``adapt``, ``check`` and
``read`` has an ``add``, which says its options, and a ``run``, which does it and gives the exit
status.
"""
