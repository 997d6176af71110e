"""Data sets behind one interface, by name or path, in an order that a seed gives."""

from pushforward.data.catalogue import digits, find
from pushforward.data.data import Arrays, Data
from pushforward.data.images import Images, Mirrored
from pushforward.data.order import Order

__all__ = ["Arrays", "Data", "Images", "Mirrored", "Order", "digits", "find"]
