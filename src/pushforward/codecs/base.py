"""The contract of a codec, and the codec of data that are events already."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.flow import Flow
from pushforward.randomness import Source, keyed
from pushforward.shapes import Events, PerSample


class CodecConfig(ABC):
    """The codec of a recipe: a codec itself where it has no weights, else the configuration of one."""

    levels: int  # the data are integers 0 … levels − 1; 0: real numbers, or columns of both kinds
    frames_alike: bool = True  # whether the first frame of a clip is encoded as the later ones are

    @abstractmethod
    def build(self) -> Codec:
        """The codec, with random weights if it has any."""

    def small(self, image: tuple[int, ...] | None = None) -> CodecConfig:
        """The same in miniature, for images of this shape: what a test can train."""
        return self

    def data_shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of data whose events have this shape."""
        return event

    def event_frames(self, frames: int) -> int:
        """How many frames the events of clips of so many frames have."""
        return frames


class Codec(CodecConfig):
    """Encodes data as random events, and decodes events to data.

    `unit` is the unit of a bound on log P(data): "nats" an event, or bits or nats for each of the `count` elements of a
    row.
    """

    unit: str = "nats"
    quantity: str = "bound on log P"  # what `CodedFlow.bound` gives
    noise_sigma: float | None = None  # of Gaussian noise, which a flow's score can remove; None: there is none

    def build(self) -> Codec:
        return self

    @abstractmethod
    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        """data -> x, log_q: a draw, and log q(x | data) − log P(data | x) in nats, (batch,)."""

    @abstractmethod
    def decode(self, x: Events) -> Tensor:
        """x -> the data that it encodes."""

    def clean(self, data: Tensor) -> Events:
        """data -> the centre of the events that decode to them, without noise; by default a draw from a fixed seed."""
        return self.encode(data, keyed(0))[0]

    def prepare(self, data: Tensor) -> Tensor:
        """What `encode` computes of the data before it draws anything: it takes this as it takes the data."""
        return data

    def prepares_by(self) -> tuple[object, ...]:
        """The networks and values that decide what `prepare` computes, by which a cache is named; by default all."""
        return (self,)

    def join(self, flow: Flow) -> None:
        """Share weights with the flow of an objective, where codec and flow have some in common."""

    def initialize(self, data: Tensor, generator: Source = None) -> None:
        """Data-dependent initialisation, where the codec has weights that need it."""

    def decoding_error(self, x: Events, data: Tensor) -> PerSample | None:
        """The error, on events x of these data, of a decoder trained beside the flow, (batch,); None: there is none."""
        return None

    def count(self, data: Tensor) -> Tensor:
        """How many elements a bound is divided by, (batch,) float: those of the data; 1 where the unit is "nats"."""
        elements = 1 if self.unit == "nats" else data.shape[1:].numel()
        return torch.full((len(data),), float(elements), device=data.device)

    def in_unit(self, log_p: PerSample, data: Tensor) -> PerSample:
        """log P in nats -> −log P / count in the codec's unit, (batch,). A lower bound becomes an upper one."""
        nats = -log_p / self.count(data).to(log_p)
        return nats / math.log(2) if self.unit.startswith("bits") else nats


@dataclass(frozen=True)
class Identity(Codec):
    """For data that are events already: nothing is drawn, and a bound is the density itself.

    >>> Identity().encode(torch.tensor([[0.5, 1.5]]))
    (tensor([[0.5000, 1.5000]]), tensor([0.]))
    """

    levels: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    quantity: ClassVar[str] = "log p"  # pyright: ignore[reportIncompatibleVariableOverride]

    def encode(self, data: Tensor, generator: Source = None) -> tuple[Events, PerSample]:
        return data, data.new_zeros(len(data))

    def decode(self, x: Events) -> Tensor:
        return x

    def clean(self, data: Tensor) -> Events:
        return data
