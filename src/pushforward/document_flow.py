"""A flow of images in documents, beside a language model of their texts: one density of both.

log p(document) = sum over images of log p(image | all before) + sum over tokens of log P(token | all before)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.conditions import TokenIds, expand
from pushforward.data import Document, Documents
from pushforward.data.prepared import SHARD, computed_once
from pushforward.flow import Flow
from pushforward.networks import Decoder, Guided, Resumed, TwoStreams
from pushforward.networks.guided import Paired
from pushforward.networks.interleaved import IMAGE, along, positions_taken, starts
from pushforward.networks.two_streams import PatchDecoder, Reading, texts_alone
from pushforward.randomness import Source, draw, drawing
from pushforward.recording import readable
from pushforward.shapes import PerSample, at_least_float32, sum_event
from pushforward.transform import Chain, Solver, Transform, solved_by
from pushforward.transforms import Autoregressive

STATES = 2**31  # bytes of states of texts that are kept at most


class DocumentLogProb(NamedTuple):
    """Log-probabilities of documents in nats, (n,) each, that of what is given left out."""

    images: PerSample  # log-densities of images
    text: PerSample  # log-probabilities of tokens


class DocumentFlow(Flow):
    """A flow of images given a text, which is also a density of documents, texts and images in any order.

    As a `Flow` it is p(image | text), of the condition "text" (`TokenIds`). Texts are discrete, so a document is no
    event of a flow: `document_log_prob` reports the densities of images and the probabilities of tokens apart, each
    given all that comes before. `draw_image` and `write_text` go on with documents: called in turn they interleave
    texts and images. Images are events, as they are for `log_prob`. The transform is a chain of steps that see one
    image, a step of `networks.TwoStreams`, and one that rearranges.

    The first token of a document is not scored: no text comes before it, from which a language model could tell it.

    >>> sizes = pf.networks.LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16, vocabulary=11)
    >>> flow = pf.models.STARFlow2(image=(3, 4, 4), width=64, depths=(1, 2), text=8, language=sizes).build()
    >>> documents = flow.draw_image([pf.data.Document([[5, 1, 4]]), pf.data.Document([[5, 2]])])
    >>> documents
    [Document(text of 3 tokens; image 3 × 4 × 4), Document(text of 2 tokens; image 3 × 4 × 4)]
    >>> flow.document_log_prob(documents).images.shape
    torch.Size([2])
    """

    def document_log_prob(self, documents: Documents | Sequence[Document]) -> DocumentLogProb:
        """Log-probabilities of documents in nats, given their given parts. Raises ValueError where they do not fit."""
        read = self.read(documents)
        return DocumentLogProb(read.image_log_prob().sum(1), read.text_log_prob().sum(1))

    def with_states(self, documents: Documents, cache: Path) -> Documents:
        """The documents with the states that the language model has of their texts, computed once, for training.

        As they are where it reads images too, or where the states would take more than `STATES` bytes.
        """
        language = self.net.language
        texts, number = texts_alone(documents.tokens).unique(dim=0, return_inverse=True)
        size = texts.numel() * language.width * language.model.embedding.weight.itemsize
        if language.see is not None or size > STATES:
            return documents
        states = computed_once(texts.split(SHARD), language.model.states_of_texts, (language.model,), cache)
        return documents.with_states(states, number)

    def read(self, documents: Documents | Sequence[Document]) -> ReadDocuments:
        """Documents as the flow reads them: what scores them, part by part."""
        if not isinstance(documents, Documents):
            documents = Documents(documents)
        self._check(documents)
        images, tokens, given = (t.to(self.device) for t in (documents.images, documents.tokens, documents.given))
        return ReadDocuments(self, images, tokens, given)

    @drawing
    @torch.no_grad()
    def draw_image(
        self,
        documents: Sequence[Document],
        *,
        temperature: float = 1.0,
        generator: Source = None,
        solve: Solver | None = None,
    ) -> list[Document]:
        """Each document with an image drawn after its parts. A guided flow is guided away from the document without
        its texts. `temperature` multiplies the base's noise; `solve` is that of `decode`."""
        more = self.net.patches + 1 if self.net.language.see is not None else 0
        alike, (shallow, deep, last), drawn = self._alike(documents, more), self.steps(solve), [*documents]
        z = self.base.sample(len(documents), {}, temperature=temperature, generator=generator)
        for rows in alike:
            decoder = self._decoder([documents[row] for row in rows])
            net = Resumed(deep.net, decoder, decoder.answer)
            x = Autoregressive(net, deep.move, solve=deep.solve).decode(last.decode(z[rows]))
            for step in reversed(shallow):
                x = step.decode(x)
            for row, image in zip(rows, x, strict=True):
                drawn[row] = documents[row].followed_by(image)
        return drawn

    @drawing
    @torch.no_grad()
    def write_text(
        self,
        documents: Sequence[Document],
        *,
        end: int,
        most: int = 64,
        temperature: float = 1.0,
        generator: Source = None,
    ) -> list[Document]:
        """Each document with a text drawn after its parts, up to the token `end` with it, of `most` tokens at most.

        `temperature` divides logits; at 0 each token is the most probable. Raises ValueError for a document without a
        text: there is no token for the language model to go on from; and where it cannot read so many tokens more.
        """
        check_number(most, "most", least=1)
        check_number(temperature, "temperature", least=0)
        if not all(document.texts for document in documents):
            raise ValueError(
                "a language model goes on from a token: give the document a text before, such as the token that begins "
                "one, Document([image, [begin]])."
            )
        alike, written, u = self._alike(documents, most - 1), [*documents], None
        if temperature:
            like = torch.empty((), dtype=torch.float64, device=self.device)
            u = draw(torch.rand, (len(documents), most), like, generator)
        for rows in alike:
            reading, tokens = self._reading([documents[row] for row in rows]), []
            while len(tokens) < most and not (tokens and (torch.cat(tokens, 1) == end).any(1).all()):
                if tokens:
                    reading.read_text(tokens[-1])
                at = None if u is None else u[rows, len(tokens), None]
                tokens.append(_drawn(self.net.logits(*reading.last), temperature, at))
            for row, text in zip(rows, torch.cat(tokens, 1).cpu(), strict=True):
                ended = (text == end).cumsum(0) - (text == end).long() > 0
                written[row] = documents[row].followed_by(text[~ended])
        return written

    @property
    def net(self) -> TwoStreams:
        """The network that reads documents."""
        net = self.steps()[1].net
        net = net.net if isinstance(net, Guided) else net
        assert isinstance(net, TwoStreams)
        return net

    def steps(self, solve: Solver | None = None) -> tuple[list[Transform], Autoregressive, Transform]:
        """The steps that see one image, that of `networks.TwoStreams`, and the last, which rearranges."""
        transform = solved_by(self.transform, solve)
        if not isinstance(transform, Chain):
            raise ValueError(
                f"documents are read step by step, and this flow is a {type(transform).__name__}: train with "
                "recomputed=True in place of reversible=True."
            )
        *shallow, deep, last = transform
        assert isinstance(deep, Autoregressive)
        return shallow, deep, last

    def check_tokens(self, tokens: Tensor, more: int = 0) -> None:
        """Raise ValueError where the language model cannot read these documents (n, T), as in `data.Documents`, and so
        many more positions."""
        kind, context = self.conditions["text"], self.net.language.model.sizes.context
        assert isinstance(kind, TokenIds)
        if (most := int(tokens.max())) >= kind.vocabulary:
            raise ValueError(f"this flow reads tokens 0 … {kind.vocabulary - 1}; got {most}.")
        sees = self.net.language.see is not None
        taken = positions_taken(tokens, self.net.patches) if sees else tokens >= 0
        if (longest := int(taken.sum(1).max())) + more > context:
            drawn = f", without up to {more} that are to be drawn" if more else ""
            raise ValueError(
                f"the language model reads {context} positions at most, and a document has {longest}{drawn}. Shorten "
                f"its texts{', or lower most' if more else ''}."
            )

    def _decoder(self, documents: list[Document]) -> Decoder:
        """The decoder of an image after documents of one layout, guided where the flow is."""
        decoder, guided = PatchDecoder(self._reading(documents)), self.steps()[1].net
        if not isinstance(guided, Guided):
            return decoder
        null = self.net.start_reading(len(documents))
        if isinstance(guided.conditions, Mapping):
            null.read_text(self.net.text_of(len(documents), expand(guided.conditions, (len(documents),))), padded=True)
        self._read_parts(null, documents, texts=False)
        return guided.guided(Paired(decoder, PatchDecoder(null)))

    def _reading(self, documents: list[Document]) -> Reading:
        """What the network has read when it has read these documents, of one layout."""
        reading = self.net.start_reading(len(documents))
        self._read_parts(reading, documents)
        return reading

    def _read_parts(self, reading: Reading, documents: list[Document], *, texts: bool = True) -> None:
        """Read all parts of documents of one layout, or their images alone."""
        for parts in zip(*(document.parts for document in documents), strict=True):
            together = torch.stack([part.to(self.device) for part in parts])
            if together.dim() > 2:
                for step in self.steps()[0]:
                    together = step.encode(together)
                first = self.net.first.expand(len(together), 1, -1)
                reading.read_image(torch.cat([first.to(together), together], 1), 0)
            elif texts:
                reading.read_text(together)

    def _alike(self, documents: Sequence[Document], more: int) -> list[list[int]]:
        """The numbers of the documents, those of one layout together. They are to have `more` positions."""
        self._check(Documents(documents), more)
        found: dict[tuple, list[int]] = defaultdict(list)
        for row, document in enumerate(documents):
            found[tuple(len(part) if part.dim() == 1 else None for part in document.parts)].append(row)
        return [*found.values()]

    def _check(self, documents: Documents, more: int = 0) -> None:
        """Raise ValueError where the flow cannot read these documents, and so many more positions."""
        images = documents.images
        if images.shape[1] and (images.shape[2:] != self.event or not images.is_floating_point()):
            raise ValueError(
                f"this flow reads images that are real events of shape {tuple(self.event)}; these are "
                f"{images.dtype} of {tuple(images.shape[2:])}. Encode them first (pushforward.codecs)."
            )
        self.check_tokens(documents.tokens, more)


class ReadDocuments:
    """Documents as a `DocumentFlow` has read them, all positions at once; it scores each of their parts.

    `images` (n, images, C, H, W), `tokens` (n, T), `given` (n, T) and `states` are those of `data.Documents`.
    """

    def __init__(self, flow: DocumentFlow, images: Tensor, tokens: Tensor, given: Tensor, states: Tensor | None = None):
        if isinstance(flow.steps()[1].net, Guided):
            raise ValueError("guidance is of samples: score documents by the flow that is not guided.")
        self.flow, self.tokens, count = flow, tokens, images.shape[1]
        self.scored_tokens = (tokens >= 0) & ((tokens >= 0).cumsum(1) > 1) & ~given  # (n, T)
        self._slots = (tokens != IMAGE).int().argsort(dim=1, stable=True)[:, :count]  # of images, (n, images)
        self.scored_images = ((tokens == IMAGE) & ~given).gather(1, self._slots)
        self._log_det = images.new_zeros(images.shape[:2], dtype=torch.promote_types(images.dtype, flow.dtype))
        self._latents = self._log_det.new_zeros(len(tokens), count, flow.net.patches, *flow.net.token)
        if count:
            x = images.flatten(0, 1)
            for step in flow.steps()[0]:
                x, log_det = step(x)
                self._log_det = self._log_det + log_det.unflatten(0, images.shape[:2])
            self._latents = x.unflatten(0, images.shape[:2])
        self._language, self._states = flow.net.states(tokens, self._latents, states)

    def image_log_prob(self) -> Tensor:
        """The log-density of each image in nats, (n, images); 0 where it is given, or there is none."""
        _, deep, last = self.flow.steps()
        if not self._latents.shape[1]:
            return self._log_det
        net, start = self.flow.net, starts(self.tokens, self.flow.net.patches).gather(1, self._slots)
        raw = net.answers(along(self._states, net.of_patches(start)))
        z, log_slopes = deep.move.forward(self._latents.flatten(0, 1), raw.flatten(0, 1))
        log_p = self.flow.base.log_prob(last(z)[0], {}) + sum_event(log_slopes)
        return torch.where(self.scored_images, self._log_det + log_p.unflatten(0, self._log_det.shape), 0)

    def text_log_prob(self) -> Tensor:
        """The log-probability of each token in nats, (n, T); 0 where it is given, or the first, or there is none."""
        net = self.flow.net
        before = (starts(self.tokens, net.patches) - 1).clamp(min=0)
        language, states = (along(t, before).flatten(0, 1) for t in (self._language, self._states))
        scored, tokens = self.scored_tokens.flatten(), self.tokens.flatten().clamp(min=0)
        rows = scored.nonzero()[:, 0] if readable(scored) else torch.arange(len(scored), device=scored.device)
        log_p = at_least_float32(net.logits(language[rows], states[rows])).log_softmax(-1)
        log_p = log_p.gather(1, tokens[rows, None])[:, 0]
        of_all = log_p.new_zeros(scored.shape).index_copy(0, rows, log_p)
        return torch.where(scored, of_all, 0).unflatten(0, self.tokens.shape)


def _drawn(logits: Tensor, temperature: float, u: Tensor | None) -> Tensor:
    """A token for each row of logits (n, 1, vocabulary), by uniform u (n, 1); the most probable without: (n, 1)."""
    if u is None:
        return logits.argmax(-1)
    share = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (share <= u[..., None] * share[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
