"""The runs of the TarFlow paper, for a machine of many GPUs.

Zhai et al. 2024, arXiv:2412.06329: AdamW with (0.9, 0.95), weight decay 1e-4, a learning rate that warms up for one
epoch to 1e-4 and falls to 1e-6 along a cosine; no average of weights and no clipping; images cropped and
mirrored. DIR is your folder, with folders train and test, and in these a folder of images for each class. For the GPUs
of one machine, put `torchrun --nproc-per-node gpu --no-python` before the command.
"""

from pushforward.codecs import GaussianNoise, UniformDequantization
from pushforward.data import ImageSource
from pushforward.models import TarFlow
from pushforward.recipe import Recipe
from pushforward.training import MaximumLikelihood, Plan

IMAGENET, AFHQ = 1_281_167, 14_630  # training images


def imagenet64_bits() -> Recipe:
    """ImageNet 64 × 64, uniformly dequantised, for bits/dim.

    pushforward train imagenet64_bits --out runs/imagenet64_bits --data DIR
    Published: 2.99 bits/dim after 100 epochs, on 16 GPUs.
    """
    model = TarFlow(image=(3, 64, 64), patch=2, transforms=8, width=768, depth=8)
    return Recipe(
        data=ImageSource("imagenet64", mirrored=True),
        model=model,
        codec=UniformDequantization(levels=256),
        train=_plan(epochs=100, images=IMAGENET, batch=256, precision="float32"),
    )


def imagenet64_unconditional() -> Recipe:
    """ImageNet 64 × 64 without classes, for samples guided by attention temperature.

    pushforward train imagenet64_unconditional --out runs/imagenet64_unconditional --data DIR
    Published: Fréchet Inception distance 18.42 after 200 epochs.
    """
    model = TarFlow(image=(3, 64, 64), patch=2, transforms=8, width=768, depth=8)
    return _noisy("imagenet64", model, sigma=0.05, plan=_plan(epochs=200, images=IMAGENET, batch=256))


def imagenet64_by_class() -> Recipe:
    """ImageNet 64 × 64 by class, for guided samples.

    pushforward train imagenet64_by_class --out runs/imagenet64_by_class --data DIR
    Published: Fréchet Inception distance 2.66 after 200 epochs, guided by 2.3 along a linear schedule.
    """
    model = TarFlow(image=(3, 64, 64), patch=2, transforms=8, width=768, depth=8, classes=1000)
    return _noisy("imagenet64", model, sigma=0.05, plan=_plan(epochs=200, images=IMAGENET, batch=256))


def imagenet128_by_class() -> Recipe:
    """ImageNet 128 × 128 by class, for guided samples.

    pushforward train imagenet128_by_class --out runs/imagenet128_by_class --data DIR
    Published: Fréchet Inception distance 5.03 after 320 epochs, on 32 GPUs.
    """
    model = TarFlow(image=(3, 128, 128), patch=4, transforms=8, width=1024, depth=8, classes=1000)
    return _noisy("imagenet128", model, sigma=0.15, plan=_plan(epochs=320, images=IMAGENET, batch=768))


def afhq256() -> Recipe:
    """Animal faces of 256 × 256 pixels by class (cat, dog, wild), for guided samples.

    pushforward train afhq256 --out runs/afhq256 --data DIR
    Published: no result, after 4000 epochs. Others report a Fréchet Inception distance of 13.60.
    """
    model = TarFlow(image=(3, 256, 256), patch=8, transforms=8, width=768, depth=8, classes=3)
    return _noisy("afhq256", model, sigma=0.07, plan=_plan(epochs=4000, images=AFHQ, batch=256))


def _noisy(data: str, model: TarFlow, sigma: float, plan: Plan) -> Recipe:
    dropout = 0.1 if model.classes else 0.0
    return Recipe(
        data=ImageSource(data, mirrored=True),
        model=model,
        codec=GaussianNoise(256, sigma),
        objective=MaximumLikelihood(condition_dropout=dropout),
        train=plan,
    )


def _plan(epochs: int, images: int, batch: int, precision: str = "bfloat16") -> Plan:
    return Plan(
        steps=epochs * images // batch,
        batch=batch,
        lr=1e-4,
        warmup=images // batch,
        clip=None,
        average_decay=0.0,
        precision=precision,  # pyright: ignore[reportArgumentType]
    )
