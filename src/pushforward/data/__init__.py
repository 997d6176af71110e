"""Data sets by name or path, behind one interface; the order of training; and the data sources of recipes."""

from pushforward.data.captions import Captioned
from pushforward.data.catalogue import digits, find
from pushforward.data.columns import Table, read_table, write_table
from pushforward.data.data import Arrays, Data
from pushforward.data.images import Images, Mirrored, Shifted
from pushforward.data.order import Order
from pushforward.data.prepared import prepared
from pushforward.data.sources import ImageSource, Source, TableSource, Takes
from pushforward.data.splits import NoSplitError
from pushforward.data.text import TextEncoder
from pushforward.data.texts import TextSource, Windows
from pushforward.data.tokenizers import BPE, Bytes, Characters, Letters, Tokenizer
from pushforward.data.torch_datasets import FromTorch

__all__ = [
    "BPE",
    "Arrays",
    "Bytes",
    "Captioned",
    "Characters",
    "Data",
    "FromTorch",
    "ImageSource",
    "Images",
    "Letters",
    "Mirrored",
    "NoSplitError",
    "Order",
    "Shifted",
    "Source",
    "Table",
    "TableSource",
    "Takes",
    "TextEncoder",
    "TextSource",
    "Tokenizer",
    "Windows",
    "digits",
    "find",
    "read_table",
    "write_table",
    "prepared",
]
