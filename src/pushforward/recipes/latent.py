"""Recipes in the latents of an autoencoder."""

from pushforward.codecs import Autoencoder, DiffusersAutoencoder, TrainedAutoencoder
from pushforward.data import Captioned, ImageSource, TextEncoder
from pushforward.models import STARFlow
from pushforward.objectives import LatentNorm
from pushforward.recipe import Recipe
from pushforward.training import MaximumLikelihood, Plan

IMAGES = 400_000_000  # that the published models learned from, with repetitions


def emoji() -> Recipe:
    """Emoji of 64 × 64 pixels from their captions: a small STARFlow of TAEF2's latents, conditioned on MiniLM's tokens.

    PUSHFORWARD_DATA=DIR pushforward train emoji --out runs/emoji
    Thirty seconds on one H200, in bfloat16; it is best on held-out captions at about step 1,800.
    Expect 0.54 nats/dim of noisy latents, held out, and objects and colours that follow the prompt, crudely drawn.
    """
    return Recipe(
        data=Captioned(("emoji64_twitter", "emoji64_google", "emoji64_fluent3d")),
        model=STARFlow(image=(32, 8, 8), width=256, depths=(2, 2, 6), text=(16, 384), extent=8),
        codec=Autoencoder(sigma=0.3),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=3000, lr=1e-3, weight_decay=0.3, checkpoint_every=150, measure_every=150, patience=5),
    )


def digits_autoencoder() -> Recipe:
    """The digits in latents of an autoencoder that is trained with the flow, for bits/dim: a small STARFlow by class.

    pushforward train digits_autoencoder --out runs/digits_autoencoder
    Three minutes of one CPU core.
    Expect 1.85 bits/dim, held out, given the class, a bound on the images themselves.
    """
    return Recipe(
        data=ImageSource("digits"),
        model=STARFlow(image=(4, 4, 4), width=64, depths=(1, 1, 4), classes=10, extent=4),
        codec=TrainedAutoencoder(image=(1, 8, 8), latent=4, levels=17),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(
            steps=1000,
            lr=3e-3,
            weight_decay=0.1,
            average_decay=0.0,
            precision="float32",
            checkpoint_every=100,
        ),
    )


def imagenet256_by_class() -> Recipe:
    """ImageNet 256 × 256 by class: STARFlow's 1.4 billion parameters, in the latents of a frozen autoencoder.

    pushforward train imagenet256_by_class --out runs/imagenet256 --data DIR --train.parallel hybrid
    On 32 GPUs, by torchrun, a step takes 45 GB of each and 4.65 PFLOP: counted by `python -m benchmarks.scale`. In each
    step the autoencoder encodes the images, which is not counted. It has not been run.
    Published: Fréchet Inception distance 2.40 after 400 million images, guided, by a decoder of noisy latents.
    """
    return Recipe(
        data=ImageSource("imagenet256"),
        model=STARFlow(width=2048, depths=(2, 2, 2, 2, 2, 18), classes=1000),
        codec=DiffusersAutoencoder(name="stabilityai/sd-vae-ft-ema", sigma=0.3),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=IMAGES // 512, batch=512, lr=1e-4, warmup=2000, precision="bfloat16"),
    )


def text_to_image() -> Recipe:
    """Images of 256 × 256 pixels from captions: STARFlow's 3.9 billion parameters, conditioned on FLAN-T5-XL.

    pushforward train text_to_image --out runs/t2i --data DIR --train.parallel hybrid --train.accumulate 2
    DIR has tars of images and captions, see `data.Captioned`. On 64 GPUs, by torchrun, a step takes 55 GB of each and
    27.3 PFLOP: counted by `python -m benchmarks.scale`. In each step the autoencoder encodes the images, and the text
    encoder the captions, which is not counted. It has not been run.
    Published: Fréchet Inception distance 9.1 on COCO.
    """
    return Recipe(
        data=Captioned(("captions256",), TextEncoder("google/flan-t5-xl", tokens=128, lenient=True, on_gpu=True)),
        model=STARFlow(text=(128, 2048)),
        codec=DiffusersAutoencoder(name="stabilityai/sd-vae-ft-ema", sigma=0.3),
        objective=LatentNorm(condition_dropout=0.1, weight=1e-4),
        train=Plan(steps=IMAGES // 1024, batch=1024, lr=6.4e-5, warmup=2000, precision="bfloat16"),
    )
