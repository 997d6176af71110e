"""What the models of images share: what they are conditioned on, and how pixels come to the real line."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch

from pushforward.bases import StandardNormal
from pushforward.conditions import Label
from pushforward.flow import Flow
from pushforward.models.model import Model
from pushforward.networks import LabelEmbedding
from pushforward.transform import Chain, Transform
from pushforward.transforms import Interval, Unconstrain

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True, kw_only=True)
class ImageModel(Model):
    """A flow over images on [−1, 1], unconditional or conditioned on a label."""

    image: Shape
    classes: int = 0  # of the label; 0: unconditional

    @abstractmethod
    def transforms(self) -> list[Transform]:
        """From image to latent."""

    @property
    @abstractmethod
    def latent(self) -> tuple[int, ...]:
        """The shape of one latent."""

    def build(self) -> Flow:
        conditions = {"label": Label(self.classes)} if self.classes else {}
        flow = Flow(Chain(*self.transforms()), StandardNormal(*self.latent), event=self.image, conditions=conditions)
        return flow.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - convolutions are faster so, on CPUs too

    def context_encoder(self, width: int) -> LabelEmbedding | None:
        """A network's own projection of the label."""
        return LabelEmbedding(self.classes, width) if self.classes else None

    def logits(self) -> Transform:
        """Pixels x to the real line, by the logit of 0.05 + 0.9 (x + 1) / 2: ends of [−1, 1] stay finite.

        Dinh et al. 2017 (Real NVP), arXiv:1605.08803, section 4.1, in the symmetric form of the authors' code.
        """
        return Unconstrain([Interval(-1 / 0.9, 1 / 0.9)] * self.image[0])

    def halved(self, times: int) -> None:
        """Raise ValueError where height and width cannot be halved so often."""
        if self.image[1] % 2**times or self.image[2] % 2**times:
            raise ValueError(
                f"this flow halves height and width {times} times, and an image of {self.image[1]} × {self.image[2]} "
                "cannot be halved so often. Crop or pad the images, or take fewer levels."
            )
