"""The version, which recipes and cards name."""

__version__ = "0.1.0"
