"""TarFlow = causal transformer × affine × autoregressive, over the patches of an image.

    x -> patches -> step -> step in reverse order -> step -> step in reverse order -> … -> z

Each step maps patch t to (x_t − shift_t) · exp(−log_scale_t), where a causal transformer computes shift_t and
log_scale_t from the patches before t. Every other step has the patches in reverse order. It is trained on noisy images,
and its samples are denoised with its score. With `move=Shift()` it preserves volume, and the base learns variances.

Zhai et al. 2024, "Normalizing Flows are Capable Generative Models", arXiv:2412.06329.
"""

from dataclasses import dataclass, replace

from pushforward.bases import ObservedNormal, StandardNormal
from pushforward.conditions import Label
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.moves import Affine, Move
from pushforward.networks import CausalTransformer, LabelEmbedding, Learned
from pushforward.transform import Chain
from pushforward.transforms import Autoregressive, Flip, Patchify, Permuted


@dataclass(frozen=True, kw_only=True)
class TarFlow(Model):
    """The configuration of a TarFlow; `build()` makes the flow.

    >>> flow = TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10).build()
    >>> sum(p.numel() for p in flow.parameters())
    3227776
    """

    image: tuple[int, int, int] = (3, 64, 64)  # channels, height, width
    patch: int = 2  # side of a patch, in pixels
    transforms: int = 8  # every other one has the patches in reverse order
    width: int = 768  # of the residual stream; heads are 64 wide, or there is one head where 64 does not divide it
    depth: int = 8  # transformer layers in a step
    classes: int = 0  # 0: unconditional
    move: Move = Affine()  # or Shift(): volume-preserving

    def build(self) -> Flow:
        patches = Patchify(self.image, self.patch)
        tokens, features = patches.latent_shape(self.image)
        base = ObservedNormal if self.move.volume_preserving else StandardNormal
        return Flow(
            Chain(patches, *(self._step(i, tokens, features) for i in range(self.transforms))),
            base(tokens, features),
            event=self.image,
            conditions={"label": Label(self.classes)} if self.classes else {},
        )

    def small(self) -> Model:
        image = (self.image[0], 4 * self.patch, 4 * self.patch)
        return replace(self, image=image, transforms=2, width=16, depth=1)

    def _step(self, index: int, tokens: int, features: int) -> Autoregressive | Permuted:
        net = CausalTransformer(
            features,
            self.move.raw_shape(features),
            positions=Learned(tokens, self.width),
            width=self.width,
            depth=self.depth,
            context_encoder=LabelEmbedding(self.classes, self.width) if self.classes else None,
        )
        step = Autoregressive(net, self.move)
        return Permuted(Flip(), step) if index % 2 else step
