"""Tokenizers: text as integers, and back. They are plain data, so that a recipe can hold them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from pushforward.optional import require

LETTERS = " abcdefghijklmnopqrstuvwxyz"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Tokenizer(ABC):
    """Text as integers 0 … vocabulary − 1, and back."""

    vocabulary: int
    unit: str  # what a token is: "char", "byte" or "token"

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """text -> its tokens, (n,) int64. Raises ValueError for what it has no token for."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """tokens -> text."""

    def learned(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer that has learned its vocabulary from these texts; itself where there is nothing to learn."""
        return self


@dataclass(frozen=True)
class Bytes(Tokenizer):
    """The bytes of the text in UTF-8. A sequence that is not UTF-8 decodes to U+FFFD.

    >>> Bytes().decode(Bytes().encode("naïve").tolist())
    'naïve'
    """

    vocabulary: ClassVar[int] = 256  # pyright: ignore[reportIncompatibleVariableOverride]
    unit: ClassVar[str] = "byte"  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")


@dataclass(frozen=True)
class Characters(Tokenizer):
    """Characters by their place in an alphabet.

    >>> Characters("abc").encode("cab").tolist()
    [2, 0, 1]
    """

    alphabet: str
    unit: ClassVar[str] = "char"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self):
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise ValueError(f"an alphabet is of two characters or more, each once; got {self.alphabet!r}.")

    @property
    def vocabulary(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.alphabet)

    def encode(self, text: str) -> np.ndarray:
        known = np.array([*self.alphabet])
        order = known.argsort()
        given = np.array([*text], dtype=known.dtype)
        places = order[np.searchsorted(known, given, sorter=order).clip(max=len(known) - 1)]
        lost = sorted(set(given[known[places] != given].tolist()))
        if lost:
            raise ValueError(
                f"the alphabet {self.alphabet!r} has no {', '.join(map(repr, lost[:5]))}. Add them, or read bytes: "
                "Bytes()."
            )
        return places.astype(np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.alphabet[token] for token in tokens)


@dataclass(frozen=True)
class Letters(Tokenizer):
    """The letters a … z and the blank: text in the manner of text8, which does not keep the original.

    Capitals become small letters and digits words; all else becomes one blank. Mahoney 2011,
    mattmahoney.net/dc/textdata.

    >>> Letters().decode(Letters().encode("The 2 kings, and").tolist())
    'the two kings and'
    """

    vocabulary: ClassVar[int] = len(LETTERS)  # pyright: ignore[reportIncompatibleVariableOverride]
    unit: ClassVar[str] = "char"  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, text: str) -> np.ndarray:
        spelt = re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit.group())]} ", text.lower())
        return Characters(LETTERS).encode(re.sub("[^a-z]+", " ", spelt).strip())

    def decode(self, tokens: Sequence[int]) -> str:
        return Characters(LETTERS).decode(tokens)


@dataclass(frozen=True)
class BPE(Tokenizer):
    """Byte-pair encoding of bytes, by the package `tokenizers` (the extra "text"). Every text has tokens.

    It learns its merges from the training text, or has them from a file tokenizer.json of that package. `saved` is what
    it has learned, as JSON: a run keeps it. Sennrich et al. 2016, arXiv:1508.07909.
    """

    vocabulary: int
    file: str = ""  # a tokenizer.json; "": learned from the training text
    saved: str = field(default="", repr=False)
    unit: ClassVar[str] = "token"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self):
        if not self.file and self.vocabulary < 257:
            raise ValueError(f"a BPE has a token for each byte, and one more at least; got {self.vocabulary}.")

    def learned(self, texts: Iterable[str]) -> BPE:
        if self.saved:
            return self
        saved = _from_file(self.file) if self.file else _trained(texts, self.vocabulary)
        found = BPE(self.vocabulary, self.file, saved)
        if (size := found._tokenizer.get_vocab_size()) != self.vocabulary:
            raise ValueError(f"this BPE has {size} tokens; set the vocabulary of tokenizer and codec to that.")
        return found

    def encode(self, text: str) -> np.ndarray:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=False)

    @property
    def _tokenizer(self) -> Any:
        if not self.saved:
            raise ValueError("this BPE has not learned its merges: call `learned` with the training text.")
        return _loaded(self.saved)


@lru_cache(maxsize=4)
def _loaded(saved: str) -> Any:
    return require("tokenizers", "text").Tokenizer.from_str(saved)


def _from_file(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            return json.dumps(json.load(opened))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is no tokenizer.json that can be read: {error}") from None


def _trained(texts: Iterable[str], vocabulary: int) -> str:
    tokenizers: Any = require("tokenizers", "text")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    return model.to_str()
