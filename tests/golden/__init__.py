"""What models of other authors gave for weights of their own, as README.md lists it, and agreement with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

ROUNDING = 2e-5  # what float32 may do in a pass or two, relative to 1 + |value|


def weights(name: str) -> Path:
    """The file of the authors' state dict."""
    return Path(__file__).parent / name / "reference_state_dict.pth"


def config(name: str) -> dict[str, Any]:
    """The arguments of the authors' constructor."""
    return json.loads(weights(name).with_name("config.json").read_text())


def vectors(name: str) -> dict[str, Tensor]:
    """Inputs, and what the authors' model makes of them."""
    return load_file(weights(name).with_name("vectors.safetensors"))


def agree(ours: Tensor, theirs: Tensor, tolerance: float = ROUNDING) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
