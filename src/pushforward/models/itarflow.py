"""iTARFlow = causal transformer × affine × autoregressive, over the patches of an image, at every level of noise.

    x -> patches -> step -> step in reverse order -> step -> deep step in reverse order -> z

A TarFlow whose networks are told how much noise x has: one flow has the densities of images at all levels of noise. A
sample is drawn at the highest level, and taken down level by level along their scores (`denoising.Iterative`). The last
step, next to the base, is the deep one.

iTARFlow 2026, arXiv:2604.20041.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from pushforward.bases import StandardNormal
from pushforward.conditions import Label, NoiseLevel
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Affine
from pushforward.networks import CausalTransformer, LabelEmbedding, Learned, NoiseEmbedding, Summed
from pushforward.objectives import NoiseLevels
from pushforward.transform import Chain
from pushforward.transforms import Autoregressive, Flip, Patchify, Permuted


@dataclass(frozen=True, kw_only=True)
class ITARFlow(Model):
    """The configuration of an iTARFlow; `build()` makes the flow. Without a noise level it is at the highest.

    >>> flow = ITARFlow(image=(1, 8, 8), patch=2, width=16, depths=(1, 1), classes=10).build()
    >>> flow.log_prob(torch.zeros(2, 1, 8, 8), {"label": [3, 4], "noise": 0.1}).shape
    torch.Size([2])
    """

    image: tuple[int, int, int] = (3, 64, 64)  # channels, height, width
    patch: int = 2  # side of a patch, in pixels
    width: int = 1280  # of the residual stream; heads are 64 wide, or there is one head where 64 does not divide it
    depths: tuple[int, ...] = (4, 4, 4, 24)  # transformer layers of each step, from the data on
    classes: int = 0  # 0: not conditioned on a class
    noise: tuple[float, float] = (0.01, 0.3)  # the lowest and the highest level, as deviations
    objective: ClassVar = NoiseLevels()  # pyright: ignore[reportIncompatibleVariableOverride]

    def build(self) -> Flow:
        patches = Patchify(self.image, self.patch)
        tokens, features = patches.latent_shape(self.image)
        label = {"label": Label(self.classes)} if self.classes else {}
        return Flow(
            Chain(patches, *(self._step(i, tokens, features) for i in range(len(self.depths)))),
            StandardNormal(tokens, features),
            event=self.image,
            conditions={**label, "noise": NoiseLevel(*self.noise)},
            objective=self.objective,
        )

    def small(self) -> Model:
        return replace(self, image=(self.image[0], 4 * self.patch, 4 * self.patch), width=16, depths=(1, 1))

    def _step(self, index: int, tokens: int, features: int) -> Autoregressive | Permuted:
        move = Affine()
        net = CausalTransformer(
            features,
            move.raw_shape(features),
            positions=Learned(tokens, self.width),
            width=self.width,
            depth=self.depths[index],
            context_encoder=self._encoder(),
        )
        step = Autoregressive(net, move)
        return Permuted(Flip(), step) if index % 2 else step

    def _encoder(self) -> nn.Module:
        noise = NoiseEmbedding(self.width)
        return Summed(LabelEmbedding(self.classes, self.width), noise) if self.classes else noise
