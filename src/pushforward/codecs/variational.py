"""Variational dequantization: noise drawn from a second flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.codecs.dequantization import UniformDequantization
from pushforward.codecs.integers import IntegerCodec, as_real, bin_centres, check_levels, in_bins
from pushforward.flow import Flow
from pushforward.initialization import initializing
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample


class VariationalDequantization(nn.Module, IntegerCodec):
    """Noise inside each integer's bin, drawn from a flow conditioned on all of them: x = 2 (v + u) / levels − 1.

    u ~ q(u | v) in (0, 1), so log_q = log q(u | v) + n log(levels / 2) for n integers. The flow of the noise is trained
    with the flow of the data, on the same bound. Where the noise is uniform, this is `UniformDequantization`. The
    network `read` computes the features that `noise` is conditioned on, from the integers on [−1, 1].
    Ho et al. 2019 (Flow++), arXiv:1902.00275, section 3.1.
    """

    def __init__(self, levels: int, noise: Flow, read: nn.Module):
        super().__init__()
        check_levels(levels)
        self.levels, self.noise, self.read = levels, noise, read

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        v = as_real(data, self.levels).to(self.noise.device)
        u, log_q = self.noise.rsample_and_log_prob((), self.read(bin_centres(v, self.levels)), generator=generator)
        return in_bins(v, u, self.levels), log_q + v[0].numel() * math.log(self.levels / 2)

    def decode(self, x: Events) -> Tensor:
        return UniformDequantization(self.levels).decode(x)

    def clean(self, data: Tensor) -> Events:
        return UniformDequantization(self.levels).clean(data)

    @torch.no_grad()
    def initialize(self, data: Tensor, generator: Source = None) -> None:
        """Data-dependent initialisation of the flow of the noise, by encoding these data once."""
        with initializing(self):
            self.encode(data, generator)

    def __repr__(self) -> str:
        return f"VariationalDequantization(levels={self.levels})"
