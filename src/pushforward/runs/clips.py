"""Samples of a run on clips: an animation."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow
from pushforward.data import ClipSource, Sprites, write_video
from pushforward.data.encoded import fitted
from pushforward.data.videos import check_video
from pushforward.evaluation import grid
from pushforward.guidance import GaussianProduct
from pushforward.randomness import Keyed
from pushforward.runs.folder import load_coded
from pushforward.runs.pictures import SIDE
from pushforward.sampling import Sampling

RATE = 8.0  # frames per second of what is written


def sample_clips(run: Path, source: ClipSource | Sprites, out: Path, n: int, sampling: Sampling, device: str) -> str:
    """Write an animation with n clips of each prompt in a row; without prompts, with n clips.

    Clips of more frames than the run learned are drawn in a window, which keeps half of its frames.
    """
    check_video(out)
    prompts = sampling.prompt
    if isinstance(source, ClipSource) and prompts:
        raise ValueError(f"--prompt is for runs on captions; {run} learned {source}, which has none.")
    if isinstance(source, Sprites) and not prompts:
        raise ValueError(f'{run} learned captions: say what to draw, as in --prompt "walking left, blue robe".')
    text = source.text(prompts).repeat_interleave(n, 0) if isinstance(source, Sprites) else None
    coded, rows = load_coded(run, device=device).denoised_by(sampling.denoise), n * max(len(prompts), 1)
    known = None if sampling.first_frame is None else _first(coded, sampling)
    clips = [
        _drawn(coded, None if text is None else text[row], known, source.frames, sampling, row) for row in range(rows)
    ]
    decoded = coded.codec.decode(torch.stack(clips)).cpu()
    pictures = [grid(frame / (coded.codec.levels - 1) * 2 - 1, n) for frame in decoded.unbind(1)]
    zoom = max(1, SIDE // decoded.shape[-1])
    frames = [(255 * _enlarged(picture, zoom)).round().to(torch.uint8) for picture in pictures]
    write_video(frames, out, rate=RATE)
    return f"{rows} clips of {len(frames)} frames in {out}"


def _drawn(
    coded: CodedFlow, text: Tensor | None, known: Tensor | None, learned: int, how: Sampling, row: int
) -> Tensor:
    """A clip (frames, C, H, W), with the first frame where it is known, without the noise of the codec."""
    flow, frames = coded.flow, how.frames or learned
    if how.guidance:
        rule = GaussianProduct() if how.guidance_rule == "product" else None
        flow = flow.guided(how.guidance, rule=rule, attention_temperature=how.attention_temperature)
    given = [] if known is None else [known]
    if frames > len(given):
        drawn = flow.stream(
            text,
            size=(frames - len(given), *flow.event[1:]),
            known=None if known is None else known[None],
            window=(learned, learned // 2) if learned > 1 else None,
            temperature=how.temperature,
            generator=Keyed(how.seed, rows=[row]),
        )
        given.extend(drawn)
    parts = torch.stack(given).split(learned)  # of the lengths that it learned
    return torch.cat([coded.denoise(part, text) for part in parts])


def _first(coded: CodedFlow, how: Sampling) -> Tensor:
    """The first frame as an event (C, H, W), with the noise of the codec."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = coded.flow.event[1:]
    try:
        with Image.open(str(how.first_frame)) as picture:
            pixels = torch.from_numpy(fitted(picture, (channels, height, width)).copy())
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{how.first_frame} is no image that Pillow reads: {error}") from error
    noise = Keyed(how.seed, -1, rows=[0])
    return coded.codec.encode(pixels[None, None], noise)[0][0, 0].to(coded.flow.device)


def _enlarged(picture: Tensor, zoom: int) -> Tensor:
    return picture.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
