"""The flows of the benchmarks: with random weights, and trained for some minutes, once, into runs/bench.

python benchmarks/flows.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pushforward.codecs import GaussianNoise
from pushforward.data import Images, find
from pushforward.flow import Flow
from pushforward.models import TarFlow
from pushforward.training import Likelihood, Plan, minimise

RUNS = Path("runs/bench")
SIGMA = 0.1  # of the noise that images are encoded with


def random(model: TarFlow, answers: float = 0.01) -> Flow:
    """Random weights, with outputs large enough to move tokens, and small enough not to overflow."""
    torch.manual_seed(0)
    flow = model.build()
    for name, parameter in flow.named_parameters():
        if "answer" in name:
            torch.nn.init.normal_(parameter, std=answers)
    return flow


@dataclass(frozen=True)
class Subject:
    """A flow, its training data and its number of steps."""

    name: str
    data: str
    model: TarFlow
    plan: Plan

    def random(self) -> Flow:
        return random(self.model)

    def trained(self) -> Flow:
        """The trained flow, trained now if it was not before. Raises FileNotFoundError where the data are missing."""
        torch.manual_seed(0)
        flow, file = self.model.build(), RUNS / f"{self.name}.safetensors"
        if not file.exists():
            data = find(self.data, "train", image=self.model.image)
            assert isinstance(data, Images)
            objective = Likelihood(flow, GaussianNoise(data.levels, SIGMA), condition_dropout=0.1)
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(minimise(objective, data, self.plan).state_dict(), file)
        flow.load_state_dict(load_file(file))
        return flow


DIGITS = Subject(
    "digits",
    "digits",
    TarFlow(image=(1, 8, 8), patch=2, transforms=4, width=64, depth=2, classes=10),
    Plan(steps=500, batch=128, lr=5e-3, warmup=20, average_decay=0.99, precision="float32"),
)
MNIST = Subject(
    "mnist",
    "mnist",
    TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10),
    Plan(steps=300, batch=48, warmup=20, average_decay=0.98),
)
LARGE = Subject(
    "mnist-256-tokens",
    "mnist",
    TarFlow(image=(1, 32, 32), patch=2, transforms=4, width=256, depth=4, classes=10),
    Plan(steps=150, batch=8, warmup=20, average_decay=0.98),
)

if __name__ == "__main__":
    for subject in (DIGITS, MNIST, LARGE):
        subject.trained()
