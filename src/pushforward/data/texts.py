"""Texts as windows of tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_number
from pushforward.data.data import Data, Rows, located, naming, row_numbers
from pushforward.data.delimited import read_text
from pushforward.data.folders import files_of
from pushforward.data.sources import Source, Takes
from pushforward.data.splits import REMEDY
from pushforward.data.tokenizers import Bytes, Tokenizer
from pushforward.files import data_folder
from pushforward.optional import require
from pushforward.shapes import Events

ENDINGS = (".txt", ".md", ".xz", ".gz")  # of the texts in a folder


class Windows(Data):
    """Windows of so many tokens, at every `stride`-th place of each document. No window has tokens of two documents.

    Row i is a function of i alone; training draws rows by (seed, step, row). Documents shorter than a window have none.

    >>> Windows([torch.arange(5), torch.arange(3)], 3).fetch([0, 2, 3])[0]
    tensor([[0, 1, 2],
            [2, 3, 4],
            [0, 1, 2]])
    """

    def __init__(self, documents: list[Tensor], tokens: int, *, stride: int = 1):
        if tokens < 1 or stride < 1:
            raise ValueError(f"a window has one token at least, and a stride of one; got {tokens}, {stride}.")
        documents = [as_tensor(document, "a document") for document in documents]
        counts = torch.tensor([max(0, (len(document) - tokens) // stride + 1) for document in documents])
        if not counts.sum():
            raise ValueError(
                f"no document has the {tokens} tokens of a window; the longest has "
                f"{max(map(len, documents), default=0)}. Set model.tokens lower, or data.across to join documents."
            )
        self.text, self.stride = torch.cat(documents), stride
        lengths = torch.tensor([len(document) for document in documents])
        self._ends, self._firsts = counts.cumsum(0), lengths.cumsum(0) - lengths
        self._within = torch.arange(tokens)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def fetch(self, rows: Rows) -> tuple[Events, None]:
        rows = row_numbers(rows, len(self))
        document, window = located(rows, self._ends)
        starts = self._firsts[document] + self.stride * window
        return self.text[starts[:, None] + self._within].long(), None


@dataclass(frozen=True)
class TextSource(Source[Windows]):
    """Text by name or path, as windows of tokens.

    `name` is a file, in the encodings and compressions of `data.delimited.read_text`; a folder of files `.txt`, `.md`,
    `.xz` or `.gz`, a document each; `hf:owner/set`, by the Hugging Face library `datasets`, whose rows are documents;
    or a bare name, of a file in the folder that PUSHFORWARD_DATA names, or in its folder `text`. The last `validation`
    of every document is held out, or of the documents where there are ten or more; or the text of another name or path.

    >>> TextSource("tinyshakespeare").at("other.txt").name
    'other.txt'
    """

    name: str
    tokenizer: Tokenizer = Bytes()
    validation: float | str = 0.1  # the share that is held out, or another name or path
    across: bool = False  # whether a window may go on into the next document
    column: str = "text"  # of rows of `datasets`
    place: ClassVar[str] = "name"

    def part(self, takes: Takes, *, held_out: bool) -> Windows:
        """Windows at every place of the text to learn; of the held-out text windows that do not overlap."""
        return self._windows(self.texts()[held_out], takes, stride=takes.event[0] if held_out else 1)

    def learned(self) -> Source:
        tokenizer = self.tokenizer.learned(self._to_learn())
        return self if tokenizer is self.tokenizer else replace(self, tokenizer=tokenizer)

    def texts(self) -> tuple[list[str], list[str]]:
        """The documents to learn, and those to hold out."""
        documents = read_texts(self.name, self.column)
        if isinstance(self.validation, str):
            held_out = read_texts(self.validation, self.column)
            if held_out == documents:
                raise ValueError(f"the held-out text, {self.validation}, is that which is learned. {REMEDY}")
            return documents, held_out
        check_number(self.validation, "the share of a text to hold out", above=0, below=1)
        if len(documents) >= 10:
            some = max(1, round(self.validation * len(documents)))
            return documents[:-some], documents[-some:]
        ends = [len(document) - round(self.validation * len(document)) for document in documents]
        pairs = list(zip(documents, ends, strict=True))
        return [text[:end] for text, end in pairs], [text[end:] for text, end in pairs]

    def whole(self, takes: Takes) -> Windows:
        """Windows of all of the text that do not overlap."""
        return self._windows(read_texts(self.name, self.column), takes, stride=takes.event[0])

    def _to_learn(self) -> Iterator[str]:
        yield from self.texts()[0]  # read when a tokenizer asks for it

    def _windows(self, documents: list[str], takes: Takes, *, stride: int) -> Windows:
        tokenizer = self.tokenizer
        if takes.levels != tokenizer.vocabulary:
            raise ValueError(
                f"codec.vocabulary is {takes.levels}, and the tokenizer has {tokenizer.vocabulary} tokens. Set both to "
                "one number."
            )
        read = [torch.from_numpy(tokenizer.encode(text)).to(torch.int32) for text in documents]
        return Windows([torch.cat(read)] if self.across else read, takes.event[0], stride=stride)


def read_texts(name: str, column: str = "text") -> list[str]:
    """The documents of a text by name or path. Raises FileNotFoundError, with what to do, where there is none."""
    if name.startswith("hf:"):
        return _hugging_face(name[3:], column)
    path = _found(name)
    files = files_of(path, ENDINGS) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no text: no file ends in {', '.join(ENDINGS)}.")
    return [text for text in map(_read, files) if text]


def _found(name: str) -> Path:
    """The path of a text: as it is, or in the folder of data."""
    if not name:
        raise ValueError("this run does not say what text it learned: give --data NAME or PATH.")
    if Path(name).exists():
        return Path(name)
    data = data_folder()
    for folder in (data, data / "text"):
        for end in ("", ".txt", ".txt.xz", ".txt.gz"):
            if (folder / f"{name}{end}").exists():
                return folder / f"{name}{end}"
    raise FileNotFoundError(
        f"there is no text {name}, and no {name}.txt, .txt.xz or .txt.gz in {data} or {data / 'text'}. Give the path "
        "of a text with --data.name, or set PUSHFORWARD_DATA to the folder that holds it."
    )


def _read(path: Path) -> str:
    with naming(path):
        return read_text(path)


def _hugging_face(name: str, column: str) -> list[str]:
    datasets = require("datasets", "data")
    found = datasets.load_dataset(name, split="train")
    if column not in found.column_names:
        raise ValueError(f"hf:{name} has the columns {', '.join(found.column_names)}; set data.column to one of them.")
    return [text for text in found[column] if text]
