"""The version that wrote a file."""

__version__ = "0.1.0"
