"""A flow with the codec of its data."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_number, tensor_for
from pushforward.codecs.autoencoder import FrozenAutoencoder
from pushforward.codecs.base import Codec
from pushforward.conditions import Given, NoiseLevel
from pushforward.denoising import Denoiser, Iterative, Kept
from pushforward.flow import Flow
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample

DenoiserKind = Literal["score", "learned", "iterative", "decoder", "none"]


class CodedFlow:
    """A flow with the codec of its data: bounds, denoising and classification.

    `denoiser` takes the codec's Gaussian noise out of events; None: the flow's score. See `denoised_by`.

    >>> from pushforward.codecs import UniformDequantization
    >>> flow = pf.models.TarFlow(image=(1, 8, 8), patch=4, transforms=2, width=16, depth=1).build()
    >>> CodedFlow(flow, UniformDequantization(17)).bound(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3])
    """

    def __init__(self, flow: Flow, codec: Codec, denoiser: Denoiser | None = None):
        self.flow, self.codec, self.denoiser = flow, codec, denoiser

    def bound(self, data: Tensor, context: Given = None, *, samples: int = 1, generator: Source = None) -> PerSample:
        """A lower bound on log P(data | context) in nats, (batch,): random, and tighter with more `samples`.

        log of the mean over K samples of p(x_k) / q(x_k). Burda et al. 2016, arXiv:1509.00519. Where log-dets are
        estimated, only K = 1 is allowed, and the bound holds on average.
        """
        check_number(samples, "samples, draws of the codec,", least=1)
        if samples > 1 and not self.flow.exact:
            raise ValueError(
                f"with samples={samples} the noise of estimated log-dets would raise the bound. Give samples=1, or "
                "compute log-dets exactly: log_det=Exact()."
            )
        data, terms = tensor_for(self.flow, data, "the data"), []
        for _ in range(samples):
            x, log_q = self.codec.encode(data, generator)
            terms.append(self.flow.log_prob(x, context) - log_q)
        return torch.stack(terms).logsumexp(0) - math.log(samples)

    def denoise(self, x: Events, context: Given = None) -> Events:
        """Events without the Gaussian noise of their codec, by its denoiser; x itself where the codec has none."""
        sigma = self.codec.noise_sigma
        if sigma is None:
            return tensor_for(self.flow, x)
        return self.flow.denoise(x, sigma, context, by=self.denoiser)

    def denoised_by(self, kind: DenoiserKind) -> CodedFlow:
        """The same flow and codec, from whose events the noise is taken by another kind of denoiser:

        "score" by the flow's density (`Score`); "learned" by the network that was trained beside the flow (`Learned`);
        "iterative" along the levels of a flow that knows them (`Iterative`); "decoder" by the autoencoder's tuned
        decoder, so that events keep their noise and data have none; "none": it stays. Raises ValueError where the flow
        or the codec lacks what it needs.
        """
        flow, codec, denoiser = self.flow, self.codec, None
        if kind == "learned":
            denoiser = getattr(flow, "denoiser", None)  # a flow that was saved part by part before has none
            if denoiser is None:
                raise ValueError(
                    "this flow has no learned denoiser: train it with the objective WithDenoiser, as the recipe "
                    "digits_denoiser does, or denoise by score."
                )
        elif kind == "iterative":
            levels = next((level for level in flow.conditions.values() if isinstance(level, NoiseLevel)), None)
            if levels is None:
                raise ValueError(
                    "this flow knows one level of noise: train models.ITARFlow, as the recipe digits_itarflow does, "
                    "or denoise by score."
                )
            denoiser = Iterative(low=levels.low)
        elif kind == "decoder":
            if not isinstance(codec, FrozenAutoencoder):
                raise ValueError(
                    "this flow's events are decoded by no autoencoder, whose decoder could take the noise out: train "
                    "with a codec Autoencoder(tuned=True), or denoise by score."
                )
            codec, denoiser = codec.of_noisy(), Kept()
        elif kind == "none":
            denoiser = Kept()
        elif kind != "score":
            raise ValueError(f"noise is taken out by {', '.join(get_args(DenoiserKind))}; got {kind!r}.")
        return CodedFlow(flow, codec, denoiser)

    @torch.no_grad()
    def classify(self, data: Tensor, *, batch: int = 64) -> Tensor:
        """The most probable class of each row of data, (n,) int64 on the CPU: `flow.classify` of its clean event."""
        check_number(batch, "batch, in rows,", least=1)
        parts = as_tensor(data, "the data").split(batch)
        parts = (self.codec.clean(part).to(self.flow.device) for part in parts)
        return torch.cat([self.flow.classify(part).cpu() for part in parts])
