"""Videos in files, or in members of tars, whose frames are decoded when they are indexed."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.data import naming
from pushforward.data.encoded import ByteRange, LazyImages, Shape, fitted
from pushforward.optional import require

ANIMATED = (".gif", ".png", ".apng", ".webp")  # what Pillow reads
MOVIES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg")  # what PyAV reads


class Recording(LazyImages):
    """The frames of a video.

    Given `image`, frames are fitted to it. `frames` is their number, where it is known. Raises ValueError, naming the
    file, where it has fewer frames than it says.
    """

    def __init__(self, place: ByteRange, image: Shape | None = None, frames: int | None = None):
        self.place = place
        with naming(place):
            self.rows = torch.arange(self._count() if frames is None else frames, device="cpu")
            if image is None:
                channels, height, width = self._frames([0], None).shape[1:]
                image = channels, height, width
        self.image = image

    def spread(self) -> Iterator[bytes | str]:
        yield str(tuple(self.shape))
        yield from self.place.parts()

    def _decode(self, rows: list[int]) -> Tensor:
        with naming(self.place):
            return self._frames(rows, self.image)

    @abstractmethod
    def _count(self) -> int:
        """The number of frames."""

    @abstractmethod
    def _frames(self, rows: list[int], image: Shape | None) -> Tensor:
        """The frames of these numbers (n, C, H, W), fitted to the image, or as large as they are."""


class Animation(Recording):
    """An animated .gif, .png or .webp, by Pillow: to decode a frame it decodes those before it."""

    def _count(self) -> int:
        with self._opened() as picture:
            frames = getattr(picture, "n_frames", 1)
            for row in range(frames):  # a file that ends early has frames that cannot be decoded
                picture.seek(row)
                picture.load()
        if frames < 2:
            raise ValueError("it is an image of one frame, not an animation. Give a video, or a folder of frames.")
        return frames

    def _frames(self, rows: list[int], image: Shape | None) -> Tensor:
        found = {}
        with self._opened() as picture:
            for row in sorted(set(rows)):
                picture.seek(row)
                found[row] = fitted(picture.copy(), image or (3, picture.height, picture.width))
        return torch.from_numpy(np.stack([found[row] for row in rows]))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        from PIL import Image, UnidentifiedImageError

        try:
            with self.place.open() as file, Image.open(file) as picture:
                yield picture
        except (UnidentifiedImageError, OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"it ends early, or is no image that Pillow reads: {error}") from error


class Movie(Recording):
    """A video file, by PyAV: to decode a frame it decodes those from the key frame before it."""

    @cached_property
    def times(self) -> np.ndarray:
        """When each frame is shown, in the file's unit, in order; empty where the file does not tell it of all."""
        with self._opened() as (container, stream):
            found = [packet.pts for packet in container.demux(stream) if packet.size]
        return np.array([] if None in found else sorted(found), dtype=np.int64)

    def _count(self) -> int:
        with self._opened() as (container, stream):
            told = stream.frames
            frames = len(self.times) or sum(1 for _ in container.decode(stream))
        if not frames:
            raise ValueError("it has no frames.")
        if frames < told:
            raise ValueError(f"it ends early: it says that it has {told} frames, and {frames} can be decoded.")
        return frames

    def _frames(self, rows: list[int], image: Shape | None) -> Tensor:
        keys = self.times[rows].tolist() if len(self.times) else rows  # of the frames: times, or numbers
        wanted = set(keys)
        found: dict[int, np.ndarray] = {}
        with self._opened() as (container, stream):
            if len(self.times):
                container.seek(min(wanted), stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                key = frame.pts if len(self.times) else number
                if key in wanted:
                    picture = frame.to_image()
                    found[key] = fitted(picture, image or (3, picture.height, picture.width))
                if len(found) == len(wanted):
                    break
        if len(found) < len(wanted):
            raise ValueError(f"it ends early: {len(wanted) - len(found)} of {len(wanted)} frames cannot be decoded.")
        if len({picture.shape for picture in found.values()}) > 1:
            raise ValueError("its frames change their size. Give image=(C, H, W) to fit them all to it.")
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The file, and its first video stream."""
        av = require("av", "video")
        try:
            with self.place.open() as file, av.open(file) as container:
                stream = next(iter(container.streams.video), None)
                if stream is None:
                    raise ValueError("it has no video stream.")
                yield container, stream
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"it ends early, or is no video that FFmpeg reads: {error}") from error


def recorded(place: ByteRange, image: Shape | None = None, frames: int | None = None) -> Recording:
    """The video in a file, or in a member of a tar, by its ending. Raises ValueError where that is of no video."""
    ending = (place.member or place.file.name).lower().rpartition(".")[2]
    if f".{ending}" in ANIMATED:
        return Animation(place, image, frames)
    if f".{ending}" in MOVIES:
        return Movie(place, image, frames)
    raise ValueError(f"{place}: videos are .npz, {', '.join((*ANIMATED, *MOVIES))}, or folders of frames.")
