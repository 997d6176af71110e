"""Flows trained with nflows, loaded from their state dicts."""

from pushforward.interop.nflows.load import load_nflows

__all__ = ["load_nflows"]
