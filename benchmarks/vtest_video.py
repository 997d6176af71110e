"""PUSHFORWARD_DATA=… OMP_NUM_THREADS=1 python benchmarks/vtest_video.py RUN PICTURE: a run of the recipe `vtest`.

How probable the next frame is, against Gaussians of each pixel that were fitted to the training's frames; and 64 frames
that are drawn after 8 held-out ones: how far from the frames that really follow, and how much moves in them.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow
from pushforward.data import Clips
from pushforward.evaluation import grid
from pushforward.randomness import Keyed
from pushforward.runs.folder import load_coded, read_recipe

KNOWN, DRAWN, WINDOW = 8, 64, (8, 4)
STARTS = (0, 29, 58, 87)  # of the roll-outs, among the held-out frames
SHOWN = (7, 8, 11, 15, 23, 31, 47, 71)  # frames of a roll-out, from 0 on


def gaussians(x: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Of each pixel (slope, shift, deviation) of the next frame given the last, fitted to noisy frames (n, C, H, W)."""
    last, following = x[:-1], x[1:]
    mean, one = x.mean(0), torch.ones_like(x[0])
    slope = ((last - mean) * (following - mean)).mean(0) / x.var(0)
    means = {
        "a copy of the last frame": (one, 0 * one),
        "the mean frame": (0 * one, mean),
        "a line from the last frame": (slope, mean - slope * mean),
    }
    return {name: (a, b, (following - a * last - b).square().mean(0).sqrt()) for name, (a, b) in means.items()}


@torch.no_grad()
def next_bits(coded: CodedFlow, x: Tensor) -> Tensor:
    """−log2 p of the last frame of each noisy clip given those before it, for each element, (n,)."""
    logs = [coded.flow.log_prob(part) - coded.flow.log_prob(part[:, :-1]) for part in x.split(32)]
    return -torch.cat(logs) / x[0, 0].numel() / math.log(2)


def gaussian_bits(x: Tensor, slope: Tensor, shift: Tensor, deviation: Tensor) -> Tensor:
    """The same of a Gaussian of each pixel."""
    normal = torch.distributions.Normal(slope * x[:, -2] + shift, deviation)
    return -normal.log_prob(x[:, -1]).flatten(1).mean(1) / math.log(2)


def noisy(coded: CodedFlow, clips: Clips) -> Tensor:
    """All clips with the noise of the codec, which is another for each clip."""
    numbers = range(len(clips))
    return coded.codec.encode(clips.fetch(numbers)[0], Keyed(0, rows=numbers))[0]


def print_bits(coded: CodedFlow, training: Clips, held_out: Clips) -> None:
    """A table of the bits of the next frame, of every fourth clip."""
    fitted = gaussians(coded.codec.encode(training.videos[0][:], Keyed(1, rows=range(len(training.videos[0]))))[0])
    sets = [noisy(coded, clips)[::4] for clips in (training, held_out)]
    least = 0.5 * math.log2(2 * math.pi * math.e * coded.codec.sigma**2)
    print(f"bits/dim of the next noisy frame; with the noiseless frame known they would be {least:.3f}")
    print("| predicted by | training | held out | bits a frame above the flow, held out |\n|---|---|---|---|")
    flow = [next_bits(coded, x) for x in sets]
    rows = {"the flow, from 7 frames": flow}
    rows |= {name: [gaussian_bits(x, *numbers) for x in sets] for name, numbers in fitted.items()}
    for name, (seen, new) in rows.items():
        above = (new - flow[1]).mean() * sets[0][0, 0].numel()
        error = new.std() / len(new) ** 0.5
        print(f"| {name} | {seen.mean():.3f} | {new.mean():.3f} ± {error:.3f} | {above:,.0f} |")


def rolled(coded: CodedFlow, known: Tensor) -> Tensor:
    """Clips (n, 72, C, H, W): the known frames, with the noise of the codec, and those drawn after them; denoised."""
    rows, size = range(len(known)), (DRAWN, *known.shape[2:])
    drawn = coded.flow.stream(len(known), size=size, known=known, window=WINDOW, generator=Keyed(2, rows=rows))
    clips = torch.cat([known, torch.stack(list(drawn), 1)], 1)
    return torch.cat([coded.denoise(part) for part in clips.split(KNOWN, 1)], 1).clamp(-1, 1)


def rms(x: Tensor, other: Tensor) -> Tensor:
    """The root of the mean square of differences of frames, (frame,)."""
    return (x - other).square().mean((0, 2, 3, 4)).sqrt()


def main(run: str, out: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    torch.set_num_threads(1)
    coded, recipe = load_coded(run), read_recipe(run)
    training, held_out = recipe.training_data(), recipe.held_out_data()
    print_bits(coded, training, held_out)
    frames, mean = held_out.videos[0][:], coded.codec.clean(training.videos[0][:]).mean(0)
    real = coded.codec.clean(torch.stack([frames[i : i + KNOWN + DRAWN] for i in STARTS]))
    clips = rolled(coded, real[:, :KNOWN] + coded.codec.sigma * torch.randn(real[:, :KNOWN].shape))
    curves = {
        "drawn, from the real frames": rms(clips, real),
        "a copy of frame 8, from the real frames": rms(real[:, KNOWN - 1 : KNOWN], real),
        "drawn, from the mean frame": rms(clips, mean),
        "real, from the mean frame": rms(real, mean),
    }
    print(f"| frame | {' | '.join(curves)} |\n|{'---|' * 5}")
    for i in SHOWN:
        print(f"| {i + 1} | {' | '.join(f'{curve[i]:.3f}' for curve in curves.values())} |")
    figure, (strip, axes) = pyplot.subplots(2, 1, figsize=(9, 6), layout="constrained", height_ratios=(3, 4))
    strip.imshow(grid(torch.cat([clips[1, list(SHOWN)], real[1, list(SHOWN)]]), len(SHOWN)).permute(1, 2, 0).numpy())
    strip.set_title(f"frames {', '.join(str(i + 1) for i in SHOWN)}: drawn after frame 8 (above) and real", fontsize=10)
    strip.set_axis_off()
    for name, curve in curves.items():
        axes.plot(range(1, KNOWN + DRAWN + 1), curve.numpy(), label=name)
    axes.axvline(KNOWN + 0.5, color="grey", linewidth=0.8)
    axes.set(xlabel="frame", ylabel="distance, rms on [−1, 1]")
    axes.legend(fontsize=8)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
