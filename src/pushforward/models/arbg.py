"""ArBG = causal transformer × histogram × one autoregressive step, over the features of a vector, a token each.

    p(x) = prod_i p(x_i | x_0 … x_{i−1}, context)        each factor a histogram with normal tails

It is a language model of binned values, and uniform in each bin. So it has no difficulty with disjoint modes, which a
continuous map of one Gaussian cannot separate; its density jumps at the knots. A learned token, and a token of the
context before it, precede the first feature.

"ArBG", 2026, arXiv:2606.27361, of coordinates of molecules: there 1024 bins or more on [−3, 3], without tails.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pushforward.models.vector import VectorModel
from pushforward.moves import Histogram
from pushforward.networks import LabelPrefix, LayerOptions, Learned, PrefixTransformer, VectorPrefix
from pushforward.transform import Transform
from pushforward.transforms import Autoregressive, Permuted, Regroup, numbered


@dataclass(frozen=True, kw_only=True)
class ArBG(VectorModel):
    """The configuration of an ArBG; `build()` makes the flow. `hidden` has a width for each layer, all equal.

    Bins lie on features in units of mean 0 and deviation 1.

    >>> ArBG(features=6, context=2).build().sample((), torch.zeros(4, 2)).shape
    torch.Size([4, 6])
    """

    hidden: tuple[int, ...] = (64, 64, 64)
    move: Histogram = Histogram(bins=64, bound=4.0)

    def __post_init__(self):
        super().__post_init__()
        if not self.hidden or len(set(self.hidden)) > 1:
            raise ValueError(f"a transformer has one layer or more, all of one width; got hidden={self.hidden}.")

    def assemble(self) -> Iterator[Transform]:
        yield from self.units()
        tokens = Regroup(numbered((self.features,))[:, None], (self.features,))
        yield Permuted(tokens, Autoregressive(self._network(), self.move))

    def _network(self) -> PrefixTransformer:
        width, prefix = self.hidden[0], None
        if self.context:
            prefix = VectorPrefix(self.context, width, robust=self.robust)
        elif self.classes:
            prefix = LabelPrefix(self.classes, width)
        return PrefixTransformer(
            1,
            self.move.raw_shape(1),
            positions=Learned(self.features, width, prefix=0 if prefix is None else 1),
            width=width,
            depth=len(self.hidden),
            options=LayerOptions(head=16),
            prefix=prefix,
        )
