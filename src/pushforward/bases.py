"""Base distributions of the latent z."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.randomness import Source, draw
from pushforward.shapes import Events, PerSample, spread, sum_event


class Base(nn.Module, ABC):
    """A distribution over latents of shape `event`: a density and a sampler."""

    event: tuple[int, ...]  # None where an axis is open

    @property
    def standard(self) -> bool:
        """Whether the elements of z are independent and standard normal."""
        return False

    @abstractmethod
    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        """log p(z | context), in nats, (batch,)."""

    @abstractmethod
    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        """Draws of this shape, (n, *event), one for each row of the context if there is one."""

    def sample(
        self,
        n: int,
        context: Context | None = None,
        *,
        event: tuple[int, ...] | None = None,
        temperature: float = 1.0,
        generator: Source = None,
    ) -> Events:
        """n draws, (n, *event), multiplied by `temperature`.

        `event` is the shape of one draw, for a base whose own `event` has open axes. Raises ValueError where the
        temperature is negative or not finite.
        """
        check_number(temperature, "temperature", least=0)
        return temperature * self.noise((n, *(event or self.event)), context, generator)

    def extra_repr(self) -> str:
        return f"event={tuple(self.event)}"

    @abstractmethod
    def observe(self, z: Events, weights: PerSample | None = None) -> None:
        """Update statistics with the latents of a training batch, and the weights of its rows, of mean 1 over the data.

        Called by the trainer alone, after each step.
        """


class Fixed(Base):
    """A base without parameters: neither learned nor estimated from latents."""

    like: Tensor

    def __init__(self, *event: int | None):
        super().__init__()
        self.event = event  # pyright: ignore[reportAttributeAccessIssue]
        self.register_buffer("like", torch.zeros(()), persistent=False)  # only its dtype and device are read

    def observe(self, z: Events, weights: PerSample | None = None) -> None:
        pass


class StandardNormal(Fixed):
    """Independent standard normal elements.

    >>> StandardNormal(2, 3).log_prob(torch.zeros(1, 2, 3))
    tensor([-5.5136])
    """

    @property
    def standard(self) -> bool:
        return type(self) is StandardNormal  # a subclass may have another density

    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        return -0.5 * sum_event(z.square() + math.log(2 * math.pi))

    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        return draw(torch.randn, shape, self.like, generator)


class StandardLogistic(Fixed):
    """Independent standard logistic elements: log p = −softplus(z) − softplus(−z) each, with a score in (−1, 1).

    Dinh et al. 2015 (NICE), arXiv:1410.8516.

    >>> StandardLogistic(2).log_prob(torch.zeros(1, 2))
    tensor([-2.7726])
    """

    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        return sum_event(F.logsigmoid(z) + F.logsigmoid(-z))

    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        u = draw(torch.rand, shape, self.like, generator)
        return torch.logit(u, eps=torch.finfo(u.dtype).eps)


class UniformAngle(Fixed):
    """Independent angles, uniform on [−π, π). Angles a full turn apart are the same. At infinity the density is 0.

    >>> UniformAngle(2).log_prob(torch.zeros(1, 2))
    tensor([-3.6758])
    """

    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        return sum_event(torch.where(z.isinf(), -math.inf, 0 * z - math.log(2 * math.pi)))  # NaN stays NaN

    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        return math.pi * (2 * draw(torch.rand, shape, self.like, generator) - 1)


class Concatenated(Base):
    """The first features of a vector have the base `first`, the others `rest`, independently.

    >>> Concatenated(UniformAngle(1), StandardNormal(2)).sample(5).shape
    torch.Size([5, 3])
    """

    def __init__(self, first: Base, rest: Base):
        super().__init__()
        self.first, self.rest = first, rest
        self.event = (first.event[0] + rest.event[0],)

    @property
    def standard(self) -> bool:
        return self.first.standard and self.rest.standard

    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        first, rest = self._apart(z)
        return self.first.log_prob(first, context) + self.rest.log_prob(rest, context)

    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        parts = [base.noise((shape[0], *base.event), context, generator) for base in (self.first, self.rest)]
        return torch.cat(parts, 1)

    def observe(self, z: Events, weights: PerSample | None = None) -> None:
        for base, part in zip((self.first, self.rest), self._apart(z), strict=True):
            base.observe(part, weights)

    def _apart(self, z: Events) -> tuple[Events, Events]:
        return z.tensor_split(self.first.event, 1)  # pyright: ignore[reportReturnType]


class ObservedNormal(Base):
    """Independent centred normal elements, whose variances are estimated from latents and not learned by gradient.

    For given latents, of weights w, the likelihood is greatest at variance = mean w z², so `observe` moves towards it:

        variance <- (1 − rate) · variance + rate · mean over the batch of w · z²

    Zhai et al. 2024 (TarFlow), arXiv:2412.06329, for volume-preserving flows, rate 0.1.
    """

    variance: Tensor

    def __init__(self, *event: int, rate: float = 0.1):
        super().__init__()
        check_number(rate, "rate", above=0, most=1)
        self.event, self.rate = event, rate
        self.register_buffer("variance", torch.ones(event))

    def log_prob(self, z: Events, context: Context | None = None) -> PerSample:
        return -0.5 * sum_event(z.square() / self.variance + torch.log(2 * math.pi * self.variance))

    def noise(self, shape: tuple[int, ...], context: Context | None, generator: Source) -> Events:
        return self.variance.sqrt() * draw(torch.randn, shape, self.variance, generator)

    @torch.no_grad()
    def observe(self, z: Events, weights: PerSample | None = None) -> None:
        squares = z.square() if weights is None else spread(weights, z) * z.square()
        self.variance.lerp_(squares.mean(0).to(self.variance.dtype), self.rate)
