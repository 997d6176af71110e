"""Clips of a flow, frame by frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow
from pushforward.data import SourceOfClips
from pushforward.explore.gallery import png
from pushforward.randomness import Keyed
from pushforward.runs.clips import denoised, streamed, window_start
from pushforward.sampling import Sampling

MOST, KEPT = 64, 8  # frames of a clip, and clips that can go on


class Begun(NamedTuple):
    """A clip, so far."""

    text: Tensor | None
    frames: list[Tensor]  # (1, C, H, W) each, with the noise of the codec
    rest: Iterator[Tensor]


class Clips:
    """Clips of a run, given a prompt where its source has captions."""

    def __init__(self, coded: CodedFlow, source: SourceOfClips):
        self.coded, self.source, self.learned = coded, source, source.frames
        self.begun: OrderedDict[tuple[Sampling, int], Begun] = OrderedDict()

    def frame(self, sampling: Sampling, frames: int, k: int) -> dict[str, Any]:
        """Frame k of a clip, denoised given those before it; with the last frame all of them, denoised together.

        The frames before k are drawn first where they are not yet.
        """
        key = sampling, frames
        clip = self.begun.pop(key, None) or self._begin(*key)
        while len(clip.frames) <= k:
            clip.frames.append(next(clip.rest))
        self.begun[key] = clip  # after an error it begins anew
        while len(self.begun) > KEPT:
            self.begun.popitem(last=False)
        seen = torch.stack(clip.frames[window_start(k, self.learned) : k + 1], 1)
        last = k + 1 == frames and next(clip.rest, None) is None  # which ends the stream
        whole = denoised(self.coded, torch.stack(clip.frames, 1), clip.text, self.learned)[0] if last else ()
        return {"image": png(self.coded.denoise(seen, clip.text)[0, -1]), "whole": [png(frame) for frame in whole]}

    def _begin(self, sampling: Sampling, frames: int) -> Begun:
        text = None if self.source.text is None else self.source.text(sampling.prompt)
        noise = Keyed(sampling.seed, rows=[0])
        return Begun(text, [], streamed(self.coded.flow, text, None, (self.learned, frames), sampling, noise))
