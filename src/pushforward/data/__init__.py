"""Data sets by name or path, behind one interface; the order of training; and the data sources of recipes."""

from pushforward.data.catalogue import digits, find
from pushforward.data.data import Arrays, Data
from pushforward.data.images import Images, Mirrored
from pushforward.data.order import Order
from pushforward.data.sources import ImageSource, Source, TableSource, Takes
from pushforward.data.splits import NoSplitError

__all__ = [
    "Arrays",
    "Data",
    "ImageSource",
    "Images",
    "Mirrored",
    "NoSplitError",
    "Order",
    "Source",
    "TableSource",
    "Takes",
    "digits",
    "find",
]
