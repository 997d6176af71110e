"""Attributes of sprites and digits, edited by a Glow: pictures, and whether an independent classifier sees the change.

    PUSHFORWARD_DATA=folder .venv/bin/python benchmarks/editing.py

"""

from __future__ import annotations

from pathlib import Path

import torch
from sprites import ATTRIBUTES, LEVELS, VALUES, drawn, sprites
from torch import Tensor, nn

import pushforward as pf
from pushforward.data import Images
from pushforward.flow import Flow
from pushforward.lift import Uniform
from pushforward.training import Checkpoints, Likelihood, Log, Plan, minimise

RUNS, DOCS = Path("runs/editing"), Path("docs")


def learn(name: str, flow: Flow, images: Images, steps: int) -> Flow:
    """Train, or go on; the average of the weights it went through."""
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(steps=steps, batch=32, lr=3e-3, average_decay=0.99, precision="float32", checkpoint_every=100)
    lifted = Likelihood(flow, Uniform(images.levels))
    return minimise(lifted, images, plan, checkpoints=Checkpoints(folder), log=Log(folder)).eval()


def sprites_glow(coupling: str, steps: int) -> Flow:
    torch.manual_seed(0)
    model = pf.models.Glow(image=(3, 32, 32), levels=3, steps=8, width=64, coupling=coupling)
    return learn(f"sprites-{coupling}", model.build(), Images(sprites("train")[0], levels=LEVELS), steps)
