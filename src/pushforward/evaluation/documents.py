"""Likelihoods of documents of images and captions, and retrieval of the caption of an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow
from pushforward.data import Document, Documents
from pushforward.data.data import evenly_spread
from pushforward.document_flow import DocumentFlow
from pushforward.evaluation.likelihood import mean_and_error
from pushforward.evaluation.retrieval import Retrieval, first_is_best, how_many, to_compare
from pushforward.objectives import nats_per_token
from pushforward.randomness import Keyed
from pushforward.shapes import Events, PerSample

MOST = 200  # images of a retrieval
BATCH = 32  # documents at once
ORDINARY = (  # sentences unlike captions
    "The capital of France is Paris, and the capital of Italy is Rome. The capital of Spain is Madrid.",
    "Water boils at a lower temperature on a mountain, because the pressure of the air is lower there.",
    "She opened the door, looked at the rain, and decided to stay at home with a book.",
    "To sort a list of numbers, compare neighbours and exchange them where they are in the wrong order.",
)


@dataclass(frozen=True)
class DocumentCosts:
    """Minus the mean log-likelihood of documents, each part given all before it. Printed, it is one line.

    Of images, nats for each element of an event, a bound where the codec dequantises; of texts, nats a token.
    """

    images: float
    images_error: float  # standard error of the mean over documents
    texts: float
    texts_error: float
    documents: int

    def __str__(self) -> str:
        return (
            f"images {self.images:.4f} ± {self.images_error:.4f} nats/dim, texts {self.texts:.3f} ± "
            f"{self.texts_error:.3f} nats/token (mean ± s.e. over {self.documents:,} documents)"
        )


@dataclass(frozen=True)
class OrdinaryText:
    """Nats a token of sentences that are no captions. Printed, it is one line."""

    learned: float  # of the flow as it is
    untouched: float  # of its language model alone
    tokens: int

    def __str__(self) -> str:
        return f"{self.learned:.3f} nats/token, {self.untouched:.3f} of the language model ({self.tokens} tokens)"


class PairScores(NamedTuple):
    """Log-probabilities of images and texts given one another, in nats, (n,) each."""

    text: PerSample  # log P(text | image)
    image: PerSample  # log p(image | text)


@torch.no_grad()
def pair_scores(flow: DocumentFlow, x: Events, texts: Sequence[Tensor]) -> PairScores:
    """The log-probabilities of each image x (n, C, H, W), an event, and its text, tokens (T,), given one another."""
    image_first = [Document([image, text], given=[0]) for image, text in zip(x, texts, strict=True)]
    text_first = [Document([text, image], given=[0]) for image, text in zip(x, texts, strict=True)]
    return PairScores(flow.document_log_prob(image_first).text, flow.document_log_prob(text_first).images)


@torch.no_grad()
def document_costs(coded: CodedFlow, documents: Documents) -> Tensor:
    """`objectives.nats_per_token` of documents, (2, n) float64 on the CPU.

    An image's noise is a function of the index of its document.
    """
    flow, found = document_flow(coded), []
    flow.check_tokens(documents.tokens)
    for rows in torch.arange(len(documents), device="cpu").split(BATCH):
        images, context = documents.fetch(rows)
        context = {name: value.to(flow.device) for name, value in context.items()}
        noise = Keyed(0, rows=rows.tolist())
        costs = nats_per_token(flow, coded.codec, images.to(flow.device), **context, generator=noise)
        found.append(costs.double().cpu())
    return torch.cat(found, 1)


def mean_document_costs(coded: CodedFlow, documents: Documents) -> DocumentCosts:
    """The means of `document_costs` over the documents whose images or texts are not given, with their standard errors;
    NaN of fewer than two."""
    costs = document_costs(coded, documents)
    costs[0] /= math.prod(document_flow(coded).net.token)  # elements of a patch
    found = [kind[kind != 0] for kind in costs]  # 0: all of it is given
    images, texts = map(mean_and_error, found)
    return DocumentCosts(*images, *texts, len(documents))


@torch.no_grad()
def document_retrieval(coded: CodedFlow, images: Tensor, texts: Sequence[Tensor]) -> tuple[Retrieval, Retrieval]:
    """How often an image's own text, tokens (T,), is the most probable of ten: by log P(text | image), and by
    log p(image | text).

    The others are drawn at random; where there are fewer than ten texts, all are compared. Of more than `MOST` images
    some are taken, evenly spread. Raises ValueError where there are fewer than two texts.
    """
    flow, distinct = document_flow(coded), [*dict.fromkeys(tuple(text.tolist()) for text in texts)]
    place = {text: i for i, text in enumerate(distinct)}
    own = torch.tensor([place[tuple(text.tolist())] for text in texts], device="cpu")
    candidates = how_many(10, len(distinct))
    chosen, right = torch.tensor(evenly_spread(len(images), MOST), device="cpu"), torch.zeros(2, dtype=torch.long)
    for rows in chosen.split(BATCH):
        x = coded.codec.encode(images[rows].to(flow.device), Keyed(0, rows=rows.tolist()))[0]
        compared = to_compare(own, rows, len(distinct), candidates, seed=0)
        scores = [
            torch.stack(pair_scores(flow, x, [torch.tensor(distinct[i]) for i in column]))
            for column in compared.T.tolist()
        ]
        right += first_is_best(torch.stack(scores)).sum(1).cpu()
    found = [Retrieval(count / len(chosen), len(chosen), candidates) for count in right.tolist()]
    return found[0], found[1]


@torch.no_grad()
def ordinary_text(flow: DocumentFlow, sentences: Sequence[Tensor]) -> OrdinaryText:
    """The nats a token of sentences, tokens (T,), of which the first of each is not scored."""
    tokens, log_p, alone = 0, 0.0, 0.0
    for sentence in sentences:
        log_p -= flow.document_log_prob([Document([sentence])]).text.item()
        model, read = flow.net.language.model, sentence[None].to(flow.device)
        logits = model.logits(model(model.embed(read)))[0, :-1].float()
        alone += torch.nn.functional.cross_entropy(logits, read[0, 1:], reduction="sum").item()
        tokens += len(sentence) - 1
    return OrdinaryText(log_p / tokens, alone / tokens, tokens)


def document_flow(coded: CodedFlow) -> DocumentFlow:
    """The flow of documents. Raises ValueError where it is another."""
    if not isinstance(coded.flow, DocumentFlow):
        raise ValueError(f"documents are read by a models.STARFlow2; this flow is a {type(coded.flow).__name__}.")
    return coded.flow
