"""Transforms of clips: frame by frame, and of all frames as one sequence."""

from collections.abc import Iterator

from pushforward.conditions import Context
from pushforward.shapes import Events, InParts, PerSample
from pushforward.transform import Diagnosis, Triangular


class Framewise(Triangular):
    """Applies `step` to each frame of a clip (B, F, …) as a row of its own. `step` is given no context.

    >>> from pushforward.transforms import Patchify
    >>> Framewise(Patchify((3, 8, 8), patch=4))(torch.zeros(1, 5, 3, 8, 8))[0].shape
    torch.Size([1, 5, 4, 48])
    """

    causal = True

    def __init__(self, step: Triangular):
        super().__init__()
        self.step = step

    def latent_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        return event[0], *self.step.latent_shape(event[1:])

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z, log_slopes = self.step.slopes(x.flatten(0, 1))
        return z.unflatten(0, x.shape[:2]), log_slopes.unflatten(0, x.shape[:2])

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x, log_det = self.step.inverse(z.flatten(0, 1))
        return x.unflatten(0, z.shape[:2]), log_det.unflatten(0, z.shape[:2]).sum(1)

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        return (self.decode(part) for part in z)

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        return self.step.diagnose(x.flatten(0, 1), z.flatten(0, 1))


class InSequence(Triangular):
    """Applies `step` to the tokens of all frames as one sequence: (B, F, T, D) is (B, F · T, D), frame after frame."""

    def __init__(self, step: Triangular):
        super().__init__()
        self.step = step

    @property
    def causal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.step.causal

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        z, log_slopes = self.step.slopes(x.flatten(1, 2), context)
        return z.unflatten(1, x.shape[1:3]), log_slopes.unflatten(1, x.shape[1:3])

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        x, log_det = self.step.inverse(z.flatten(1, 2), context)
        return x.unflatten(1, z.shape[1:3]), log_det

    def stream(self, z: InParts, context: Context | None = None, known: Events | None = None) -> Iterator[Events]:
        tokens = 0

        def sequences() -> Iterator[Events]:
            nonlocal tokens
            for part in z:
                tokens = part.shape[2]
                yield part.flatten(1, 2)

        known = None if known is None else known.flatten(1, 2)
        for part in self.step.stream(sequences(), context, known):
            yield part.unflatten(1, (-1, tokens))

    def diagnose(self, x: Events, z: Events, context: Context | None = None) -> Diagnosis | None:
        return self.step.diagnose(x.flatten(1, 2), z.flatten(1, 2), context)
