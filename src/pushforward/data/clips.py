"""Clips: windows of frames of videos."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pushforward.arrays import as_tensor, check_number
from pushforward.data.captioned_tars import find_tars, read_recordings
from pushforward.data.captions import read_metadata
from pushforward.data.data import (
    Conditions,
    Data,
    Rows,
    as_conditions,
    context_of,
    digest,
    fingerprinted,
    located,
    named,
    naming,
    row_numbers,
    some_of,
)
from pushforward.data.encoded import LazyImages, Shape
from pushforward.data.npz import find_pack
from pushforward.data.recordings import Recording
from pushforward.data.sources import D, Source, Takes
from pushforward.data.splits import check_captions, is_held_out
from pushforward.data.text_encoders import Embedded, TextEncoder
from pushforward.data.videos import Video, in_memory, open_videos

KEPT_BYTES = 2**30  # of the frames of video files, in memory


class Clips(Data):
    """All windows of `frames` frames of videos, each a row: (n, frames, C, H, W) of uint8.

    A window takes every `every`-th frame from its start on. Row i is a function of i alone: the windows of the first
    video in order of their starts, then those of the second, and so on. Training draws rows by (seed, step), so which
    windows are in a batch is a function of these. `context` has a row for each video: labels, or embeddings; or it is
    a dict of such, by the names of the flow's conditions. Videos are arrays (frames, C, H, W), or decoded when they are
    fetched. Raises ValueError where they are not of one shape, or none is long enough.

    >>> clips = Clips([torch.zeros(5, 3, 8, 8, dtype=torch.uint8)], frames=2, every=2)
    >>> len(clips), clips.fetch([0, 2])[0].shape
    (3, torch.Size([2, 2, 3, 8, 8]))
    """

    def __init__(
        self,
        videos: Sequence[Video | np.ndarray] | np.ndarray | Tensor,
        frames: int,
        *,
        every: int = 1,
        context: Conditions | Embedded = None,
    ):
        if frames < 1 or every < 1:
            raise ValueError(f"a clip has one frame at least, and takes every first, second, …; got {frames}, {every}.")
        found = _as_videos(videos)
        shapes = {tuple(video.shape[1:]) for video in found}
        if len(shapes) != 1 or len(min(shapes)) != 3:
            raise ValueError(f"clips are of one shape (C, H, W); the videos have {sorted(shapes) or 'none'}. Fit them.")
        span = (frames - 1) * every + 1
        counts = torch.tensor([max(0, video.shape[0] - span + 1) for video in found], device="cpu")
        if not counts.sum():
            longest = max(video.shape[0] for video in found)
            raise ValueError(
                f"a clip of {frames} frames, every {every}, spans {span}; the longest video has {longest}."
            )
        self.context: Any = context if isinstance(context, Embedded) else as_conditions(context)
        for name, values in named(self.context):
            if len(values) != len(found):
                raise ValueError(f"give one row of {name} for each of {len(found)} videos; got {tuple(values.shape)}.")
        self.videos, self.frames, self.every = found, frames, every
        self._ends = counts.cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def fetch(self, rows: Rows) -> tuple[Tensor, Any]:
        rows = row_numbers(rows, len(self))
        video, starts = located(rows, self._ends)
        within = self.every * torch.arange(self.frames, device="cpu")
        pairs = zip(video.tolist(), starts.tolist(), strict=True)
        clips = torch.stack([self.videos[v][start + within] for v, start in pairs]) if len(rows) else self.fetch([0])[0]
        return clips[: len(rows)], context_of(self.context, video)

    def fingerprint(self) -> str:
        return digest(self._spread())

    def _spread(self) -> Iterator[object]:
        """What the fingerprint is of: a film is read in parts."""
        yield from (self.frames, self.every)
        some = fingerprinted(len(self.videos))
        yield from () if len(some) == len(self.videos) else (len(self.videos), len(self))
        for video in (self.videos[i] for i in some):
            yield from [video] if isinstance(video, Tensor) else video.spread()
        for name, values in named(self.context):
            yield name
            yield from values.spread() if isinstance(values, Embedded) else [values]


def _as_videos(videos: Any) -> Sequence[Video]:
    """Arrays of frames as tensors; what is decoded when it is fetched stays as it is."""
    if not isinstance(videos, list | tuple | Tensor | np.ndarray):
        return videos
    return [
        video if isinstance(video, LazyImages) else as_tensor(video, f"video {i}") for i, video in enumerate(videos)
    ]


class SourceOfClips(Source[D]):
    """A source of clips of `frames` frames, given the embeddings of their captions where it has a `text`."""

    frames: int
    text: Callable[[Sequence[str]], Tensor] | None = None  # captions -> embeddings (n, tokens, features)


@dataclass(frozen=True)
class ClipSource(SourceOfClips[Data]):
    """Clips of the videos at a path (`data.videos.read_videos`), or of a pack of the folder PUSHFORWARD_DATA.

    The last share `validation` of each video's frames is held out. Given `text`, an encoder, the path is a folder with
    metadata.jsonl, a line {"file_name": "walk.gif", "text": "a red robot walks"} for each video; or of tars, whose
    members are videos, `key.mp4`, and captions, `key.txt` or `key.json`. Then captions are a condition, and a tenth of
    them is held out with all of their videos: which one, is a function of the caption alone. Of clips in tars the
    held-out data are 5,000 at most.

    Videos in files of a folder are decoded into memory where all take 1 GB at most; otherwise, and from tars, windows
    are decoded when they are fetched. Embeddings of captions are those of `data.Captioned`.
    """

    path: str  # or the name of a .npz there; a folder or a pattern of tars
    frames: int  # of a clip
    every: int = 1  # takes every so many-th frame
    validation: float = 0.2
    text: TextEncoder | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    place: ClassVar[str] = "path"

    def __post_init__(self):
        check_number(self.validation, "the share of frames to hold out", above=0, below=1)

    def part(self, takes: Takes, *, held_out: bool) -> Data:
        if self.text is not None:
            return self._captioned(self.text, takes.image, held_out=held_out)
        path = find_pack(self.path)
        with naming(path):
            parts = []
            for video in open_videos(path, image=takes.image):
                rows = torch.arange(video.shape[0], device="cpu")
                first = round(len(rows) * (1 - self.validation))  # of those that are held out
                kept = rows[first:] if held_out else rows[:first]
                parts.append(video[kept] if isinstance(video, Tensor) else video.part(kept))
        with naming(f"{path}, of the frames {'held out' if held_out else 'to learn'}"):
            return Clips(_loaded(parts), self.frames, every=self.every)

    def _captioned(self, text: TextEncoder, image: Shape, *, held_out: bool) -> Data:
        if tars := find_tars(self.path):
            videos, captions = read_recordings(tars, image, held_out=held_out)
            context = Embedded(captions, text, captions.name)
            clips = Clips(videos, self.frames, every=self.every, context=context)
            return some_of(clips) if held_out else clips
        with naming(self.path):
            videos, captions = _in_folder(find_pack(self.path), image, held_out=held_out)
            return Clips(_loaded(videos), self.frames, every=self.every, context=Embedded(captions, text))


def _in_folder(folder: Path, image: Shape, *, held_out: bool) -> tuple[list[Video], list[str]]:
    """The videos that metadata.jsonl of a folder names, and their captions: those to learn, or those held out."""
    pairs = [(file, told) for file, told in zip(*read_metadata(folder), strict=True) if is_held_out(told) == held_out]
    check_captions(len(pairs), "it", held_out=held_out)
    videos = []
    for file, _ in pairs:
        found = open_videos(file, image=image)
        if len(found) != 1:
            raise ValueError(f"a caption is of one video, and {file.name} holds {len(found)}.")
        videos.append(found[0])
    return videos, [told for _, told in pairs]


def _loaded(videos: list[Video]) -> list[Video]:
    """The videos, those of files in memory where they fit."""
    if sum(video.shape.numel() for video in videos if isinstance(video, Recording)) > KEPT_BYTES:
        return videos
    return [in_memory(video) if isinstance(video, Recording) else video for video in videos]
