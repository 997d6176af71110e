"""A frozen language model: a causal transformer whose weights are read from files and never trained."""

from __future__ import annotations

import copy
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.networks.language_files import LanguageModelSizes, language_files
from pushforward.networks.layers import GroupedLayer, LayerOptions, RMSNorm
from pushforward.networks.positions import Rotary, Rotation
from pushforward.networks.transformer import KeysAndValues, Recall, through
from pushforward.randomness import normal

TOGETHER = 256  # texts whose beginnings are read in one pass


class FrozenLanguageModel(nn.Module):
    """Token embeddings (B, T, W) -> states (B, T, W), whose `logits` are those of the token after each.

    A causal transformer of the Llama type: RMS norms, rotary positions, groups of query heads that share keys and
    values, gated MLPs of SiLU, no biases. It has no dropout. Touvron et al. 2023, arXiv:2302.13971; SmolLM2: Allal et
    al. 2025, arXiv:2502.02737.

    Weights are buffers: no optimiser, average or gradient sees them. Those of a model by name are not in its state
    dict: they are read again. Copies share their memory. Sizes alone give random weights, which are `saved`.

    >>> lm = FrozenLanguageModel(LanguageModelSizes(width=32, depth=2, heads=4, kv_heads=2, hidden=48, vocabulary=11))
    >>> lm.logits(lm(lm.embed(torch.tensor([[3, 1, 4]])))).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, sizes: LanguageModelSizes, *, saved: bool = True):
        super().__init__()
        options = LayerOptions(
            head=sizes.width // sizes.heads,
            key_heads=sizes.kv_heads,
            norm="rms",
            bias=False,
            gated=True,
            silu=True,
            hidden=sizes.hidden,
            rms_eps=sizes.rms_eps,
        )
        self.sizes = sizes
        self.positions = Rotary(None, base=sizes.rotary_base)
        self.embedding = nn.Embedding.from_pretrained(normal(sizes.width**-0.5, sizes.vocabulary, sizes.width))
        self.layers = nn.ModuleList(GroupedLayer(sizes.width, options) for _ in range(sizes.depth))
        self.norm = RMSNorm(sizes.width, eps=sizes.rms_eps)
        self.head = None if sizes.tied else nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        for part in self.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.data, persistent=saved)
        self.eval()

    @classmethod
    def pretrained(cls, name: str = "smollm2", dtype: torch.dtype = torch.float32) -> FrozenLanguageModel:
        """The model of this name, with weights of this dtype, on the default device: see `language_files`.

        Built on the meta device it has sizes only. Raises what `language_files` does.
        """
        place = torch.empty(0).device
        with torch.device("meta"):
            model = cls(language_files(name).sizes, saved=False)
        if place.type != "meta":
            for weight, value in _weights(name, dtype).items():
                part, _, own = weight.rpartition(".")
                setattr(model.get_submodule(part), own, value.to(place))
        return model

    def train(self, mode: bool = True) -> FrozenLanguageModel:
        """It stays in eval mode."""
        return super().train(False)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) int64 -> their embeddings (B, T, W)."""
        return self.embedding(tokens)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings (B, T, W) -> states after the last norm (B, T, W), each from its position and those before it.

        `mask` (B, T) is True at real positions. Others are not attended to and have no place: a row's states are those
        of its real positions alone. Raises ValueError where T is above the context of the model.
        """
        return self._states(embeddings, mask)

    @torch.no_grad()
    def states_of_texts(self, tokens: Tensor) -> Tensor:
        """Texts (n, T) int64, negative after a text's last token -> states (n, T, W), those after it of no meaning.

        A beginning that several texts share is read once. The states are those of `forward`, but for rounding.
        """
        texts, row = tokens.unique(dim=0, return_inverse=True)  # sorted: texts of one beginning lie together
        parts = [self._states_of_beginnings(part) for part in texts.to(self.embedding.weight.device).split(TOGETHER)]
        return torch.cat(parts)[row.to(parts[0].device)]

    def logits(self, states: Tensor) -> Tensor:
        """States (…, W) -> logits (…, vocabulary) of the token after each."""
        return F.linear(states, self.embedding.weight) if self.head is None else self.head(states)

    def start(self, rows: int, length: int | None = None) -> LanguageDecoder:
        """A decoder of so many sequences, with memory for `length` positions; more is allocated when needed."""
        return LanguageDecoder(self, rows, length)

    def _states(
        self, h: Tensor, mask: Tensor | None = None, start: int = 0, recalls: list[Recall] | None = None
    ) -> Tensor:
        """States of the positions from `start` on; `mask` is that of all positions."""
        stop = start + h.shape[1]
        if stop > self.sizes.context:
            raise ValueError(f"this language model reads {self.sizes.context} positions at most; got {stop}.")
        h, head, attends = h.to(self.embedding.weight.dtype), self.sizes.width // self.sizes.heads, None
        if mask is None:
            rotation = self.positions.rotation(start, stop, head, h.device)
        else:
            order, places = torch.arange(stop, device=h.device), (mask.long().cumsum(1) - 1).clamp(min=0)[:, start:]
            before, itself = order <= order[start:, None], order == order[start:, None]
            attends = (mask[:, None, None] & before) | itself  # a position that is not real attends to itself
            turns = self.positions.rotation(0, stop, head, h.device)
            rotation = Rotation(turns.cos[places][:, None], turns.sin[places][:, None])
        return self.norm(through(self.layers, h, None, rotation, recalls, attends))

    def _states_of_beginnings(self, tokens: Tensor) -> Tensor:
        """`states_of_texts`, by a row of one position for each distinct beginning, which attends to its beginnings."""
        (rows, length), found, total = tokens.shape, [], 0
        for stop in range(1, length + 1):
            number = tokens[:, :stop].unique(dim=0, return_inverse=True)[1]
            found.append(number + total)
            total += int(number.max()) + 1
        whole = torch.stack(found, 1).gather(1, ((tokens >= 0).sum(1, keepdim=True) - 1).clamp(min=0))
        number = torch.where(tokens < 0, whole, torch.stack(found, 1))  # of the beginning that ends at each position
        beginning = number.unique(return_inverse=True)[1]
        example = beginning.new_zeros(int(beginning.max()) + 1).scatter_reduce_(  # a position where each one ends
            0, beginning.flatten(), torch.arange(rows * length, device=tokens.device), "amin", include_self=False
        )
        place, before = example % length, beginning[example // length]
        turns = self.positions.rotation(0, length, self.sizes.width // self.sizes.heads, tokens.device)
        rotation = Rotation(*(part[place][:, None, None] for part in turns))
        attends = (torch.arange(length, device=tokens.device) <= place[:, None])[:, None, None]

        def recall(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            keys, values = (t[:, :, 0][before].transpose(1, 2) for t in (keys, values))
            return keys, values

        h = self.embed(tokens.flatten()[example].clamp(min=0))[:, None]
        h = through(self.layers, h, None, rotation, [recall] * len(self.layers), attends)
        return self.norm(h)[beginning, 0]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenLanguageModel:
        memo.update({id(weight): weight for weight in self.buffers()})  # never changed in place
        twin = type(self).__new__(type(self))
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    def extra_repr(self) -> str:
        return f"{self.sizes.width} × {self.sizes.depth}, {self.sizes.vocabulary} tokens"


class LanguageDecoder:
    """Reads a sequence of embeddings part by part, each once: it keeps each layer's keys and values."""

    length: int  # how many positions it has read

    def __init__(self, model: FrozenLanguageModel, rows: int, room: int | None):
        self._model, self._rows, self.length = model, rows, 0
        self._memory = KeysAndValues(len(model.layers), room)
        self._mask: Tensor | None = None

    def read(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """n ≥ 1 more embeddings (B, n, W) -> their states (B, n, W). `mask` (B, n) is True at real positions."""
        if mask is not None or self._mask is not None:
            ones = partial(torch.ones, dtype=torch.bool, device=embeddings.device)
            seen = ones(self._rows, self.length) if self._mask is None else self._mask[:, : self.length]
            self._mask = torch.cat([seen, ones(embeddings.shape[:2]) if mask is None else mask], 1)
        states = self._model._states(embeddings, self._mask, self.length, self._memory.recalls(self.length))
        self.length += embeddings.shape[1]
        return states

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` positions."""
        assert 0 <= length <= self.length, f"cannot truncate {self.length} positions to {length}"
        self.length = length


@lru_cache(maxsize=1)
def _weights(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of a model, which models of one process share."""
    return language_files(name).weights(dtype)
