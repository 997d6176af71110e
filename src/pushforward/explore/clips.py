"""Clips of a flow, frame by frame."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.codecs import CodecConfig, CodedFlow, placed
from pushforward.data import SourceOfClips
from pushforward.explore.gallery import png
from pushforward.explore.latest import Latest
from pushforward.randomness import Keyed
from pushforward.runs.clips import denoised, streamed, window_start
from pushforward.sampling import Sampling

MOST, KEPT = 64, 8  # frames of a clip, and clips that can go on


class Begun(NamedTuple):
    """A clip, so far."""

    text: Tensor | None
    frames: list[Tensor]  # of its event, (1, C, H, W) each, with the noise of the codec
    seen: list[Tensor]  # the same without it, each denoised given those before it
    rest: Iterator[Tensor]


class Clips:
    """Clips of a run, given a prompt where its source has captions."""

    def __init__(self, coded: CodedFlow, source: SourceOfClips, codec: CodecConfig):
        self.coded, self.source, self.codec = coded, source, codec
        self.learned = codec.event_frames(source.frames)  # frames of an event
        self.begun = Latest[tuple[Sampling, int], Begun](KEPT)

    def frame(self, sampling: Sampling, frames: int, k: int) -> dict[str, Any]:
        """The frames that come with frame k of the clip's event, from number `start` on, denoised given those before;
        with the last, all of them, denoised together.

        The event's frames before k are drawn first where they are not yet. Raises ValueError for more frames than the
        run learned where the codec encodes the first one in another way.
        """
        drawn = self.codec.event_frames(frames)
        if drawn > self.learned and not self.codec.frames_alike:  # windows are encoded again
            raise ValueError(
                f"here clips have {self.source.frames} frames at most: pushforward sample draws longer ones."
            )
        clip, k = self.begun.pop((sampling, drawn), None) or self._begin(sampling, drawn), min(k, drawn - 1)
        for i in range(len(clip.frames), k + 1):
            clip.frames.append(next(clip.rest))
            seen = torch.stack(clip.frames[window_start(i, self.learned) :], 1)
            clip.seen.append(self.coded.denoise(seen, clip.text)[:, -1])
        self.begun[sampling, drawn] = clip  # after an error it begins anew
        last = k + 1 == drawn and next(clip.rest, None) is None  # which ends the stream
        x = torch.stack(clip.seen[: k + 1], 1)
        if last:
            x = denoised(self.coded, torch.stack(clip.frames, 1), clip.text, self.learned)
        start = 0 if last else self.codec.data_shape((k, *self.coded.flow.event[1:]))[0]
        shown = placed(self.coded.codec.decode(x)[0].float(), self.coded.codec.levels)
        return {"start": start, "frames": [png(frame) for frame in shown[start:]], "last": last}

    def _begin(self, sampling: Sampling, frames: int) -> Begun:
        text = None if self.source.text is None else self.source.text(sampling.prompt)
        noise = Keyed(sampling.seed, rows=[0])
        return Begun(text, [], [], streamed(self.coded.flow, text, None, self.learned, frames, sampling, noise))
