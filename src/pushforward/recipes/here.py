"""Recipes for data that is small enough to learn on a laptop."""

from __future__ import annotations

from pushforward.lift import Gaussian, Uniform
from pushforward.models import TarFlow
from pushforward.recipe import Recipe
from pushforward.training import Plan


def digits() -> Recipe:
    """Handwritten digits of 8 × 8 pixels, which come with the package, with noise that samples can be freed from."""
    return Recipe(
        data="digits",
        model=TarFlow(image=(1, 8, 8), patch=2, steps=4, width=64, depth=2, classes=10),
        lift=Gaussian(levels=17, sigma=0.1),  # a grey level is 0.125 wide
        drop=0.1,
        train=Plan(steps=1000, lr=5e-3, warmup=20, weight_decay=0.1, precision="float32", checkpoint_every=200),
    )


def mnist() -> Recipe:
    """MNIST, uniformly dequantised, for bits/dim."""
    return Recipe(
        data="mnist",
        model=TarFlow(image=(1, 28, 28), patch=4, steps=4, width=128, depth=4, classes=10),
        lift=Uniform(levels=256),
        drop=0.1,
        train=Plan(
            steps=20_000,
            precision="float32",  # a grey level is 0.008 wide: bfloat16 cannot tell one from the next
            checkpoint_every=100,
            measure_every=250,
        ),
    )


def fashion_mnist() -> Recipe:
    """Fashion-MNIST by class, with noise, for guided and denoised samples."""
    return Recipe(
        data="fashion_mnist",
        model=TarFlow(image=(1, 28, 28), patch=4, steps=4, width=128, depth=4, classes=10),
        lift=Gaussian(levels=256, sigma=0.1),
        drop=0.1,
        train=Plan(steps=10_000, lr=2e-3, checkpoint_every=100, measure_every=500),
    )


def cifar10() -> Recipe:
    """CIFAR-10, uniformly dequantised, mirrored, for bits/dim."""
    return Recipe(
        data="cifar10",
        mirrored=True,
        model=TarFlow(image=(3, 32, 32), patch=2, steps=8, width=256, depth=4),
        lift=Uniform(levels=256),
        train=Plan(steps=100_000, lr=5e-4, precision="float32", measure_every=1000),
    )
