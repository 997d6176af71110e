"""Classes of events by Bayes' rule, from the density that a flow has given each of them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pushforward.arrays import as_real_tensor
from pushforward.conditions import Given, Label
from pushforward.recording import readable
from pushforward.shapes import Events


@torch.no_grad()
def class_log_probs(
    flow: Any, x: Events, prior: Tensor | None = None, *, context: Mapping[str, Given] | None = None
) -> Tensor:
    """log p(class | x) by Bayes' rule, in nats, (*batch, classes). `prior` (classes,) is uniform where None.

    The prior need not sum to 1. `context` has the flow's other conditions by name, as its other methods take them. The
    answer is that of the prior where the density is 0 given every class. Raises ValueError where the flow is not
    conditioned on class labels, or the prior is none.
    """
    if not flow.classes:
        raise ValueError("only a flow conditioned on class labels can classify; this one is not.")
    name, others = next(name for name, kind in flow.conditions.items() if isinstance(kind, Label)), context or {}
    joint = torch.stack([flow.log_prob(x, {**others, name: label}) for label in range(flow.classes)], dim=-1)
    joint = torch.where((joint == -math.inf).all(-1, keepdim=True), 0, joint)
    if prior is not None:
        joint = joint + _checked(as_real_tensor(prior, "prior"), flow.classes).to(joint).log()
    return joint.log_softmax(-1)


def classify(
    flow: Any, x: Events, prior: Tensor | None = None, *, context: Mapping[str, Given] | None = None
) -> Tensor:
    """The most probable class of each event, (*batch) int64: argmax over classes of p(x | class) · p(class)."""
    return class_log_probs(flow, x, prior, context=context).argmax(-1)


def _checked(prior: Tensor, classes: int) -> Tensor:
    """The prior. Raises ValueError where it is none of so many classes."""
    if prior.shape != (classes,) or (
        readable(prior) and not ((prior >= 0).all() and prior.isfinite().all() and prior.any())
    ):
        raise ValueError(
            f"a prior has a finite weight of at least 0 for each of {classes} classes, and one above 0; got {prior}."
        )
    return prior
