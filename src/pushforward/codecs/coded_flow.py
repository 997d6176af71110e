"""A flow with the codec of its data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.arrays import as_tensor, tensor_on
from pushforward.codecs.base import Codec
from pushforward.conditions import Given
from pushforward.flow import Flow
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample


class CodedFlow:
    """A flow with the codec of its data: bounds, denoising and classification.

    >>> from pushforward.codecs import UniformDequantization
    >>> flow = pf.models.TarFlow(image=(1, 8, 8), patch=4, transforms=2, width=16, depth=1).build()
    >>> CodedFlow(flow, UniformDequantization(17)).bound(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3])
    """

    def __init__(self, flow: Flow, codec: Codec):
        self.flow, self.codec = flow, codec

    def bound(self, data: Tensor, context: Given = None, *, samples: int = 1, generator: Source = None) -> PerSample:
        """A lower bound on log P(data | context) in nats, (batch,): random, and tighter with more `samples`.

        log of the mean over K samples of p(x_k) / q(x_k). Burda et al. 2016, arXiv:1509.00519. Where log-dets are
        estimated, only K = 1 is allowed, and the bound holds on average.
        """
        if samples < 1:
            raise ValueError(f"a bound takes at least one draw of the codec; got samples={samples}.")
        if samples > 1 and not self.flow.exact:
            raise ValueError(
                f"with samples={samples} the noise of estimated log-dets would raise the bound. Give samples=1, or "
                "compute log-dets exactly: log_det=Exact()."
            )
        data, terms = tensor_on(self.flow.device, data, "the data"), []
        for _ in range(samples):
            x, log_q = self.codec.encode(data, generator)
            terms.append(self.flow.log_prob(x, context) - log_q)
        return torch.stack(terms).logsumexp(0) - math.log(samples)

    def denoise(self, x: Events, context: Given = None) -> Events:
        """Events without the Gaussian noise of their codec, by `flow.denoise`; x itself where it has none."""
        sigma = self.codec.noise_sigma
        return tensor_on(self.flow.device, x) if sigma is None else self.flow.denoise(x, sigma, context)

    @torch.no_grad()
    def classify(self, data: Tensor, *, batch: int = 64) -> Tensor:
        """The most probable class of each row of data, (n,) int64 on the CPU: `flow.classify` of its clean event."""
        parts = as_tensor(data, "the data").split(batch)
        parts = (self.codec.clean(part).to(self.flow.device) for part in parts)
        return torch.cat([self.flow.classify(part).cpu() for part in parts])
