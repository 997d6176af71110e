"""Two causal transformers over texts and images in one sequence: a frozen language model, and a stream that is learned.

    position          a token y of a text            a patch u of an image
    language model    reads y                        reads W_l · u, or nothing
    learned stream    reads its state, projected     reads u, projected, + W_i · the language state
    answers           logits of the next token       raw parameters of the next patch
                      by the language head, of       of the learned state
                      its state, and after an
                      image + W_t · the
                      learned state

A text before the first image has the probabilities of the language model, to the bit, whatever is learned. The
published model adds W_t · h at all tokens. All three W, the adapters, are zero at the start: then texts are the
language model's, and images those of a flow that sees texts in its attention alone. STARFlow2, arXiv:2605.08029. How
the published model encodes what its language model reads of an image is not known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.conditions import Context, find
from pushforward.initialization import zeroed
from pushforward.networks.decoder import Decoder
from pushforward.networks.interleaved import IMAGE, PADDING, Interleaved, along, interleave
from pushforward.networks.language_model import FrozenLanguageModel
from pushforward.networks.layers import GroupedTransformer, LayerOptions
from pushforward.networks.positions import Rotation, ScaledRotary
from pushforward.networks.transformer import KeysAndValues, reads_token_by_token, through
from pushforward.plain import computes_in
from pushforward.shapes import Tokens


class LanguageStream(nn.Module):
    """The states of a frozen language model at all positions of documents.

    With `sees` it reads images too: a linear map of each patch, zero at the start, takes the place of a token's
    embedding. Without, it reads texts alone, at a cost that does not grow with images, and its state within an image is
    that of the last token before it, or zero.
    """

    def __init__(self, model: FrozenLanguageModel, features: int, *, sees: bool):
        super().__init__()
        self.model, self.width = model, model.sizes.width
        self.see = zeroed(nn.Linear(features, self.width, bias=False)) if sees else None

    def seen(self, latents: Tensor) -> Tensor:
        """What the model reads at patches (B, n, D), in place of embeddings, (B, n, width)."""
        assert self.see is not None
        return self.see(latents.to(computes_in(self.see)))

    def forward(self, tokens: Tensor, at: Interleaved, latents: Tensor, of_texts: Tensor | None = None) -> Tensor:
        """Slots (B, T), what positions read, and the patches among that (B, S, D) -> states (B, S, width).

        `of_texts` are the states of `texts_alone`, (B, T, width), where they are known and the model reads no images.
        Positions beyond the context of the model are padding: a longer document is refused before.
        """
        context = self.model.sizes.context
        if self.see is not None:
            read = torch.where(at.image[..., None], self.seen(latents), self.model.embed(at.token))
            return F.pad(self.model(read[:, :context]), (0, 0, 0, max(read.shape[1] - context, 0)))
        states = of_texts
        if states is None:
            states = self.model(self.model.embed(texts_alone(tokens)[:, :context].clamp(min=0)))
        return along(torch.cat([states.new_zeros(states.shape[0], 1, self.width), states], 1), at.text.cumsum(1))


class TwoStreams(GroupedTransformer):
    """Raw parameters of an image's patches, and logits of a text's tokens, from all that comes before in a document.

    As a `CausalNetwork` it reads the patches of one image, (B, N, D) -> (B, N, *raw), after a text, the condition
    "text", tokens with a mask. `states` reads whole documents, and `start_reading` documents part by part.
    `positions` are those of an image's patches, with a third axis for the place in the document. At the start raw
    parameters are zero.

    >>> from pushforward.networks import LanguageModelSizes
    >>> sizes = LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16, vocabulary=11)
    >>> language = LanguageStream(FrozenLanguageModel(sizes), 3, sees=False)
    >>> positions = ScaledRotary((4, 4), frames=None)
    >>> net = TwoStreams(3, (3, 2), language=language, positions=positions, width=64, depth=2)
    >>> tokens = torch.tensor([[5, 1, IMAGE, 2]])
    >>> language_states, states = net.states(tokens, torch.zeros(1, 1, 16, 3))
    >>> net.answers(states).shape, net.logits(language_states, states).shape
    (torch.Size([1, 20, 3, 2]), torch.Size([1, 20, 11]))
    """

    positions: ScaledRotary  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        features: int,
        raw: tuple[int, ...],
        *,
        language: LanguageStream,
        positions: ScaledRotary,
        width: int,
        depth: int,
        options: LayerOptions | None = None,
    ):
        if positions.frames == 1 and not positions.prefix:
            raise ValueError("documents need positions with a third axis: ScaledRotary(grid, frames=None).")
        super().__init__(features, raw, positions, width, depth, options or LayerOptions())
        self.language = language
        self.tokens = self.patches = math.prod(positions.grid)  # of an image
        self.hear = nn.Linear(language.width, width)
        self.to_image = zeroed(nn.Linear(language.width, width, bias=False))
        self.to_text = zeroed(nn.Linear(width, language.width, bias=False))

    @property
    def adapters(self) -> list[nn.Module]:
        """The linear maps between the streams, which are zero at the start."""
        return [part for part in (self.to_image, self.to_text, self.language.see) if part is not None]

    def forward(self, x: Tokens, context: Context | None = None) -> Tensor:
        text = self.text_of(x.shape[0], context)
        latents = F.pad(x, (0, 0, 0, self.patches - x.shape[1]))[:, None]
        states = self.states(F.pad(text, (0, 1), value=IMAGE), latents)[1]
        return self.answers(along(states, self.of_patches((text >= 0).sum(1))))[:, : x.shape[1]]

    def of_patches(self, start: Tensor) -> Tensor:
        """The first positions of images (…) -> the positions that predict their patches, (…, N)."""
        return start[..., None] + torch.arange(self.patches, device=start.device)

    def states(self, tokens: Tensor, latents: Tensor, of_texts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Documents (B, T) and the patches of their images (B, images, N, D) -> the states of the language model
        (B, S, language.width) and of the learned stream (B, S, W), at the positions of `interleave`.

        Those of the learned stream are zero before the first image. `of_texts` is that of `LanguageStream`.
        """
        at = interleave(tokens, self.patches, latents.shape[1])
        table = torch.cat([self.first.expand(tokens.shape[0], 1, -1).to(latents), latents.flatten(1, 2)], 1)
        read = along(table, at.read)
        language = self.language(tokens, at, read, of_texts)
        h = torch.where(at.image[..., None], self.of_image(read, language), self.of_text(language))
        states = self.norm(through(self.layers, h, rotation=self.rotation(at)))
        return language, torch.where(at.image.cumsum(1)[..., None] > 0, states, 0)

    def logits(self, language: Tensor, states: Tensor) -> Tensor:
        """States of both streams, (…, language.width) and (…, W) -> logits of the token after each."""
        return self.language.model.logits(language + self.to_text(states).to(language.dtype))

    def of_text(self, language: Tensor) -> Tensor:
        """What the learned stream reads at a token, (…, W)."""
        return self.hear(language.to(computes_in(self.hear)))

    def of_image(self, latents: Tensor, language: Tensor) -> Tensor:
        """What the learned stream reads at a patch, (…, W)."""
        return self.embedded(latents) + self.to_image(language.to(computes_in(self.to_image)))

    def rotation(self, at: Interleaved) -> Rotation:
        """An image lies on its grid at its place in the document; after its last patch the document goes on."""
        (height, width), ended = self.positions.grid, at.patch == self.patches
        unit, patch = self.positions.extent / math.sqrt(height * width), at.patch.masked_fill(ended, 0).double()
        places = torch.stack([patch // width * unit, patch % width * unit, (at.place + ended).double()], -1)
        rotation = self.positions.rotation_at(places, self.head)
        return Rotation(rotation.cos[:, None], rotation.sin[:, None])

    def start(self, rows: int, context: Context | None = None) -> Decoder:
        if not reads_token_by_token(self, TwoStreams):
            return self.whole(rows, context)
        reading = self.start_reading(rows)
        reading.read_text(self.text_of(rows, context), padded=True)
        return PatchDecoder(reading)

    def start_reading(self, rows: int) -> Reading:
        """A reading of so many documents, before their first position."""
        return Reading(self, rows)

    def text_of(self, rows: int, context: Context | None) -> Tensor:
        """The tokens of the condition, (B, T); padding where there is none, and where it is null."""
        text = find(context, "text")
        assert text.mask is not None
        return torch.where(text.mask & ~text.null[:, None], text.value, PADDING).expand(rows, -1)


class Reading:
    """What a `TwoStreams` has read of documents; it reads more of them, each position once, to the states of `states`.

    All rows have a text or an image at a time; texts may be padded, the first one of a reading.
    """

    length: int  # positions read, padding included
    last: tuple[Tensor, Tensor]  # the states of both streams at the last of them, (B, 1, …)

    def __init__(self, net: TwoStreams, rows: int):
        self.net, self.rows, self.length = net, rows, 0
        self._decoder = net.language.model.start(rows)
        self._memory = KeysAndValues(len(net.layers))
        like = net.first
        self._real = torch.zeros(rows, 0, dtype=torch.bool, device=like.device)
        self._place = torch.zeros(rows, dtype=torch.long, device=like.device)
        self._shown = False  # whether an image was read
        self.last = like.new_zeros(rows, 1, net.language.width), like.new_zeros(rows, 1, net.norm.weight.shape[0])

    def read_text(self, tokens: Tensor, *, padded: bool = False) -> Tensor:
        """n more tokens (B, n) -> states of the learned stream, (B, n, W). `padded`: PADDING may be among them."""
        at = interleave(tokens, self.net.patches, 0, self._place)
        embedded = self.net.language.model.embed(at.token)
        language = self._decoder.read(embedded, at.text if padded else None)
        if padded:  # the state of the last token before
            last = torch.where(at.text, torch.arange(1, 1 + tokens.shape[1], device=tokens.device), 0).cummax(1).values
            language = along(torch.cat([self.last[0].to(language), language], 1), last)
        self._place = self._place + at.text.sum(1)
        return self._stream(self.net.of_text(language), at, language)

    def read_image(self, latents: Tensor, start: int) -> Tensor:
        """n more positions of an image, `start` ≥ 0 the first of them -> states of the learned stream, (B, n, W).

        Position 0 reads the learned first token, others patches: `latents` (B, n, D).
        """
        self._shown = True
        stop, image = start + latents.shape[1], torch.full((self.rows, 1), IMAGE, device=latents.device)
        at = interleave(image, self.net.patches, 1, self._place).part(start, stop)
        if self.net.language.see is None:
            language = self.last[0].expand(-1, latents.shape[1], -1)
        else:
            language = self._decoder.read(self.net.language.seen(latents))
        if stop > self.net.patches:
            self._place = self._place + 2
        return self._stream(self.net.of_image(latents, language), at, language)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` positions, within an image."""
        if self.net.language.see is not None:
            self._decoder.truncate(self._decoder.length - (self.length - length))
        self.length, self._real = length, self._real[:, :length]

    def _stream(self, h: Tensor, at: Interleaved, language: Tensor) -> Tensor:
        recalls = self._memory.recalls(self.length)
        self._real = torch.cat([self._real, at.real], 1)
        key = torch.arange(self._real.shape[1], device=h.device)
        query = key[self.length :, None]
        mask = self._real[:, None, None] & (key <= query) | (key == query)  # padding attends to itself
        self.length += h.shape[1]
        states = self.net.norm(through(self.net.layers, h, None, self.net.rotation(at), recalls, mask))
        if not self._shown:
            states = torch.zeros_like(states)
        self.last = language[:, -1:], states[:, -1:]
        return states


class PatchDecoder(Decoder):
    """Decodes the patches of an image after what a reading has read, and reads them by it."""

    kind = "tensors"

    def __init__(self, reading: Reading):
        self._reading, self._net, self._begun = reading, reading.net, reading.length
        first = self._net.first.expand(reading.rows, 1, -1)
        super().__init__(self._net.answers(reading.read_image(first, 0)), self._net.patches)

    def _read(self, x: Tensor) -> Tensor:
        return self._net.answers(self._reading.read_image(x, 1 + self.length))

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._reading.truncate(self._begun + 1 + length)


def texts_alone(tokens: Tensor) -> Tensor:
    """Slots (B, T) -> the tokens of the texts of each row, one after another, negative after the last, (B, T)."""
    return tokens.gather(1, (tokens < 0).int().argsort(dim=1, stable=True))
