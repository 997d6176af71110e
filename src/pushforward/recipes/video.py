"""Recipes of clips."""

from pushforward.codecs import DiffusersClipAutoencoder, GaussianNoise
from pushforward.data import ClipSource, Sprites, TextEncoder
from pushforward.models import STARFlowV
from pushforward.objectives import WithDenoiser
from pushforward.recipe import Recipe
from pushforward.training import MaximumLikelihood, Plan

CLIPS = 70_000_000  # of the authors' data


def sprites() -> Recipe:
    """Animated characters from captions, 8 frames of 16 × 16 pixels: a small STARFlow-V of noisy pixels.

    PUSHFORWARD_DATA=DIR pushforward train sprites --out runs/sprites
    pushforward sample runs/sprites --n 4 --prompt "walking left, blue robe" --frames 24 --out walk.gif
    45 minutes of one CPU core.
    Expect −0.87 nats/dim of noisy frames, held out, and the prompted action and attributes in 98 of 100 clips; in 94,
    where a pair of them was never learned together.
    """
    return Recipe(
        data=Sprites(),
        model=STARFlowV(image=(3, 16, 16), patch=4, width=128, depths=(1, 1, 4), text=(8, 384), extent=4),
        codec=GaussianNoise(levels=256, sigma=0.1),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=7000, batch=16, lr=2e-3, average_decay=0.998, precision="float32", checkpoint_every=250),
    )


def vtest() -> Recipe:
    """Walking people before a fixed camera, 8 frames of 24 × 32 pixels: a small STARFlow-V of noisy pixels.

    PUSHFORWARD_DATA=DIR pushforward train vtest --out runs/vtest
    pushforward sample runs/vtest --n 1 --first-frame start.png --frames 64 --out people.gif
    Five minutes of one CPU core. The last fifth of the 795 frames is held out.
    Expect −2.04 bits/dim of the next noisy frame, held out, and a street with fewer people than it has.
    """
    return Recipe(
        data=ClipSource("video_vtest_96x128", frames=8),
        model=STARFlowV(image=(3, 24, 32), patch=4, width=128, depths=(1, 1, 4), extent=8),
        codec=GaussianNoise(levels=256, sigma=0.05),
        train=Plan(
            steps=2000, batch=2, lr=2e-3, warmup=50, average_decay=0.99, precision="float32", checkpoint_every=500
        ),
    )


def text_to_video() -> Recipe:
    """Clips of 81 frames of 368 × 640 pixels from captions: STARFlow-V's 6.9 billion parameters, with its denoiser.

    pushforward train text_to_video --out runs/t2v --data DIR --train.parallel sharded --train.recomputed
    DIR has tars of videos and captions, see `data.ClipSource`. On 192 GPUs of 141 GB, by torchrun, a step takes 86 GB
    of each and 247 PFLOP, without the denoiser: counted by `python -m benchmarks.scale`. In each step Wan2.2's
    autoencoder encodes the clips, and the text encoder the captions, which is not counted. It has not been run.
    Published: a VBench score of 79.7.
    """
    text = TextEncoder("google/flan-t5-xl", tokens=256, lenient=True, on_gpu=True)
    wan = DiffusersClipAutoencoder(name="Wan-AI/Wan2.2-TI2V-5B-Diffusers", subfolder="vae", later=0.6, sigma=0.5)
    return Recipe(
        data=ClipSource("clips480", frames=81, text=text),
        model=STARFlowV(image=(48, 23, 40), width=3072, deep_width=4096, text=(256, 2048)),
        codec=wan,
        objective=WithDenoiser(condition_dropout=0.1, width=3072, depth=8, window=(9, 1)),
        train=Plan(steps=CLIPS // 192, batch=192, lr=5e-5, skip_above=1.0, precision="bfloat16"),
    )
