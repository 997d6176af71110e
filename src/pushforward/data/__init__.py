"""Data sets: batches as a function of (split, seed, position)."""

from pushforward.data.images import Images, batches, digits

__all__ = ["Images", "batches", "digits"]
