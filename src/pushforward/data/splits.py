"""The splits of a data set, "train", "test" and "validation", and the words that name them in files and folders."""

import hashlib
import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
}
REMEDY = "Give the held-out set's path, or a share of this one: --held-out PATH, or --held-out 0.1."
ONE_OF = 10  # one caption of so many is held out
KNOWN = {word: split for split, words in WORDS.items() for word in words}


class NoSplitError(ValueError):
    """A data set has no such split."""


def words_of(split: str) -> tuple[str, ...]:
    """The words for a split, the best first. Where a set has no test split, its validation split is held out.

    >>> words_of("test")
    ('test', 'testing', 'validation', 'valid', 'val', 'dev', 'eval')
    """
    split = KNOWN.get(split, split)
    return WORDS.get(split, (split,)) + (WORDS["validation"] if split == "test" else ())


def split_in(name: str) -> str:
    """The split that a file's name says, "" where it says none, or several joined by "and".

    >>> split_in("Val-00000-of-00002"), split_in("valley")
    ('validation', '')
    """
    found = {KNOWN[word] for word in re.split("[^a-z]+", name.lower()) if word in KNOWN}
    return " and ".join(sorted(found))


def chosen(split: str, names: Iterable[str]) -> str | None:
    """The first of these names of splits that serves for the split; None where none does."""
    names = set(names)
    return next((word for word in words_of(split) if word in names), None)


def check_captions(n: int, place: object, *, held_out: bool) -> None:
    """Raise ValueError where n, the number of captions at a place to learn or to hold out, is zero."""
    if not n:
        raise ValueError(f"{place} has no caption {'to hold out' if held_out else 'to learn'}: add more.")


def is_held_out(caption: str) -> bool:
    """Whether images or clips of this caption are held out: a tenth of all captions.

    >>> [is_held_out(caption) for caption in ("red heart", "dog", "soap")]
    [False, False, False]
    """
    return hashlib.sha256(caption.encode()).digest()[0] % ONE_OF == 0
