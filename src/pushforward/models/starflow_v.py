"""STARFlow-V = STARFlow over clips: shallow steps within each frame, and a deep step over the tokens of all frames.

    x -> patches of each frame -> shallow steps, each frame alone -> deep step, frame after frame -> latents

The latents of a frame depend on this frame and on earlier ones, u_n = shallow(x_n) on x_n alone:

    p(x_0 … x_N | conditions) = prod over n of p_deep(u_n | u_0 … u_{n−1}, conditions) · |det du_n / dx_n|

So samples are decoded frame by frame (`flow.stream`), and clips of any number of frames have a density. Where tokens
are in reverse order they are so within each frame.

Gu et al. 2025, "STARFlow-V: End-to-End Video Generative Modeling with Normalizing Flow", arXiv:2511.20462.
"""

from dataclasses import dataclass

from pushforward.bases import StandardNormal
from pushforward.conditions import Kind, Number
from pushforward.flow import Flow
from pushforward.models.deep_shallow import DeepShallow
from pushforward.networks import NumberPrefix, Prefix, Prefixes
from pushforward.transform import Chain, Triangular
from pushforward.transforms import Flip, Framewise, Gridded, InSequence, Permuted, Unpatchify


@dataclass(frozen=True, kw_only=True)
class STARFlowV(DeepShallow):
    """The configuration of a STARFlow-V; `build()` makes the flow. Events are clips (frames, channels, height, width).

    `image` is the shape of a frame. The number of frames is open, or it is `frames`. Conditions beside text or class
    are real numbers by name, such as "noise", the deviation of noise in the latents, and "rate", the frames per second.

    >>> flow = STARFlowV(image=(4, 4, 4), width=64, depths=(1, 1, 2), text=(6, 10), numbers=("rate",)).build()
    >>> flow.sample(2, {"text": None, "rate": 8.0}, size=(3, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    frames: int | None = None  # of every clip; None: any number
    numbers: tuple[str, ...] = ()  # names of the real numbers that it is conditioned on

    def build(self) -> Flow:
        patches = self.patches()
        steps = map(self._step, range(len(self.depths)))
        chain = Chain(Framewise(patches), *steps, Framewise(Unpatchify(patches)))
        return Flow(
            Gridded(chain) if None in self.image else chain,
            StandardNormal(self.frames, *self.image),
            event=(self.frames, *self.image),
            conditions=self.conditions(),
        )

    def _step(self, index: int) -> Triangular:
        if self.is_deep(index):
            deep = InSequence(self.autoregressive(index, frames=None))
            return Permuted(Flip(axis=2), deep) if self.is_reversed(index) else deep
        shallow = self.autoregressive(index)
        return Framewise(Permuted(Flip(), shallow) if self.is_reversed(index) else shallow)

    def conditions(self) -> dict[str, Kind]:
        return super().conditions() | {name: Number() for name in self.numbers}

    @property
    def prefix_tokens(self) -> int:
        return super().prefix_tokens + len(self.numbers)

    def prefix(self, width: int) -> Prefix | None:
        first, numbers = super().prefix(width), [NumberPrefix(width, name=name) for name in self.numbers]
        return Prefixes(*([] if first is None else [first]), *numbers) if numbers else first  # pyright: ignore[reportArgumentType]
