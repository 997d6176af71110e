"""Normalisation: a shift and a scale, initialised from data, for each feature of a vector or channel of an image.

    z = (x − shift) · exp(−log_scale)

`Flow.initialize` sets them; until then these are the identity. Kingma & Dhariwal 2018 (Glow), arXiv:1807.03039,
section 3.1; Dinh et al. 2017 (Real NVP), arXiv:1605.08803; Papamakarios et al. 2017 (MAF), arXiv:1705.07057.
"""

import torch
from torch import Tensor, nn

from pushforward.conditions import Context
from pushforward.shapes import Events, PerSample, at_least_float32
from pushforward.statistics import Measured, central, moments
from pushforward.transform import Triangular, summed


class ActNorm(Measured, Triangular):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Initialised so that z has mean 0 and standard deviation 1 over a batch, and then learned like other weights.

    `ActNorm(C)` has a shift and a scale for each feature of a vector, or for each channel of an image at all places;
    `ActNorm(C, H, W)` for each element of an image.

    With learned=False shift and scale stay as they were initialised: a flow that begins with one standardises its data.
    Initialised from float64 data they are float64, and so are z and x. With robust=True shift and scale are median and
    half the range of the central 68 %, which outliers do not set; for normal features they are the same.
    Features that do not vary, as in a batch of one, are centred and not scaled.

    >>> norm = ActNorm(2)
    >>> norm.initialize_from(torch.tensor([[1.0, 7.0], [5.0, 7.0]]))
    >>> norm(torch.tensor([[5.0, 8.0]]))[0].detach()
    tensor([[1., 1.]])
    """

    causal = True

    def __init__(self, *features: int, learned: bool = True, robust: bool = False):
        super().__init__()
        self.statistics = central if robust else moments
        for name in ("shift", "log_scale"):
            if learned:
                self.register_parameter(name, nn.Parameter(torch.zeros(features)))
            else:
                self.register_buffer(name, torch.zeros(features))

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        self.tell_if_rounded(x)
        return _forward(x, self.shift, self.log_scale)

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return summed(*_inverse(z, self.shift, self.log_scale))

    def initialize_from(self, x: Events, context: Context | None = None) -> None:
        """Set shift and scale from a batch. Called by `Flow.initialize` alone."""
        self.measure(*self.statistics(x.flatten(1, self.shift.dim())), x.dtype)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shift.shape))


class BatchNorm(Triangular):
    """In training, standardises by the statistics of the batch; in evaluation, by those of `Flow.initialize`.

    As in the papers, the log-det of a training batch treats the batch's statistics as constants, and an event's density
    depends on the other events of the batch. The inverse always uses the statistics of `Flow.initialize`, those of the
    whole training set in Papamakarios et al. 2017. 1e-5 is added to variances. For a learned shift and scale, put an
    `ActNorm` after it.
    """

    shift: Tensor
    log_scale: Tensor

    causal = True

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("log_scale", torch.zeros(features))

    def slopes(self, x: Events, context: Context | None = None) -> tuple[Events, Events]:
        return _forward(x, *(_statistics(x) if self.training else (self.shift, self.log_scale)))

    def inverse(self, z: Events, context: Context | None = None) -> tuple[Events, PerSample]:
        return summed(*_inverse(z, self.shift, self.log_scale))

    @torch.no_grad()
    def initialize_from(self, x: Events, context: Context | None = None) -> None:
        """Set shift and scale from events. Called by `Flow.initialize` alone."""
        for buffer, statistic in zip((self.shift, self.log_scale), _statistics(x), strict=True):
            buffer.copy_(statistic)

    def extra_repr(self) -> str:
        return f"{len(self.shift)}"


def _statistics(x: Events) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the standard deviation, (features,) each, over rows and places."""
    variance, mean = torch.var_mean(at_least_float32(x).transpose(0, 1).flatten(1), 1, correction=0)
    return mean, 0.5 * torch.log(variance + 1e-5)


def _forward(x: Events, shift: Tensor, log_scale: Tensor) -> tuple[Events, Events]:
    """x (batch, features, …) -> z and log-slopes, for parameters of the first dimensions of an event."""
    shift, log_scale = _at_places(shift, log_scale, x)
    log_slopes = -log_scale
    z = (x - shift) * log_slopes.exp()
    return z, log_slopes.expand(z.shape)


def _inverse(z: Events, shift: Tensor, log_scale: Tensor) -> tuple[Events, Events]:
    shift, log_scale = _at_places(shift, log_scale, z)
    x = z * log_scale.exp() + shift
    return x, log_scale.expand(x.shape)


def _at_places(shift: Tensor, log_scale: Tensor, x: Events) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 or wider, and with as many dimensions as an event of x has."""
    shift = at_least_float32(shift)
    shape = (*shift.shape, *(1,) * (x.dim() - 1 - shift.dim()))
    return shift.reshape(shape), log_scale.type_as(shift).reshape(shape)
