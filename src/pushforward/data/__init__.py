"""Data sets, and batches of them in an order that a seed gives."""

from pushforward.data.images import Images, batches, digits

__all__ = ["Images", "batches", "digits"]
