"""Classes of events by Bayes' rule, from the density that a flow has given each of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pushforward.arrays import as_real_tensor
from pushforward.shapes import Events


@torch.no_grad()
def class_log_probs(flow: Any, x: Events, prior: Tensor | None = None) -> Tensor:
    """log p(class | x) by Bayes' rule, in nats, (*batch, classes). `prior` (classes,) is uniform where None.

    It is that of the prior where the density is 0 given every class. Raises ValueError where the flow is not
    conditioned on class labels.
    """
    if not flow.classes:
        raise ValueError("only a flow conditioned on class labels can classify; this one is not.")
    joint = torch.stack([flow.log_prob(x, label) for label in range(flow.classes)], dim=-1)
    joint = torch.where((joint == -math.inf).all(-1, keepdim=True), 0, joint)
    if prior is not None:
        joint = joint + as_real_tensor(prior, "prior").to(joint).log()
    return joint.log_softmax(-1)


def classify(flow: Any, x: Events, prior: Tensor | None = None) -> Tensor:
    """The most probable class of each event, (*batch) int64: argmax over classes of p(x | class) · p(class)."""
    return class_log_probs(flow, x, prior).argmax(-1)
