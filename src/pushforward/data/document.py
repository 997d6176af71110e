"""Documents: texts and images in any order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.data.data import Data, Rows, digest, row_numbers
from pushforward.data.tokenizers import Tokenizer
from pushforward.networks.interleaved import IMAGE, padded

DocumentPart = Tensor | np.ndarray | Sequence[int] | str


class Document:
    """Texts and images in any order.

    A part is a text, its tokens (n,) as integers from 0, or a string where there is a `tokenizer`; or an image
    (C, H, W). The parts whose numbers are in `given` are conditions of the others: they are read, and neither learned
    nor scored. Tokens are taken as they are: one that begins or ends a text is among those of the part. Raises
    ValueError where there are no parts, or one is of another kind.

    >>> Document([[3, 1, 4], torch.zeros(3, 8, 8), [1, 5]], given=[0])
    Document(text of 3 tokens, given; image 3 × 8 × 8; text of 2 tokens)
    """

    def __init__(
        self, parts: Iterable[DocumentPart], *, given: Collection[int] = (), tokenizer: Tokenizer | None = None
    ):
        self.parts = tuple(_part(part, i, tokenizer) for i, part in enumerate(parts))
        self.given = frozenset(given)
        if not self.parts:
            raise ValueError("a document has at least one part: a text (its tokens) or an image (C, H, W).")
        if wrong := self.given - set(range(len(self.parts))):
            raise ValueError(f"this document has the parts 0 … {len(self.parts) - 1}; got given={sorted(wrong)}.")

    @property
    def texts(self) -> list[Tensor]:
        """The tokens of its texts, in order."""
        return [part for part in self.parts if part.dim() == 1]

    @property
    def images(self) -> list[Tensor]:
        """Its images, in order."""
        return [part for part in self.parts if part.dim() == 3]

    def followed_by(self, part: DocumentPart) -> Document:
        """The document with one more part."""
        return Document([*self.parts, part], given=self.given)

    @property
    def tokens(self) -> Tensor:
        """A slot for each token and each image, (T,) int64: the token, or `networks.interleaved.IMAGE`."""
        return torch.cat([part if part.dim() == 1 else torch.tensor([IMAGE], device="cpu") for part in self.parts])

    @property
    def is_given(self) -> Tensor:
        """Whether each slot is given, (T,) bool."""
        sizes = [len(part) if part.dim() == 1 else 1 for part in self.parts]
        return torch.tensor([i in self.given for i, size in enumerate(sizes) for _ in range(size)], device="cpu")

    def __repr__(self) -> str:
        return f"Document({'; '.join(map(self._described, range(len(self.parts))))})"

    def _described(self, i: int) -> str:
        shape = self.parts[i].shape
        words = f"text of {len(self.parts[i])} tokens" if len(shape) == 1 else f"image {' × '.join(map(str, shape))}"
        return f"{words}, given" if i in self.given else words


class Documents(Data):
    """Documents in memory, whose images are of one shape and dtype.

    `images` (n, images, C, H, W), `tokens` (n, T) and `given` (n, T) are those of all, as in a `Document`: shorter
    documents have zeros, `networks.interleaved.PADDING` and True at their end. A batch is the images and a dict of
    "tokens" and "given", and of "states" where there are some.

    >>> Documents([Document([[3, 1]]), Document([torch.zeros(3, 8, 8), [4]])]).tokens
    tensor([[ 3,  1],
            [-1,  4]])
    """

    def __init__(self, documents: Sequence[Document]):
        if not documents:
            raise ValueError("there are no documents.")
        self.documents = tuple(documents)
        self._states: tuple[Tensor, Tensor] | None = None
        images = [document.images for document in documents]
        found = {(*image.shape, image.dtype) for row in images for image in row}
        if len(found) > 1:
            raise ValueError(f"the images of documents have one shape and dtype; got {sorted(map(str, found))}.")
        shape, like = next(
            ((image.shape, image) for row in images for image in row), ((1, 1, 1), torch.zeros((), device="cpu"))
        )
        self.images = like.new_zeros(len(documents), max(map(len, images)), *shape)
        for i, row in enumerate(images):
            for j, image in enumerate(row):
                self.images[i, j] = image
        self.tokens = padded([document.tokens for document in documents])
        self.given = torch.ones(self.tokens.shape, dtype=torch.bool, device="cpu")
        for i, document in enumerate(documents):
            self.given[i, : len(document.tokens)] = document.is_given

    def __len__(self) -> int:
        return len(self.documents)

    def with_states(self, states: Tensor, number: Tensor) -> Documents:
        """The same documents, with states (m, T, W) that a language model has at the tokens of all texts of a document,
        one after another: those of row number[i] for document i.
        """
        found = copy(self)
        found._states = states, number
        return found

    def fetch(self, rows: Rows) -> tuple[Tensor, Any]:
        rows = row_numbers(rows, len(self))
        context = {"tokens": self.tokens[rows], "given": self.given[rows]}
        if self._states is not None:
            states, number = self._states
            context["states"] = states[number[rows]]
        return self.images[rows], context

    def fingerprint(self) -> str:
        return digest([self.images, self.tokens, self.given])


def _part(given: DocumentPart, number: int, tokenizer: Tokenizer | None) -> Tensor:
    """A part of a document as a tensor. Raises ValueError where it is neither a text nor an image."""
    if isinstance(given, str):
        if tokenizer is None:
            raise ValueError(f"part {number} is a string: give tokenizer=, which makes tokens of it.")
        given = tokenizer.encode(given)
    try:
        part = as_tensor(given, f"part {number}")
    except ValueError:
        part = torch.zeros((), device="cpu")
    integers = not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
    if part.dim() == 1 and len(part) and integers and part.min() >= 0:
        return part.long().cpu()
    if part.dim() == 3 and part.numel() and not part.is_complex():
        return part
    got = f"{part.dtype} of shape {tuple(part.shape)}" if part.dim() else f"a {type(given).__name__}"
    raise ValueError(
        f"part {number} of a document is a text, at least one token as integers from 0 (n,), or an image (C, H, W); "
        f"got {got}."
    )
