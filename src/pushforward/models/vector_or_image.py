"""The base class of models that exist for vectors and for images."""

from typing import Any

from pushforward.flow import Flow
from pushforward.models.image import ImageModel
from pushforward.models.model import Model
from pushforward.models.vector import VectorModel


class VectorOrImage(Model):
    """One name for two models: `features=` makes the model of vectors, `image=` the model of images.

    `Glow(features=6)` is a `VectorGlow`, and `Glow(image=(3, 32, 32))` an `ImageGlow`, as `pathlib.Path` makes a
    `PosixPath`. The two are the subclasses of `Glow` that are a `VectorModel` and an `ImageModel`.
    """

    def __new__(cls, *given: Any, **fields: Any):
        if VectorOrImage not in cls.__bases__:
            return super().__new__(cls, *given, **fields)
        if ("features" in fields) == ("image" in fields):
            raise TypeError(
                f"{cls.__name__} takes features=D for vectors, or image=(C, H, W) for images, and not both; got "
                f"{', '.join(map(str, [*given, *fields])) or 'neither'}."
            )
        kind = VectorModel if "features" in fields else ImageModel
        model = next(model for model in cls.__subclasses__() if issubclass(model, kind))
        return super().__new__(model, *given, **fields)

    def build(self) -> Flow:
        return super().build()  # of VectorModel or ImageModel # pyright: ignore[reportAbstractUsage]
