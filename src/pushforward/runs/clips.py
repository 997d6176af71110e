"""Samples of a run on clips: an animation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pushforward.codecs import CodecConfig, CodedFlow, placed
from pushforward.data import SourceOfClips, write_video
from pushforward.data.encoded import fitted
from pushforward.data.videos import check_video
from pushforward.evaluation import grid, zoomed
from pushforward.flow import Flow
from pushforward.randomness import Keyed
from pushforward.runs.folder import load_coded, read_recipe
from pushforward.runs.pictures import SIDE
from pushforward.sampling import Sampling
from pushforward.shapes import Events
from pushforward.solve import jacobi

RATE = 8.0  # frames per second of what is written


def sample_clips(run: Path, source: SourceOfClips, out: Path, n: int, sampling: Sampling, device: str) -> str:
    """Write an animation with n clips of each prompt in a row; without prompts, with n clips.

    Clips of more frames than the run learned are drawn in a window, which keeps half of its frames.
    """
    check_video(out)
    prompts = sampling.prompt
    if source.text is None and prompts:
        raise ValueError(f"--prompt is for runs on captions; {run} learned {source}, which has none.")
    if source.text is not None and not prompts:
        raise ValueError(f'{run} learned captions: say what to draw, as in --prompt "walking left, blue robe".')
    text = None if source.text is None else source.text(prompts).repeat_interleave(n, 0)
    codec = read_recipe(run).codec
    learned, frames = (codec.event_frames(k) for k in (source.frames, sampling.frames or source.frames))
    if frames > learned and not codec.frames_alike:
        raise ValueError(
            f"{run} learned clips of {source.frames} frames and encodes the first of them in its own way: it draws no "
            f"longer ones. Give --frames {source.frames} or fewer."
        )
    coded, count = load_coded(run, device=device).denoised_by(sampling.denoise), n * max(len(prompts), 1)
    known = None if sampling.first_frame is None else _first(coded, sampling, codec)
    clips = [
        _drawn(coded, None if text is None else text[rows], known, (learned, frames), sampling, rows.tolist())
        for rows in torch.arange(count, device="cpu").split(sampling.batch)
    ]
    decoded = placed(coded.codec.decode(torch.cat(clips)).cpu(), coded.codec.levels)
    zoom = max(1, SIDE // decoded.shape[-1])
    pictures = [zoomed(grid(frame, n), zoom) for frame in decoded.unbind(1)]
    frames = [(255 * picture).round().to(torch.uint8) for picture in pictures]
    write_video(frames, out, rate=RATE)
    return f"{count} clips of {len(frames)} frames in {out}"


def _drawn(
    coded: CodedFlow,
    text: Tensor | None,
    known: Tensor | None,
    frames: tuple[int, int],
    how: Sampling,
    rows: list[int],
) -> Tensor:
    """Events of clips (n, frames, C, H, W), with the first frame where it is known, without the noise of the codec.

    `frames` are how many the run learned, and how many to draw.
    """
    learned, drawn = frames
    given = [] if known is None else [known.expand(len(rows), *known.shape)]
    if drawn > len(given):
        given.extend(streamed(coded.flow, text, known, (learned, drawn - len(given)), how, rows))
    return denoised(coded, torch.stack(given, 1), text, learned)


def streamed(
    flow: Flow, text: Tensor | None, known: Tensor | None, frames: tuple[int, int], how: Sampling, rows: list[int]
) -> Iterator[Tensor]:
    """Frames (n, C, H, W) of clips, with the noise of the codec, each as soon as it is drawn.

    `frames` are how many the run learned, and how many to draw after the known ones.
    """
    flow, (learned, drawn) = how.guided(flow), frames
    flow = flow.solved_by(partial(jacobi, warm=True)) if how.sweeps else flow
    return flow.stream(
        len(rows) if text is None else (),
        text,
        size=(drawn, *flow.event[1:]),
        known=None if known is None else known[None],
        window=(learned, learned // 2) if learned > 1 else None,
        temperature=how.temperature,
        generator=Keyed(how.seed, rows=rows),
    )


def denoised(coded: CodedFlow, clips: Events, text: Tensor | None, learned: int) -> Events:
    """Clips (n, frames, C, H, W) without the noise of the codec, in parts of the length that the run learned."""
    return torch.cat([coded.denoise(part, text) for part in clips.split(learned, 1)], 1)


def _first(coded: CodedFlow, how: Sampling, codec: CodecConfig) -> Tensor:
    """The first frame as an event (C, H, W), with the noise of the codec."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = codec.data_shape(tuple(coded.flow.event))[1:]
    try:
        with Image.open(str(how.first_frame)) as picture:
            pixels = torch.from_numpy(fitted(picture, (channels, height, width)).copy())
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{how.first_frame} is no image that Pillow reads: {error}") from error
    noise = Keyed(how.seed, -1, rows=[0])
    return coded.codec.encode(pixels[None, None], noise)[0][0, 0].to(coded.flow.device)
