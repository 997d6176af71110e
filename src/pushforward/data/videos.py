"""Videos read from files and folders: each is (frame, C, H, W) of uint8."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.data.encoded import ByteRange, Encoded, LazyImages, Shape, stacked
from pushforward.data.folders import ENDINGS
from pushforward.data.npz import reading
from pushforward.data.recordings import ANIMATED, MOVIES, Recording, recorded
from pushforward.optional import require

Video = Tensor | LazyImages  # frames in memory, or decoded when they are indexed
ARRAYS = ("clips", "videos", "frames", "video")  # of a .npz file


def read_videos(path: str | Path, *, image: Shape | None = None) -> list[Video]:
    """The videos at a path, in the order of their names.

        clips.npz          an array `clips` (n, F, H, W, C) or (n, F, C, H, W), or `frames`, of one video; or `delta`,
                           the differences of its frames modulo 256
        walk.gif           an animated .gif, .png or .webp
        walk.mp4           a video file, by PyAV (`pip install 'pushforward[video]'`)
        folder             of images, the frames of one video by their names; of such folders; or of files as above

    Given `image`, (C, H, W), frames are scaled to cover it, cropped to its centre, and made grey or colour. Raises
    FileNotFoundError where there is nothing, and ValueError, naming the file, where it cannot be read to its end, has
    no frames, or has frames of several sizes.
    """
    return [in_memory(video) if isinstance(video, Recording) else video for video in open_videos(path, image=image)]


def in_memory(video: Video) -> Tensor:
    """All frames of a video."""
    return video if isinstance(video, Tensor) else video[torch.arange(video.shape[0], device="cpu")]


def open_videos(path: str | Path, *, image: Shape | None = None) -> list[Video]:
    """The same as `read_videos`, but frames of files are decoded when they are indexed."""
    path = Path(path)
    if path.is_dir():
        return _in_folder(path, image)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}.")
    if path.suffix == ".npz":
        with reading(path) as arrays:
            return _in_arrays(arrays, image)
    return [recorded(ByteRange(path), image)]


def _in_folder(path: Path, image: Shape | None) -> list[Video]:
    inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    frames = [entry for entry in inside if entry.suffix.lower() in ENDINGS]
    others = [entry for entry in inside if entry.is_dir() or entry.suffix.lower() in (".npz", *MOVIES)]
    if frames and others:
        raise ValueError(f"{path} holds images, the frames of a video, and also {others[0].name}. Move one of them.")
    if frames and all(_is_animated(frame) for frame in frames):
        return [video for frame in frames for video in open_videos(frame, image=image)]
    if frames:
        return [Encoded([*map(ByteRange, frames)], image=image)]
    if not others:
        raise ValueError(f"there are no frames in {path}: it holds no image, video or folder of them.")
    return [video for entry in others for video in open_videos(entry, image=image)]


def _is_animated(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() not in ANIMATED:
        return False
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except UnidentifiedImageError:
        return False


def _in_arrays(arrays: Mapping[str, np.ndarray], image: Shape | None) -> list[Video]:
    if "delta" in arrays:
        found = np.cumsum(arrays["delta"], axis=0, dtype=np.uint8)
    else:
        name = next((name for name in ARRAYS if name in arrays), None)
        if name is None:
            raise ValueError(f"it has the arrays {', '.join(arrays)}; expected one of {', '.join(ARRAYS)}.")
        found = arrays[name]
    if found.dtype != np.uint8 or found.ndim not in (4, 5) or 0 in found.shape:
        raise ValueError(
            f"videos are uint8 of shape (n, frames, H, W, C), or (frames, H, W, C) for one; got {found.dtype} of "
            f"{found.shape}."
        )
    if found.shape[-1] not in (1, 3):
        found = np.moveaxis(found, -3, -1)
    if found.shape[-1] not in (1, 3):
        raise ValueError(f"frames have 1 or 3 channels, first or last; these are of shape {found.shape[-3:]}.")
    return [stacked(video, image) for video in (found if found.ndim == 5 else found[None])]


def write_video(frames: Sequence[Tensor] | Tensor, path: str | Path, *, rate: float = 8.0) -> None:
    """Write frames (F, C, H, W) of uint8 as an animated .gif, .png or .webp, or by PyAV as another video.

    `rate` is in frames per second. Raises ValueError where there are no frames or the ending is of no such file.
    """
    from PIL import Image

    path = Path(path)
    check_video(path)
    if not len(frames):
        raise ValueError(f"{path}: a video has one frame at least.")
    check_number(rate, "rate, in frames per second,", above=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [frame.permute(1, 2, 0).expand(-1, -1, 3).contiguous().numpy() for frame in frames]
    if path.suffix.lower() in ANIMATED:
        first, *others = (Image.fromarray(array) for array in arrays)
        options: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
        first.save(path, save_all=True, append_images=others, duration=round(1000 / rate), loop=0, **options)
        return
    av = require("av", "video")
    height, width = arrays[0].shape[:2]
    even = (height + height % 2, width + width % 2)  # as most encoders need
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264" if path.suffix.lower() != ".webm" else "vp9", rate=round(rate))
        stream.height, stream.width, stream.pix_fmt = *even, "yuv420p"
        for array in arrays:
            padded = np.pad(array, ((0, even[0] - height), (0, even[1] - width), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
        container.mux(stream.encode())


def check_video(path: str | Path) -> None:
    """Raise ValueError where the ending is of no video, ModuleNotFoundError where what writes it is missing."""
    ending = Path(path).suffix.lower()
    if ending not in (*ANIMATED, *MOVIES):
        raise ValueError(f"{path} does not end as a video does: give a name that ends in .gif, .png, .webp or .mp4.")
    if ending in MOVIES:
        require("av", "video")
