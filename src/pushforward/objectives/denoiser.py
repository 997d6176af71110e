"""A denoiser that is trained beside the flow, on its score.

The gradient of the flow's density by x is the score, and training makes most of it anyway. Gu et al. 2025 (STARFlow-V),
arXiv:2511.20462, section 3.3.
"""

import math
from dataclasses import dataclass, replace

import torch

from pushforward.codecs import Codec
from pushforward.conditions import Context, Label, Text
from pushforward.denoising import Learned
from pushforward.flow import Flow
from pushforward.networks import LabelPrefix, LayerOptions, NoiseTransformer, ScaledRotary, TextPrefix
from pushforward.objectives.objective import Likelihood, MaximumLikelihood
from pushforward.randomness import Source
from pushforward.shapes import Events, PerSample


@dataclass(frozen=True, kw_only=True)
class WithDenoiser(MaximumLikelihood):
    """Maximum likelihood, and a denoiser beside the flow: builds a `DenoiserBeside`.

    The denoiser is a `NoiseTransformer`, and becomes part of the flow, as `flow.denoiser`. It reads the flow's label or
    text. Of clips (frame, C, H, W) it sees in each layer the frames of the `window` (before, after), or all.
    """

    width: int = 64  # of the denoiser's residual stream
    depth: int = 4  # its layers
    patch: int = 1  # side of its patches
    window: tuple[int, int] | None = None  # of frames; None: all

    def small(self) -> MaximumLikelihood:
        return replace(self, width=64, depth=1)

    def build(self, flow: Flow, codec: Codec) -> Likelihood:
        if len(flow.event) not in (3, 4) or codec.noise_sigma is None:
            raise ValueError(
                "a denoiser beside the flow learns to take Gaussian noise out of images: give a model of images or "
                f"clips, and a codec that adds noise, as GaussianNoise; got events {tuple(flow.event)} and {codec}."
            )
        channels, height, width = flow.event[-3:]
        prefix = self._prefix(flow)
        positions = ScaledRotary(
            (1, 1),
            prefix=prefix.tokens if prefix else 0,
            frames=1 if len(flow.event) == 3 else None,
            extent=math.sqrt((height or 1) * (width or 1)) / self.patch,
        )
        net = NoiseTransformer(
            (channels, self.patch),
            positions=positions,
            width=self.width,
            depth=self.depth,
            options=LayerOptions(),
            prefix=prefix,
            window=self.window,
        )
        flow.denoiser = Learned(net)
        return DenoiserBeside(flow, codec, condition_dropout=self.condition_dropout)

    def _prefix(self, flow: Flow) -> LabelPrefix | TextPrefix | None:
        for name, kind in flow.conditions.items():
            if isinstance(kind, Label):
                return LabelPrefix(kind.classes, self.width, name=name)
            if isinstance(kind, Text):
                return TextPrefix(kind.tokens, kind.features, self.width, name=name)
        return None


class DenoiserBeside(Likelihood):
    """Maximum likelihood as by `Likelihood`, plus the error of the denoiser's noise:

        mean over elements of (net(x, context) − noise)²,        noise = −sigma · d log p(x | context) / dx

    Neither has a gradient by the other's weights. A step costs one more backward pass of the flow.
    """

    def terms(
        self, x: Events, context: Context, generator: Source = None
    ) -> tuple[PerSample, Events | None, PerSample]:
        x = x.detach().requires_grad_()
        log_p, z, _ = super().terms(x, context, generator)
        (score,) = torch.autograd.grad(log_p.sum(), x, retain_graph=True)
        learned = self.flow.denoiser
        assert isinstance(learned, Learned)
        sigma = self.codec.noise_sigma
        assert sigma is not None
        return log_p, z, (learned.net(x.detach(), context) + sigma * score.detach()).square().flatten(1).mean(1)
