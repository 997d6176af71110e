"""Lossless compression by the density of a flow."""

from pushforward.compression.coding import compress, decompress

__all__ = ["compress", "decompress"]
