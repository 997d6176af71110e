"""The likelihood of documents: of their images, of their texts, or of both, in stages."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs import Codec
from pushforward.conditions import Given
from pushforward.data import Data, Documents
from pushforward.document_flow import DocumentFlow, ReadDocuments
from pushforward.flow import Flow
from pushforward.networks.interleaved import IMAGE, PADDING
from pushforward.objectives.objective import Objective, ObjectiveConfig, weighted
from pushforward.randomness import Source, draw

Stage = Literal["images", "adapters", "both"]


@dataclass(frozen=True, kw_only=True)
class DocumentStages(ObjectiveConfig):
    """The likelihood of documents, in stages that are trained in turn: builds a `DocumentLikelihood` of the first.

    "images": the density of images, by all weights but the adapters. "adapters": the probability of texts, by the
    adapters alone. "both": both, by all weights. The language model is frozen throughout. `text_weight` is the weight
    λ of texts beside images. `text_dropout` is the probability that, where images are learned, a document that has
    some is learned without its texts, for guidance. Stages as in STARFlow2, arXiv:2605.08029, whose λ is not published.

    >>> DocumentStages(stages=("images", "both"), text_weight=0.1).stages
    ('images', 'both')
    """

    stages: tuple[Stage, ...] = ("images", "adapters", "both")
    text_weight: float = 1.0
    text_dropout: float = 0.1

    def __post_init__(self):
        if not self.stages or not set(self.stages) <= {"images", "adapters", "both"}:
            raise ValueError(f'stages are "images", "adapters" and "both", at least one; got {self.stages}.')
        check_number(self.text_weight, "text_weight", least=0)
        check_number(self.text_dropout, "text_dropout", least=0, most=1)

    def build(self, flow: Flow, codec: Codec) -> Objective:
        return DocumentLikelihood(flow, codec, self)


class DocumentLikelihood(Objective):
    """Minus the mean log-likelihood of documents, in nats a token of each kind:

        loss = mean over the batch of w · (images / patches + λ · texts / tokens),        w of mean 1 over the data

    `images` are minus the log-densities of a document's images, bounds where the codec dequantises, over the number of
    their patches; `texts` minus the log-probabilities of its tokens, over theirs. What is given has no part in either.
    A stage leaves one term out, and `requires_grad` of the flow's weights is set for it. Data are those of
    `data.Documents`, whose images the codec encodes. Raises ValueError for a flow that is no `DocumentFlow`.
    """

    unit = "nats/token"

    def __init__(self, flow: Flow, codec: Codec, config: DocumentStages = DocumentStages()):
        super().__init__()
        if not isinstance(flow, DocumentFlow):
            raise ValueError(
                f"documents have a likelihood under a model of texts and images, such as models.STARFlow2; this flow "
                f"is a {type(flow).__name__}."
            )
        self.flow: DocumentFlow = flow  # pyright: ignore[reportIncompatibleVariableOverride]
        self.codec, self.config, self.rounds = codec, config, len(config.stages)
        adapters = {weight for adapter in flow.net.adapters for weight in adapter.parameters()}
        for weight in flow.parameters():
            weight.requires_grad_(self.stage == "both" or (weight in adapters) == (self.stage == "adapters"))

    @property
    def stage(self) -> Stage:
        """The stage that it trains."""
        return self.config.stages[0]

    def forward(
        self, data: Tensor, context: Given = None, generator: Source = None, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        context = _documents(context)
        tokens, given = context["tokens"], context["given"]
        if self.config.text_dropout and self.stage != "adapters":
            tokens = self._without_some_texts(tokens, data, generator)
        states = context.get("states")
        costs = nats_per_token(self.flow, self.codec, data, tokens, given, generator, stage=self.stage, states=states)
        cost = costs[0] + self.config.text_weight * costs[1]
        return weighted(cost, weights).mean(), {self.unit: costs.detach().sum(0).mean()}

    def initialize(self, data: Tensor, context: Given = None, generator: Source = None) -> None:
        if data.shape[1]:
            self.codec.initialize(data[:, 0], generator)

    def check(self, data: Data) -> None:
        _documents(data.fetch([0])[1])
        if isinstance(data, Documents):
            self.flow.check_tokens(data.tokens)

    def prepare(self, data: Data, cache: Path) -> Data:
        return self.flow.with_states(data, cache) if isinstance(data, Documents) else data

    def following(self) -> Objective | None:
        if self.rounds == 1:
            return None
        return DocumentLikelihood(self.flow, self.codec, replace(self.config, stages=self.config.stages[1:]))

    def _without_some_texts(self, tokens: Tensor, data: Tensor, generator: Source) -> Tensor:
        """The documents, some of those with images without their texts."""
        dropped = draw(torch.rand, tokens.shape[:1], self.flow.net.first, generator) < self.config.text_dropout
        dropped = (dropped & (tokens == IMAGE).any(1)).to(tokens.device)
        return torch.where(dropped[:, None] & (tokens >= 0), PADDING, tokens)


def nats_per_token(
    flow: DocumentFlow,
    codec: Codec,
    images: Tensor,
    tokens: Tensor,
    given: Tensor,
    generator: Source = None,
    *,
    stage: Stage = "both",
    states: Tensor | None = None,
) -> Tensor:
    """Minus the log-likelihoods of documents in nats, of their images a patch and of their texts a token, (2, n).

    `images` (n, images, …), `tokens`, `given` and `states` are a batch of `data.Documents`, whose images the codec
    encodes. What is given is left out, and so is what the stage does not learn: it costs 0.
    """
    encoded = [codec.encode(images[:, i], generator) for i in range(images.shape[1])]
    x = torch.stack([x for x, _ in encoded], 1) if encoded else images.to(flow.dtype)
    read = ReadDocuments(flow, x, tokens, given, states)
    costs = x.new_zeros(2, len(tokens))
    if stage != "adapters" and encoded:
        bounds = read.image_log_prob() - torch.stack([log_q for _, log_q in encoded], 1) * read.scored_images
        costs[0] = -bounds.sum(1) / (flow.net.patches * read.scored_images.sum(1)).clamp(min=1)
    if stage != "images":
        costs[1] = -read.text_log_prob().sum(1) / read.scored_tokens.sum(1).clamp(min=1)
    return costs


def _documents(context: Given) -> Mapping[str, Tensor]:
    """The context of a batch of documents."""
    if not isinstance(context, Mapping) or not {"tokens", "given"} <= context.keys():
        raise ValueError(
            "this objective trains on documents, data.Documents([data.Document([tokens, image]), …]), whose batches "
            'are images and a dict of "tokens" and "given".'
        )
    return context
