"""Flow matching on images, by class: small, for minutes on a CPU, and for a GPU.

Log-dets are estimated by Hutchinson's probes, so bits/dim are bounds on average. Guided samples take --guidance.
"""

from pushforward.codecs import UniformDequantization
from pushforward.data import ImageSource
from pushforward.models import ImageFlowMatching
from pushforward.networks import UNetOptions
from pushforward.objectives import Matching
from pushforward.recipe import Recipe
from pushforward.solve import Hutchinson
from pushforward.training import Plan


def digits_matching() -> Recipe:
    """Handwritten digits of 8 × 8 pixels, which come with the package.

    pushforward train digits_matching --out runs/digits_matching
    About a minute of one CPU core.
    Expect 1.90 bits/dim, held out, given the class, by estimated log-dets.
    """
    net = UNetOptions(width=24, levels=2, blocks=1)
    plan = Plan(
        steps=2000, batch=64, lr=4e-3, average_decay=0.99, weight_decay=0.01, precision="float32", checkpoint_every=250
    )
    return _by_class("digits", (1, 8, 8), net, plan, levels=17)


def mnist_matching() -> Recipe:
    """MNIST.

    pushforward train mnist_matching --out runs/mnist_matching
    About half an hour of one CPU core.
    Expect no result yet: it has not been run to its end.
    """
    return _by_class("mnist", (1, 28, 28), UNetOptions(width=32, levels=3, blocks=1), _half_an_hour())


def fashion_mnist_matching() -> Recipe:
    """Fashion-MNIST.

    pushforward train fashion_mnist_matching --out runs/fashion_mnist_matching
    About half an hour of one CPU core.
    Expect no result yet: it has not been run to its end.
    """
    return _by_class("fashion_mnist", (1, 28, 28), UNetOptions(width=32, levels=3, blocks=1), _half_an_hour())


def cifar10_matching() -> Recipe:
    """CIFAR-10, mirrored, for a GPU.

    pushforward train cifar10_matching --out runs/cifar10_matching
    Expect no result yet: it has not been run.
    """
    plan = Plan(steps=400_000, batch=128, lr=2e-4, warmup=5000, average_decay=0.9999, weight_decay=0.0)
    return _by_class("cifar10", (3, 32, 32), UNetOptions(width=128, levels=3, blocks=3), plan, mirrored=True)


def _half_an_hour() -> Plan:
    return Plan(
        steps=5000,
        batch=64,
        lr=2e-3,
        average_decay=0.998,
        precision="float32",
        checkpoint_every=250,
        measure_every=1000,
    )


def _by_class(
    data: str, image: tuple[int, int, int], net: UNetOptions, plan: Plan, *, levels: int = 256, mirrored: bool = False
) -> Recipe:
    return Recipe(
        data=ImageSource(data, mirrored=mirrored),
        model=ImageFlowMatching(image=image, classes=10, net=net, divergence=Hutchinson()),
        codec=UniformDequantization(levels=levels),
        objective=Matching(condition_dropout=0.1),
        train=plan,
    )
