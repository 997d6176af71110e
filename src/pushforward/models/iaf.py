"""IAF = masked MLP × affine × autoregressive, inverted: the steps of a MAF with forward and inverse exchanged.

    x_i = (z_i − shift_i) · exp(−log_scale_i),        both functions of z_0 … z_{i−1}

A sample and its density take one pass, as variational inference needs. The density of given data is computed feature
by feature. Kingma et al. 2016, "Improving Variational Inference with Inverse Autoregressive Flow", arXiv:1606.04934.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import Affine, SoftClip
from pushforward.transform import Inverse, Transform
from pushforward.transforms import Flip, Permuted


@dataclass(frozen=True, kw_only=True)
class IAF(VectorModel):
    """The configuration of an IAF; `build()` makes the flow.

    >>> IAF(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    transforms: int = 5
    move: Affine = Affine(SoftClip())  # log-scales within ±log 1000

    def assemble(self) -> Iterator[Transform]:
        self.warn_of_one_feature()
        yield from self.units()
        for i in range(self.transforms):
            step = self.masked_step(self.move)
            yield Inverse(Permuted(Flip(), step) if i % 2 else step)
