"""Retrieval of captions: how often an image's own caption is the one that makes it most probable."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs import CodedFlow
from pushforward.conditions import Text
from pushforward.data import Data
from pushforward.flow import Flow
from pushforward.randomness import Keyed, keyed
from pushforward.shapes import Events, PerSample


@dataclass(frozen=True)
class Retrieval:
    """How often the true caption of an image is the most probable of some. Printed, it is one line."""

    accuracy: float
    images: int
    candidates: int  # captions for each image, the true one among them

    def __str__(self) -> str:
        low, high = _interval(self.accuracy, self.images)
        return (
            f"{self.accuracy:.1%} of {self.images:,} images (95% interval: {low:.1%} to {high:.1%}) have their caption "
            f"as the most probable of {self.candidates} (chance: {1 / self.candidates:.0%})"
        )


def image_text_score(flow: Flow, x: Events, text: Tensor) -> PerSample:
    """log p(x | text) − log p(x) in nats, (*batch): how much more probable an image is with the text than without.

    `text` (*batch, token, features) are embeddings (`data.TextEncoder`), one for all images or one each. The score is
    of use where texts were dropped in training. Raises ValueError where the flow is not conditioned on a text alone.
    """
    return flow.log_prob(x, text) - flow.log_prob(x, {_name(flow): None})


@torch.no_grad()
def caption_retrieval(
    coded: CodedFlow, data: Data, *, candidates: int = 10, batch: int = 100, seed: int = 0
) -> Retrieval:
    """How often an image's own caption maximises log p(x | caption) over it and others of the data, drawn at random.

    There are so many candidates, or all captions of the data where these are fewer. The context of the data are
    embeddings of captions; images of the same caption have the same. An image's noise is a function of (seed, its
    index). Raises ValueError where there are fewer than two captions.
    """
    _name(coded.flow)
    check_number(batch, "batch, in images,", least=1)
    context = data.fetch(range(len(data)))[1]
    assert context is not None
    texts, own = context.unique(dim=0, return_inverse=True)
    candidates, right = how_many(candidates, len(texts)), 0
    for rows in torch.arange(len(data), device="cpu").split(batch):
        x = coded.codec.encode(data.fetch(rows)[0].to(coded.flow.device), Keyed(seed, rows=rows.tolist()))[0]
        compared = to_compare(own, rows, len(texts), candidates, seed)
        scores = torch.stack([coded.flow.log_prob(x, texts[column].to(x)) for column in compared.T])
        right += first_is_best(scores).sum().item()
    return Retrieval(right / len(data), len(data), candidates)


def how_many(candidates: int, texts: int) -> int:
    """So many candidates, or all texts where these are fewer. Raises ValueError where there are fewer than two."""
    if min(candidates, texts) < 2:
        raise ValueError(f"compare two texts or more; there are {texts}, and candidates={candidates}.")
    return min(candidates, texts)


def to_compare(own: Tensor, rows: Tensor, texts: int, candidates: int, seed: int) -> Tensor:
    """The texts to tell apart for each of these rows, (rows, candidates): its own first, then others at random."""
    shuffled = [torch.randperm(texts - 1, generator=keyed(seed, row), device="cpu") for row in rows.tolist()]
    others = own[rows, None] + 1 + torch.stack(shuffled)[:, : candidates - 1]
    return torch.cat([own[rows, None], others % texts], 1)


def first_is_best(scores: Tensor) -> Tensor:
    """Whether the first of the scores (candidates, …) is higher than all others: a tie is no success."""
    return scores[0] > scores[1:].amax(0)


def _interval(share: float, n: int) -> tuple[float, float]:
    """Where a proportion lies of which n trials had this share, 95 times of 100: Wilson's interval, for any share."""
    z2 = 1.96**2 / n
    centre, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


def _name(flow: Flow) -> str:
    """The name of the flow's one condition, a text."""
    if [type(kind) for kind in flow.conditions.values()] != [Text]:
        told = ", ".join(flow.conditions) or "nothing"
        raise ValueError(f"texts are compared by a flow that is conditioned on a text alone; this one has {told}.")
    return next(iter(flow.conditions))
