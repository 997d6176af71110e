"""A convnet that classifies attributes of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.data import Order
from pushforward.randomness import keyed


class Task(NamedTuple):
    """Images (n, C, H, W) of integers 0 … levels − 1, and the values (n, attributes) of their attributes."""

    levels: int
    names: tuple[str, ...]
    values: int
    images: Tensor
    has: Tensor
    test: Tensor
    test_has: Tensor


class Classifier(nn.Module):
    """A convnet that classifies the value of every attribute: (n, C, H, W) on [−1, 1] -> (n, values, attributes)."""

    def __init__(self, channels: int, values: int, attributes: int):
        super().__init__()
        sizes = (channels, 32, 64, 64)
        convolutions = [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(sizes, sizes[1:], strict=False)]
        layers = [part for each in convolutions for part in (each, nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(values * attributes))
        self.shape = values, attributes

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).unflatten(1, self.shape)

    @torch.no_grad()
    def tell(self, data: Tensor, levels: int) -> Tensor:
        """The predicted values (n, attributes) for images of integers."""
        return torch.cat([self(placed(part, levels)).argmax(1) for part in data.split(500)])


def learn_classifier(path: Path, task: Task, steps: int = 1000) -> Classifier:
    """Train it with noise of 0.05, or load it."""
    torch.manual_seed(0)
    classifier = Classifier(task.images.shape[1], task.values, len(task.names))
    classifier(placed(task.images[:2], task.levels))

    def loss(rows: Tensor, step: int) -> Tensor:
        x = placed(task.images[rows], task.levels)
        return F.cross_entropy(classifier(x + 0.05 * torch.randn(x.shape, generator=keyed(step))), task.has[rows])

    learn(classifier, path, len(task.images), loss, steps)
    return classifier


def learn(net: nn.Module, path: Path, n: int, loss: Callable[[Tensor, int], Tensor], steps: int) -> None:
    """Train it by the loss of 64 of n rows in each step, or load it."""
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return
    optimiser, order = torch.optim.Adam(net.parameters(), 2e-3), Order(n, seed=1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss(order[64 * step : 64 * (step + 1)], step).backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    torch.save(net.state_dict(), path)


def placed(data: Tensor, levels: int) -> Tensor:
    """Integers 0 … levels − 1 on [−1, 1]."""
    return data / (levels - 1) * 2 - 1
