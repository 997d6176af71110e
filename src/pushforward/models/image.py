"""The base class of models of images: the label, and the map from pixels to the real line."""

from abc import abstractmethod
from collections.abc import Iterator
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
    def assemble(self) -> Iterator[Transform]:
        """The transforms from x to z."""

    def build(self) -> Flow:
        conditions = {"label": Label(self.classes)} if self.classes else {}
        chain = Chain(*self.assemble())
        base = StandardNormal(*chain.latent_shape(self.image))
        flow = Flow(chain, base, event=self.image, conditions=conditions, objective=self.objective)
        # the layout in which convolutions are fastest, on CPUs too
        return flow.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @property
    def miniature(self) -> Shape:
        """The image shape of `small()`."""
        return (self.image[0], 8, 8)

    def context_encoder(self, width: int) -> LabelEmbedding | None:
        """A fresh encoder of the label, (batch, width), for one network."""
        return LabelEmbedding(self.classes, width) if self.classes else None

    def logits(self) -> Transform:
        """From pixels x in [−1, 1] to the real line: z = logit(0.05 + 0.9 (x + 1) / 2), finite at both ends.

        Dinh et al. 2017 (Real NVP), arXiv:1605.08803, section 4.1, in the symmetric form of the authors' code.
        """
        return Unconstrain([Interval(-1 / 0.9, 1 / 0.9)] * self.image[0])

    def halved(self, times: int) -> None:
        """Raise ValueError where height and width cannot be halved `times` times."""
        if self.image[1] % 2**times or self.image[2] % 2**times:
            raise ValueError(
                f"this flow halves height and width {times} times, which an image of {self.image[1]} × {self.image[2]} "
                "does not allow. Crop or pad the images, or use fewer levels."
            )
