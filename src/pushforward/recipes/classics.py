"""Real NVP, Glow, Flow++ and Jet on images, for bits/dim: small, for minutes on a CPU, and as published.

Where a paper does not state the length of training, the docstring says that ours is a guess.
"""

from pushforward.codecs import UniformDequantization
from pushforward.data import Attributed, ImageSource
from pushforward.models import Dequantiser, FlowPlusPlus, Glow, Jet, Model, RealNVP
from pushforward.recipe import Recipe
from pushforward.training import Plan

CIFAR10, IMAGENET = 50_000, 1_281_167  # training images
BINS = UniformDequantization(levels=256)


def mnist_realnvp() -> Recipe:
    """Real NVP on MNIST.

    pushforward train mnist_realnvp --out runs/mnist_realnvp
    Four minutes of one CPU core.
    Expect 1.45 bits/dim, held out, and still falling.
    """
    return _minutes("mnist", RealNVP(image=(1, 28, 28), width=16, blocks=2), steps=2500)


def mnist_glow() -> Recipe:
    """Glow on MNIST.

    pushforward train mnist_glow --out runs/mnist_glow
    Four minutes of one CPU core.
    Expect 1.66 bits/dim, held out, and still falling.
    """
    return _minutes("mnist", Glow(image=(1, 28, 28), levels=2, transforms=8, width=64), steps=2400)


def mnist_flowpp() -> Recipe:
    """Flow++ on MNIST, with variational dequantization.

    pushforward train mnist_flowpp --out runs/mnist_flowpp
    Expect no result yet: it has not been run.
    """
    model = FlowPlusPlus(image=(1, 28, 28), width=32, blocks=1, components=8)
    return _minutes("mnist", model, Dequantiser(image=(1, 28, 28), width=16, blocks=1, components=8), steps=500)


def mnist_jet() -> Recipe:
    """Jet on MNIST.

    pushforward train mnist_jet --out runs/mnist_jet
    Ten minutes of one CPU core.
    Expect 2.14 bits/dim, held out, and still falling, from benchmarks/curves.py with the same plan.
    """
    return _minutes("mnist", Jet(image=(1, 28, 28), patch=2, transforms=32, width=32, depth=1, heads=2), steps=860)


def cifar10_small_glow() -> Recipe:
    """A Glow on CIFAR-10, for three minutes of one CPU core, to compare permutations of channels between couplings.

    pushforward train cifar10_small_glow --out runs/small_glow --model.permutation shuffle --model.coupling additive
    Expect 3.90 bits/dim, held out, with its defaults, 1 × 1 convolutions and affine couplings.
    """
    return _minutes("cifar10", Glow(image=(3, 32, 32), levels=3, transforms=8, width=64), steps=1300)


def emoji_glow() -> Recipe:
    """Glow on emoji of 24 × 24 pixels and 32 levels a colour, for edits along attributes that their captions name.

    PUSHFORWARD_DATA=DIR pushforward train emoji_glow --out runs/emoji_glow
    pushforward edit runs/emoji_glow --label 0 --amount 2
    Five minutes of one CPU core. DIR holds the packs emoji64_google.npz and emoji64_fluent3d.npz.
    Expect 1.56 bits/dim, held out, edits that turn things yellow, red or blue, and samples that are blots.
    """
    return Recipe(
        data=Attributed(("emoji64_google", "emoji64_fluent3d"), ("face", "hand", "food", "red", "blue"), mirrored=True),
        model=Glow(image=(3, 24, 24), levels=3, transforms=8, width=80),
        codec=UniformDequantization(levels=32),
        train=Plan(
            steps=1800,
            batch=32,
            lr=2e-3,
            warmup=200,
            average_decay=0.998,
            precision="float32",
            checkpoint_every=200,
            measure_every=1000,
        ),
    )


def cifar10_realnvp() -> Recipe:
    """Real NVP on CIFAR-10, as published, for a GPU.

    pushforward train cifar10_realnvp --out runs/cifar10_realnvp
    Published: 3.49 bits/dim. The length, of 100 epochs, is a guess.
    """
    plan = Plan(steps=100 * CIFAR10 // 64, batch=64, lr=1e-3, weight_decay=5e-5, clip=100.0, precision="float32")
    return Recipe(data=ImageSource("cifar10", mirrored=True), model=RealNVP(image=(3, 32, 32)), codec=BINS, train=plan)


def cifar10_glow() -> Recipe:
    """Glow on CIFAR-10, as published, for GPUs. The paper shifts images at random; this recipe does not.

    pushforward train cifar10_glow --out runs/cifar10_glow --train.reversible
    Published: 3.35 bits/dim. The length, of 1800 epochs, is a guess.
    """
    plan = Plan(steps=1800 * CIFAR10 // 512, batch=512, lr=1e-3, warmup=10 * CIFAR10 // 512, precision="float32")
    return Recipe(data=ImageSource("cifar10"), model=Glow(image=(3, 32, 32)), codec=BINS, train=plan)


def cifar10_flowpp() -> Recipe:
    """Flow++ on CIFAR-10, as published but for its dropout, for GPUs.

    pushforward train cifar10_flowpp --out runs/cifar10_flowpp
    Published: 3.08 bits/dim, with 4096 draws of the noise. The length, of 400 epochs, is a guess.
    """
    image = (3, 32, 32)
    plan = Plan(steps=400 * CIFAR10 // 64, batch=64, lr=3e-4, warmup=2000, precision="float32")
    return Recipe(
        data=ImageSource("cifar10"), model=FlowPlusPlus(image=image), codec=Dequantiser(image=image), train=plan
    )


def imagenet64_jet() -> Recipe:
    """Jet on ImageNet 64 × 64, as published, for many GPUs. DIR is a folder of yours.

    pushforward train imagenet64_jet --out runs/imagenet64_jet --data DIR
    Published: 3.72 bits/dim after 200 epochs.
    """
    steps = 200 * IMAGENET // 1024
    plan = Plan(steps=steps, batch=1024, lr=3e-4, warmup=steps // 10, weight_decay=1e-5, average_decay=0.0)
    return Recipe(data=ImageSource("imagenet64"), model=Jet(image=(3, 64, 64)), codec=BINS, train=plan)


def _minutes(data: str, model: Model, codec: UniformDequantization | Dequantiser = BINS, *, steps: int) -> Recipe:
    plan = Plan(
        steps=steps,
        batch=32,
        lr=3e-3,
        average_decay=0.99,
        precision="float32",  # a grey level is 0.008 wide, which bfloat16 cannot resolve
        checkpoint_every=100,
        measure_every=100,
    )
    return Recipe(data=ImageSource(data), model=model, codec=codec, train=plan)
