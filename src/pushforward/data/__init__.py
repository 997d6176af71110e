"""Data sets by name or path, behind one interface; the order of training; and the data sources of recipes."""

from pushforward.data.attributes import Attributed
from pushforward.data.captions import Captioned
from pushforward.data.catalogue import digits, find
from pushforward.data.clips import Clips, ClipSource, SourceOfClips
from pushforward.data.columns import Table, read_table, write_table
from pushforward.data.data import Arrays, Data
from pushforward.data.document import Document, Documents
from pushforward.data.images import Augmented, Cropped, Images, Mirrored, Shifted
from pushforward.data.language_tokenizer import LanguageTokenizer
from pushforward.data.order import Order
from pushforward.data.pairs import CaptionDocuments, CaptionedImages, Pairs, SpriteFrames
from pushforward.data.prepared import prepared
from pushforward.data.sources import ImageSource, Source, TableSource, Takes
from pushforward.data.splits import NoSplitError
from pushforward.data.sprites import Sprites
from pushforward.data.text import PhraseEncoder, TextEncoder
from pushforward.data.texts import TextSource, Windows
from pushforward.data.tokenizers import BPE, Bytes, Characters, Letters, Tokenizer
from pushforward.data.torch_datasets import FromTorch
from pushforward.data.videos import read_videos, write_video

__all__ = [
    "BPE",
    "Arrays",
    "Attributed",
    "Bytes",
    "CaptionDocuments",
    "Captioned",
    "CaptionedImages",
    "Characters",
    "ClipSource",
    "Clips",
    "Data",
    "Document",
    "Documents",
    "FromTorch",
    "ImageSource",
    "Images",
    "LanguageTokenizer",
    "Letters",
    "Mirrored",
    "NoSplitError",
    "Order",
    "Pairs",
    "PhraseEncoder",
    "Shifted",
    "Augmented",
    "Cropped",
    "Source",
    "SourceOfClips",
    "SpriteFrames",
    "Sprites",
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
    "read_videos",
    "write_table",
    "write_video",
    "prepared",
]
