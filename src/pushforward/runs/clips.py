"""Samples of a run on clips: an animation."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.codecs import CodecConfig, CodedFlow, placed
from pushforward.data import SourceOfClips, write_video
from pushforward.data.encoded import ByteRange, Encoded
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

    Clips of more frames than the run learned are drawn in a window, which keeps half of its frames: see `windows`.
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
    if frames > learned == 1 and not codec.frames_alike:
        raise ValueError(
            f"{run} learned clips of one latent frame, and encodes later ones in another way: it draws no longer "
            f"clips. Give --frames {source.frames}."
        )
    coded, count = load_coded(run, device=device).denoised_by(sampling.denoise), n * max(len(prompts), 1)
    how = Drawing(coded, codec, learned, sampling)
    known = None if sampling.first_frame is None else _first(how)
    clips = [
        torch.cat([*windows(how, None if text is None else text[rows], known, frames, rows.tolist())], 1)
        for rows in torch.arange(count, device="cpu").split(sampling.batch)
    ]
    decoded = placed(torch.cat(clips), coded.codec.levels)
    zoom = max(1, SIDE // decoded.shape[-1])
    pictures = [zoomed(grid(frame, n), zoom) for frame in decoded.unbind(1)]
    pixels = [(255 * picture).round().to(torch.uint8) for picture in pictures]
    write_video(pixels, out, rate=RATE)
    return f"{count} clips of {len(pixels)} frames in {out}"


class Drawing(NamedTuple):
    """The flow that draws clips, with its codec, and the settings of the samples."""

    coded: CodedFlow
    codec: CodecConfig
    learned: int  # frames of the events that the run learned
    sampling: Sampling


def windows(how: Drawing, text: Tensor | None, known: Events | None, frames: int, rows: list[int]) -> Iterator[Tensor]:
    """Clips whose events have so many frames, as integers (n, frames, C, H, W), window by window.

    Where the codec encodes all frames alike there is one window, in which the flow moves on. Otherwise a window is a
    clip of the length that the run learned. The last half of it, decoded, is encoded as a clip of its own and begins
    the next window: so the first event of each window is one of a first frame, as the flow and the decoder learned it.
    """
    noise, left = Keyed(how.sampling.seed, rows=rows), frames
    longest = frames if how.codec.frames_alike else how.learned
    kept = _kept(how.learned)
    overlap, again = how.codec.data_shape((kept, *tuple(how.coded.flow.event)[1:]))[0], 0
    while True:
        clip = _drawn(how, text, known, min(left, longest), noise)
        pixels = how.coded.codec.decode(clip)
        yield pixels[:, again:].cpu()
        left -= clip.shape[1] - kept
        if left <= kept:
            return
        again = overlap
        known = how.coded.codec.encode(pixels[:, -again:], noise)[0]


def _drawn(how: Drawing, text: Tensor | None, known: Events | None, frames: int, noise: Keyed) -> Events:
    """Events of clips (n, frames, C, H, W), which begin with the known ones, without the noise of the codec."""
    known = None if known is None else known.expand(len(noise), *known.shape[1:])
    given = [] if known is None else [*known.unbind(1)]
    if frames > len(given):
        given.extend(streamed(how.coded.flow, text, known, how.learned, frames - len(given), how.sampling, noise))
    return denoised(how.coded, torch.stack(given, 1), text, how.learned)


def streamed(
    flow: Flow, text: Tensor | None, known: Events | None, learned: int, frames: int, how: Sampling, noise: Keyed
) -> Iterator[Tensor]:
    """So many frames (n, C, H, W) of clips, with the noise of the codec, each as soon as it is drawn.

    The frames `known` (n, …, C, H, W) come before them. Events of `learned` frames were learned.
    """
    flow = how.guided(flow)
    flow = flow.solved_by(partial(jacobi, warm=True)) if how.sweeps else flow
    return flow.stream(
        len(noise) if text is None else (),
        text,
        size=(frames, *flow.event[1:]),
        known=known,
        window=(learned, _kept(learned)) if learned > 1 else None,
        temperature=how.temperature,
        generator=noise,
    )


def denoised(coded: CodedFlow, clips: Events, text: Tensor | None, learned: int) -> Events:
    """Clips (n, frames, C, H, W) without the noise of the codec, each frame in the window in which it is drawn."""
    kept, parts = _kept(learned), [coded.denoise(clips[:, :learned], text)]
    for first in range(learned, clips.shape[1], learned - kept):  # that the window has not kept
        window = clips[:, first - kept : first - kept + learned]
        parts.append(coded.denoise(window, text)[:, kept:])
    return torch.cat(parts, 1)


def window_start(frame: int, learned: int) -> int:
    """The first frame of the window in which a frame is drawn."""
    kept = _kept(learned)
    return max(0, (frame - kept) // (learned - kept) * (learned - kept))


def _kept(learned: int) -> int:
    """How many frames a window keeps of the one before."""
    return learned // 2


def _first(how: Drawing) -> Events:
    """The first frame as an event (1, 1, C, H, W), with the noise of the codec."""
    coded = how.coded
    channels, height, width = how.codec.data_shape(tuple(coded.flow.event))[1:]
    first = Encoded([ByteRange(Path(str(how.sampling.first_frame)))], image=(channels, height, width))
    noise = Keyed(how.sampling.seed, -1, rows=[0])
    return coded.codec.encode(first[torch.tensor([0])][None], noise)[0].to(coded.flow.device)
