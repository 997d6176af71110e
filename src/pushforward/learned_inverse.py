"""A learned inverse: samples of a flow in one pass of a network, without its inverse solver. They are not exact.

    z = f_n(… f_1(x))        the flow, frozen
    a_1 ≈ f_n⁻¹(z),  a_2 ≈ f_(n−1)⁻¹(a_1),  …,  a_n ≈ x,  a_(n+1) ≈ x without its noise

The network learns all of these at once: its answers are aligned with what the flow makes of data on the way to z
(`objectives.InverseAlignment`). Lu et al. 2025 (BiFlow), arXiv:2512.10953.
"""

import copy
from typing import NoReturn

import torch
from torch import Tensor, nn

from pushforward import conditions
from pushforward.arrays import sizes
from pushforward.bases import Base
from pushforward.conditions import Context, Given, Label, Text
from pushforward.flow import Flow, Shape
from pushforward.networks import InverseTransformer, LabelPrefix, Prefix, TextPrefix
from pushforward.randomness import Source, drawing
from pushforward.shapes import Events, Tokens
from pushforward.transform import flattened, trace
from pushforward.transforms import Patchify, rearranges


class LearnedInverse(nn.Module):
    """The inverse of a flow of patches, TarFlow or STARFlow of a fixed size, as a network learns it.

    The flow is copied and frozen. `depth` is that of each step of the network, which has one more than the flow: the
    last removes the noise of the data. Samples have no density, since the network is not invertible: the flow's own
    `log_prob` says how probable they are under the flow. Raises ValueError for flows of other kinds.

    >>> flow = pf.models.TarFlow(image=(1, 8, 8), patch=2, transforms=2, width=16, depth=1, classes=10).build()
    >>> inverse = LearnedInverse(flow, width=16, depth=1)
    >>> inverse.sample((), torch.arange(10)).shape
    torch.Size([10, 1, 8, 8])
    """

    exact = False  # there is no log-det
    initialized: Tensor | None = None  # no part is initialised from data

    def __init__(self, flow: Flow, *, width: int = 256, depth: int = 2):
        super().__init__()
        patches, *steps = flattened(flow.transform)
        if not isinstance(patches, Patchify):
            raise ValueError(
                "a learned inverse is of a flow whose first transform is Patchify, such as TarFlow, or STARFlow of a "
                f"fixed size; this one starts with {type(patches).__name__}."
            )
        tokens, features = patches.latent_shape(tuple(flow.event))
        count = sum(not rearranges(step) for step in steps)
        self.flow = copy.deepcopy(flow).eval().requires_grad_(False)
        net = InverseTransformer(
            features, tokens=tokens, width=width, depth=depth, steps=count + 1, prefix=_prefix(flow, width)
        )
        self.net = net.to(flow.device)

    @property
    def device(self) -> torch.device:
        return self.flow.device

    @property
    def event(self) -> tuple[int, ...]:
        return self.flow.event

    @property
    def base(self) -> Base:
        return self.flow.base

    @torch.no_grad()
    def decode(self, z: Events, context: Given = None) -> Events:
        """z (batch, *latent) -> an estimate of the x that the flow decodes it to, without noise, (batch, *event)."""
        return self._decoded(z, conditions.rows(self.flow.embedded(self.flow.context(context)), (len(z),)))

    @drawing
    @torch.no_grad()
    def sample(
        self, shape: Shape = (), context: Given = None, *, temperature: float = 1.0, generator: Source = None
    ) -> Events:
        """Draws without noise, of shape (*shape, *batch, *event), in one pass; otherwise as `Flow.sample`."""
        given = self.flow.embedded(self.flow.context(context))
        batch = sizes(shape) + conditions.batch_shape(given)
        rows = conditions.rows(given, batch)
        z = self.base.sample(batch.numel(), rows, temperature=temperature, generator=generator)
        return self._decoded(z, rows).reshape((*batch, *self.event))

    def log_prob(self, x: Events, context: Given = None) -> NoReturn:
        """Raises TypeError: a learned inverse has no density."""
        raise TypeError(
            "a learned inverse has no density: its network is not invertible. Score events by the flow that it learned "
            "from, flow.log_prob, which is exact; that is not the density of these samples."
        )

    @torch.no_grad()
    def states(self, x: Events, context: Context) -> list[Tokens]:
        """What the flow makes of x (batch, *event): its patches, and the tokens after each of its steps."""
        steps = [step for step in trace(self.flow.transform, x, context) if not rearranges(step.transform)]
        return [self.tokens(x), *(step.z for step in steps)]

    def tokens(self, x: Events) -> Tokens:
        """The patches of an image, or the tokens of a latent."""
        return x if x.dim() == 3 else self._patches.arrange(x)

    @property
    def _patches(self) -> Patchify:
        return next(flattened(self.flow.transform))  # pyright: ignore[reportReturnType]

    def _decoded(self, z: Events, context: Context) -> Events:
        return self._patches.restore(self.net(self.tokens(z), context)[-1])


def _prefix(flow: Flow, width: int) -> Prefix | None:
    match list(flow.conditions.items()):
        case []:
            return None
        case [(name, Label(classes))]:
            return LabelPrefix(classes, width, name=name)
        case [(name, Text(tokens, features))]:
            return TextPrefix(tokens, features, width, name=name)
    raise ValueError(f"a learned inverse reads one label or one text; this flow has {', '.join(flow.conditions)}.")
