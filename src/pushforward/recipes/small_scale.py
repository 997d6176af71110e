"""Recipes for small data, on one CPU or GPU."""

from dataclasses import replace

from pushforward.codecs import GaussianNoise, UniformDequantization
from pushforward.data import ImageSource
from pushforward.models import ITARFlow, TarFlow
from pushforward.objectives import NoiseLevels, WithDenoiser
from pushforward.recipe import Recipe
from pushforward.training import MaximumLikelihood, Plan


def digits() -> Recipe:
    """Handwritten digits of 8 × 8 pixels, which come with the package, with noise; samples are denoised.

    pushforward train digits --out runs/digits
    A minute and a half on one CPU core.
    Expect 98 % of the held-out digits classified correctly, and guided samples that look like digits.
    """
    return Recipe(
        data=ImageSource("digits"),
        model=TarFlow(image=(1, 8, 8), patch=2, transforms=4, width=64, depth=2, classes=10),
        codec=GaussianNoise(levels=17, sigma=0.1),  # a grey level is 0.125 wide
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(
            steps=1000,
            lr=5e-3,
            warmup=20,
            weight_decay=0.1,  # against overfitting: there are 1,437 digits
            precision="float32",  # at this width bfloat16 is no faster
            checkpoint_every=100,
        ),
    )


def digits_denoiser() -> Recipe:
    """The digits with three times the noise, and beside the flow a network that learns to take it out.

    pushforward train digits_denoiser --out runs/digits_denoiser
    pushforward denoise runs/digits_denoiser --by learned
    Four minutes of one CPU core.
    Expect a signal-to-noise ratio that rises from 16 to 20 dB, by the flow's score to 21.
    """
    recipe = digits()
    return replace(
        recipe,
        codec=GaussianNoise(levels=17, sigma=0.3),
        objective=WithDenoiser(condition_dropout=0.1, patch=2),
    )


def digits_itarflow() -> Recipe:
    """The digits at all levels of noise to 0.3, for samples that are denoised level by level.

    pushforward train digits_itarflow --out runs/digits_itarflow
    pushforward sample runs/digits_itarflow --denoise iterative --guidance 1
    Two and a half minutes of one CPU core.
    Expect readable digits, and a signal-to-noise ratio that rises from 16 to 21 dB by `denoise --by iterative`.
    """
    recipe, noise = digits(), (0.02, 0.3)
    return replace(
        recipe,
        model=ITARFlow(image=(1, 8, 8), patch=2, width=64, depths=(2, 2, 2, 2), classes=10, noise=noise),
        codec=GaussianNoise(levels=17, sigma=noise[1]),
        objective=NoiseLevels(condition_dropout=0.1),
    )


def mnist() -> Recipe:
    """MNIST by class, uniformly dequantised, for bits/dim.

    pushforward train mnist --out runs/mnist
    Forty minutes of one CPU core: 0.42 s a step.
    Expect 1.82 bits/dim, held out. It is still falling then; a larger --train.steps continues the run.
    """
    return Recipe(
        data=ImageSource("mnist"),
        model=TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10),
        codec=UniformDequantization(levels=256),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(
            steps=5200,
            batch=32,
            precision="float32",  # a grey level is 0.008 wide, which bfloat16 cannot resolve
            checkpoint_every=100,
            measure_every=500,
        ),
    )


def fashion_mnist() -> Recipe:
    """Fashion-MNIST by class, with noise, for guided and denoised samples.

    pushforward train fashion_mnist --out runs/fashion_mnist
    Twenty minutes of one CPU core.
    Expect 5.6 bits/dim with that noise, held out, and samples that are still rough; a larger --train.steps continues
    the run.
    """
    return Recipe(
        data=ImageSource("fashion_mnist"),
        model=TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10),
        codec=GaussianNoise(levels=256, sigma=0.1),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=700, batch=64, lr=2e-3, checkpoint_every=100, measure_every=500),
    )


def letters() -> Recipe:
    """Letters or digits of 28 × 28 pixels by class, with noise, for readable samples in ten minutes on two CPU cores.

    pushforward train letters --out runs/letters --minutes 10
    pushforward train letters --out runs/letters --minutes 10 --data DIR --model.classes 26
    The data are MNIST, or those in a folder or a file of yours. Sample with --guidance 1.
    Expect, on MNIST with --train.steps 2200, about ten minutes of one core: 4.81 bits/dim on held-out digits, and 25 of
    40 guided samples that can be read as their class: 0, 1, 3, 7, 8 and 9 mostly, 2 and 5 seldom.
    """
    return Recipe(
        data=ImageSource("mnist"),
        model=TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=2, classes=10),
        codec=GaussianNoise(levels=256, sigma=0.1),
        objective=MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=4000, batch=32, lr=2e-3, average_decay=0.998, checkpoint_every=200, measure_every=500),
    )


def cifar10() -> Recipe:
    """CIFAR-10 without classes, uniformly dequantised and mirrored, for bits/dim.

    pushforward train cifar10 --out runs/cifar10
    For a GPU: 5e17 operations in float32.
    Expect no result yet: it has not been run to its end.
    """
    return Recipe(
        data=ImageSource("cifar10", mirrored=True),
        model=TarFlow(image=(3, 32, 32), patch=2, transforms=8, width=256, depth=4),
        codec=UniformDequantization(levels=256),
        train=Plan(steps=100_000, lr=5e-4, precision="float32", checkpoint_every=500, measure_every=1000),
    )
