"""AutoregressiveLM = causal transformer × categorical × one autoregressive step: the usual language model, as a flow.

    tokens -> cells of [−1, 1] -> x -> step -> z

A causal transformer reads the tokens before token t, by a learned embedding of each, and its outputs are the logits of
token t. With `codecs.TokenCells` the bound is the cross-entropy of the network, exactly. It is the baseline of
`TarFlowLM`: the layers are the same.

Radford et al. 2019 (GPT-2), with rotary positions.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward.bases import StandardNormal
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Categorical
from pushforward.networks import LayerOptions, PrefixTransformer, Rotary
from pushforward.randomness import normal
from pushforward.shapes import Tokens
from pushforward.transforms import Autoregressive


@dataclass(frozen=True, kw_only=True)
class AutoregressiveLM(Model):
    """The configuration of an autoregressive language model; `build()` makes the flow.

    >>> flow = AutoregressiveLM(tokens=16, vocabulary=27, width=64, depth=2).build()
    >>> codec = pf.codecs.TokenCells(27)
    >>> codec.decode(flow.sample(2)).shape
    torch.Size([2, 16])
    """

    tokens: int = 1024  # of a window
    vocabulary: int = 50257
    width: int = 768  # of the residual stream; heads are 64 wide, or there is one head where 64 does not divide it
    depth: int = 12  # transformer layers

    def build(self) -> Flow:
        net = PrefixTransformer(
            1,
            Categorical(self.vocabulary).raw_shape(1),
            positions=Rotary(self.tokens),
            width=self.width,
            depth=self.depth,
            options=LayerOptions(),
        )
        net.read = CellEmbedding(self.vocabulary, self.width)  # pyright: ignore[reportAttributeAccessIssue]
        net.first = nn.Parameter(torch.full((1,), 2.0), requires_grad=False)  # beyond the last cell
        step = Autoregressive(net, Categorical(self.vocabulary))
        return Flow(step, StandardNormal(self.tokens, 1), event=(self.tokens, 1))

    def small(self) -> Model:
        return replace(self, tokens=8, vocabulary=min(self.vocabulary, 8), width=16, depth=1)


class CellEmbedding(nn.Module):
    """A learned vector for each of `cells` equal cells of [−1, 1), and one for what lies beyond.

    (B, T, 1) -> (B, T, width).
    """

    def __init__(self, cells: int, width: int):
        super().__init__()
        self.cells = cells
        self.table = nn.Embedding.from_pretrained(normal(0.1, cells + 1, width), freeze=False)

    def forward(self, x: Tokens) -> Tensor:
        place = (x[..., 0] + 1) * (self.cells / 2)
        return self.table(place.nan_to_num().floor().clamp(0, self.cells).long())
