"""The classics on images, for bits/dim: at a size that a CPU learns in minutes, and as they were published."""

from __future__ import annotations

from pushforward.lift import Uniform
from pushforward.models import FlowPlusPlus, Glow, Jet, Model, RealNVP
from pushforward.recipe import Recipe
from pushforward.training import Plan


def mnist_realnvp() -> Recipe:
    """Real NVP on MNIST.

    pushforward train mnist_realnvp --out runs/mnist_realnvp
    """
    return _minutes("mnist", RealNVP(image=(1, 28, 28), width=16, blocks=2))


def mnist_glow() -> Recipe:
    """Glow on MNIST by class, whose prior alone knows the class: for editing and interpolating.

    pushforward train mnist_glow --out runs/mnist_glow
    """
    return _minutes("mnist", Glow(image=(1, 28, 28), levels=2, steps=8, width=64))


def mnist_flowpp() -> Recipe:
    """Flow++ on MNIST.

    pushforward train mnist_flowpp --out runs/mnist_flowpp
    """
    return _minutes("mnist", FlowPlusPlus(image=(1, 28, 28), width=32, blocks=1, components=8))


def mnist_jet() -> Recipe:
    """Jet on MNIST.

    pushforward train mnist_jet --out runs/mnist_jet
    """
    return _minutes("mnist", Jet(image=(1, 28, 28), patch=2, steps=10, width=64, depth=1, heads=2))


def cifar10_small_glow() -> Recipe:
    """A Glow that learns for three minutes on one CPU core: how do channels best meet between couplings?

    pushforward train cifar10_small_glow --out runs/small_glow --model.permutation shuffle --model.coupling additive
    """
    model = Glow(image=(3, 32, 32), levels=3, steps=8, width=64)
    return _minutes("cifar10", model, steps=1300)


def _minutes(data: str, model: Model, steps: int = 4000) -> Recipe:
    plan = Plan(
        steps=steps,
        batch=32,
        lr=3e-3,
        average_decay=0.99,
        precision="float32",  # a grey level is 0.008 wide: bfloat16 cannot tell one from the next
        checkpoint_every=100,
        measure_every=100,
    )
    return Recipe(data=data, model=model, lift=Uniform(levels=256), train=plan)
