"""Data sets behind one interface, by name or path, in an order that a seed gives; and sources, which recipes name."""

from pushforward.data.catalogue import digits, find
from pushforward.data.data import Arrays, Data
from pushforward.data.images import Images, Mirrored
from pushforward.data.order import Order
from pushforward.data.sources import ImageSource, Source, TableSource, Takes

__all__ = [
    "Arrays",
    "Data",
    "ImageSource",
    "Images",
    "Mirrored",
    "Order",
    "Source",
    "TableSource",
    "Takes",
    "digits",
    "find",
]
