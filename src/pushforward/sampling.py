"""Samples of a flow with a codec, a batch at a time, each with its own generator."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs import Codec, CodedFlow, DenoiserKind
from pushforward.data.data import check_several
from pushforward.flow import Flow
from pushforward.guidance import GaussianProduct, Linear
from pushforward.randomness import Keyed
from pushforward.shapes import Events


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How samples are drawn."""

    label: int | str | None = None  # of all samples, for a run also by name; −1: the null label; left out: all in turn
    prompt: tuple[str, ...] = ()  # what pictures of a run on captions show, "" for anything; or how texts begin
    length: int | None = None  # of texts, in tokens after the prompt; left out: to the end of a window
    gap: str = ""  # a mark in the prompts, such as "_", in whose place `length` tokens are drawn; left out: none
    guidance: float = 0.0  # weight of guidance; 0: none
    guidance_rule: Literal["linear", "product"] = "linear"  # `guidance.Linear`, or `guidance.GaussianProduct`
    attention_temperature: float = 1.0  # of the network that guidance subtracts; other than 1, no labels are needed
    temperature: float = 1.0  # of the base's noise
    denoise: DenoiserKind = "score"  # what takes out Gaussian noise of the codec: see `CodedFlow.denoised_by`
    frames: int | None = None  # of a clip; left out: as many as the run learned
    first_frame: str | None = None  # an image with which clips begin
    sweeps: bool = False  # draw the patches of a frame at once, in Jacobi sweeps that begin with the frame before
    seed: int = 0
    batch: int = 64

    def __post_init__(self):
        for name, least in (("temperature", 0), ("guidance", 0), ("batch", 1), ("frames", 1)):
            if (number := getattr(self, name)) is not None:
                check_number(number, name, least=least)
        check_number(self.attention_temperature, "attention_temperature", above=0)
        check_several(self.prompt, "prompts")
        if self.guidance_rule not in ("linear", "product"):
            raise ValueError(f"the rule of guidance is linear or product; got {self.guidance_rule!r}.")

    def guided(self, flow: Flow) -> Flow:
        """The flow with this guidance; itself where the weight is 0."""
        if not self.guidance:
            return flow
        rule = GaussianProduct() if self.guidance_rule == "product" else Linear()
        return flow.guided(self.guidance, rule=rule, attention_temperature=self.attention_temperature)


class Drawn(NamedTuple):
    """A batch of samples."""

    events: Events  # (n, *event), without the codec's noise where that is taken out of events
    labels: Tensor | None  # (n,)
    codec: Codec

    @property
    def data(self) -> Tensor:
        """What the codec makes of the events: integers of images, rows of a table."""
        return self.codec.decode(self.events)

    @property
    def finite(self) -> Tensor:
        """Which samples are finite, (n,) of bool."""
        return self.events.flatten(1).isfinite().all(1)


def samples(
    coded: CodedFlow, sampling: Sampling = Sampling(), context: Tensor | None = None, *, start: int = 0, stop: int
) -> Iterator[Drawn]:
    """Samples `start` … `stop` − 1, a batch at a time, their noise taken out as `sampling.denoise` says.

    Sample i is drawn with the generator of (seed, i): to rounding, it does not depend on its batch.
    `context`, where the flow is conditioned on a vector or a text, has a row for each sample, from sample 0 on.
    """
    coded, how = coded.denoised_by(sampling.denoise), sampling
    flow = coded.flow
    if how.label is not None and (isinstance(how.label, str) or not -1 <= how.label < flow.classes):
        takes = f"has {flow.classes} classes: give 0 … {flow.classes - 1}, or −1" if flow.classes else "takes no label"
        raise ValueError(f"the flow {takes}; got label {how.label!r}.")
    guided = how.guided(flow)
    for numbers in torch.arange(start, stop, device="cpu").split(how.batch):
        labels = None
        if flow.classes:
            labels = numbers % flow.classes if how.label is None else torch.full_like(numbers, how.label)
        given = labels if context is None else context[numbers]
        shape = (len(numbers),) if given is None else ()
        noise = Keyed(how.seed, rows=numbers.tolist())
        x = guided.sample(shape, given, temperature=how.temperature, generator=noise)
        yield Drawn(coded.denoise(x, given), labels, coded.codec)
