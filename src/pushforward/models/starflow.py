"""STARFlow = causal transformer × affine × autoregressive, over an image's latents: one deep step, and shallow ones.

    x -> patches -> shallow step in reverse order -> shallow step -> … -> deep step -> latents of x's shape

The deep step is the last, next to the prior. It alone reads the condition, as tokens before the image: it is a language
model of latents. Scales are softplus, raw parameters are softly clipped, positions are rotary. x is an image, or the
latent of a frozen autoencoder with noise. Guidance by `guidance.GaussianProduct` acts in the deep step.

Gu et al. 2025, "STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis", arXiv:2506.06276.
"""

from dataclasses import dataclass

from pushforward.bases import StandardNormal
from pushforward.flow import Flow
from pushforward.models.deep_shallow import DeepShallow
from pushforward.transform import Chain
from pushforward.transforms import Autoregressive, Flip, Gridded, Permuted, Unpatchify


@dataclass(frozen=True, kw_only=True)
class STARFlow(DeepShallow):
    """The configuration of a STARFlow; `build()` makes the flow.

    >>> flow = STARFlow(image=(4, 8, 8), width=64, depths=(1, 1, 2), text=(6, 10)).build()
    >>> sum(p.numel() for p in flow.parameters())
    203364
    """

    def build(self) -> Flow:
        patches = self.patches()
        steps = Chain(patches, *map(self.step, range(len(self.depths))), Unpatchify(patches))
        return Flow(
            Gridded(steps) if None in self.image else steps,
            StandardNormal(*self.image),
            event=self.image,
            conditions=self.conditions(),
        )

    def step(self, index: int) -> Autoregressive | Permuted:
        """This step, of tokens."""
        step = self.autoregressive(index)
        return Permuted(Flip(), step) if self.is_reversed(index) else step
