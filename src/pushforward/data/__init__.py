"""Data: from a source to the batches of a training.

    Source    where the data are, as plain data in a recipe; `part` reads those to learn, or those held out
    Data      events by row, each with its context: `fetch(rows)`
    Order     which rows a batch has: a function of (seed, position)

    batch b = data.fetch(order[b · B : (b + 1) · B])

    data of                 source                     data                        files are read by
    tables                  TableSource                Arrays                      tables, delimited, cells
    images                  ImageSource, Attributed    Images                      catalogue, npz, folders, tars, arrow
    images with captions    Captioned                  Arrays, ImagesWithText      captions, captioned_tars
    clips                   ClipSource, Sprites        Clips, SpriteClips          videos, recordings
    text                    TextSource                 Windows                     texts, tokenizers
    documents               CaptionDocuments           Documents                   caption_documents, captions

Images and frames in files are decoded when they are fetched (`encoded.LazyImages`). `prepared` keeps what frozen
networks compute of data. Data of your own are `Arrays`, `Images`, `Clips`, `Documents` or `FromTorch`.
"""

from pushforward.data.attributes import Attributed
from pushforward.data.caption_documents import CaptionDocuments, CaptionedImages, Pairs, SpriteFrames
from pushforward.data.captions import Captioned
from pushforward.data.catalogue import digits, find
from pushforward.data.clips import Clips, ClipSource, SourceOfClips
from pushforward.data.data import Arrays, Data
from pushforward.data.document import Document, Documents
from pushforward.data.images import Augmented, Cropped, Images, Mirrored, Shifted
from pushforward.data.language_tokenizer import LanguageTokenizer
from pushforward.data.order import Order
from pushforward.data.prepared import prepared
from pushforward.data.sources import ImageSource, Source, TableSource, Takes
from pushforward.data.splits import NoSplitError
from pushforward.data.sprites import Sprites
from pushforward.data.tables import Table, read_table, write_table
from pushforward.data.text_encoders import PhraseEncoder, TextEncoder
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
