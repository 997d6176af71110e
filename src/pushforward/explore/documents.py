"""Images and their captions, each given the other, by a flow of documents."""

from typing import Any

import torch
from torch import Tensor

from pushforward.data import CaptionDocuments, Document
from pushforward.evaluation import document_flow
from pushforward.explore.gallery import Gallery
from pushforward.explore.worker import Parts
from pushforward.sampling import Sampling

MOST, AT_ONCE = 32, 4  # tokens of a caption, and of them those that are written in a part of a job


class Documents:
    """Documents of an image of a gallery and a caption, which the flow writes or which is given."""

    def __init__(self, gallery: Gallery, source: CaptionDocuments):
        self.gallery, self.source, self.flow = gallery, source, document_flow(gallery.coded)

    def seen(self, name: str, sampling: Sampling) -> dict[str, Any]:
        """An image, and its caption where it has one."""
        integers = self.gallery.named(name, sampling)[0]
        return {"image": self.gallery.png(integers[0]), "caption": self.gallery.caption(name, sampling)}

    def written(self, name: str, sampling: Sampling) -> Parts:
        """The caption of the most probable tokens, one after the other, as `pushforward caption` writes it."""
        tokenizer, x = self.source.tokenizer, self.gallery.encoded(name, sampling)[0]
        document = Document([x, [tokenizer.begin]])
        while (left := MOST + 1 - sum(map(len, document.texts))) and tokenizer.end not in document.texts[-1]:
            (document,) = self.flow.write_text([document], end=tokenizer.end, most=min(left, AT_ONCE), temperature=0.0)
            yield None
        return (yield from self._scored(x, torch.cat(document.texts)))

    def scored(self, name: str, sampling: Sampling, caption: str) -> Parts:
        """A caption of an image: what `_scored` tells."""
        x = self.gallery.encoded(name, sampling)[0]
        return (yield from self._scored(x, self.source.tokens(caption)))

    def _scored(self, x: Tensor, tokens: Tensor) -> Parts:
        """Each token with −log P given the image and the tokens before it, nats; log P of the caption given the image,
        which is minus their sum, and log p of the image given the caption, of its event with the codec's noise.

        The token that begins a text is not scored, and the one that ends it is.
        """
        with torch.no_grad():
            told = self.flow.read([Document([x, tokens], given=[0])]).text_log_prob()[0, 2:]
            yield 0.5
            shown = self.flow.document_log_prob([Document([tokens, x], given=[0])]).images.item()
        return {
            "caption": self.source.caption(tokens),
            "tokens": [self.source.tokenizer.decode([token]) for token in tokens[1:].tolist()],
            "nats": (-told).tolist(),
            "text": told.sum().item(),
            "image": shown,
        }
