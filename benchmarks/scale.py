"""What training the published models takes on many GPUs: arithmetic, memory and communication, counted without a GPU.

    .venv/bin/python -m benchmarks.scale

Shapes alone go through a model, one row and two, forward and back; operations and saved bytes are counted on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from pushforward import conditions
from pushforward.conditions import Given
from pushforward.models import Model
from pushforward.recipes import imagenet64_bits, imagenet256_by_class, text_to_image, text_to_video
from pushforward.training import Likelihood, Plan, networks
from pushforward.training.prepare import blocks
from pushforward.training.utilisation import Products

MODELS: dict[str, Model] = {
    "TarFlow, ImageNet 64 × 64": imagenet64_bits().model,
    "STARFlow, ImageNet 256 × 256": imagenet256_by_class().model,
    "STARFlow, text to image": text_to_image().model,
    "STARFlow-V, text to video": replace(text_to_video().model, frames=21),
}
NODE = 8  # GPUs
RATE = 400e12  # operations a second that a GPU reaches in bfloat16: assumed, two fifths of an H100's
INSIDE, BETWEEN = 400e9, 50e9  # bytes a second that a GPU sends inside a node, and between nodes: assumed
FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Layout:
    """A model, on so many GPUs, by a plan."""

    model: str
    gpus: int
    plan: Plan

    @property
    def rows(self) -> int:
        """Rows that a GPU has at a time."""
        return self.plan.batch // self.gpus // self.plan.accumulate

    @property
    def holders(self) -> int:
        """GPUs that hold the weights together."""
        return {"replicated": 1, "sharded": self.gpus, "hybrid": min(NODE, self.gpus)}[self.plan.parallel]


def layout(model: str, gpus: int, **plan: Any) -> Layout:
    return Layout(list(MODELS)[[name.startswith(model) for name in MODELS].index(True)], gpus, Plan(steps=1, **plan))


LAYOUTS = (
    layout("TarFlow", 1, batch=32),
    layout("TarFlow", 8, batch=256),
    layout("TarFlow", 8, batch=256, parallel="sharded"),
    layout("STARFlow, ImageNet", 8, batch=512, accumulate=4, parallel="sharded"),
    layout("STARFlow, ImageNet", 32, batch=512, parallel="hybrid"),
    layout("STARFlow, text", 8, batch=1024, accumulate=8, recomputed=True, parallel="sharded"),
    layout("STARFlow, text", 64, batch=1024, accumulate=2, parallel="hybrid"),
    layout("STARFlow, text", 64, batch=1024, recomputed=True, parallel="hybrid"),
    layout("STARFlow-V", 192, batch=192, recomputed=True, parallel="sharded"),
)


@dataclass(frozen=True)
class Counted:
    """What was counted of a model. Bytes are those kept for the backward pass."""

    weights: int
    gathered: int  # weights outside of blocks, and of the two largest blocks: one is used, the next is on its way
    operations: int  # a row, forward and back, with causal attention at half of its square
    kept: int  # bytes a row
    kept_once: int  # bytes whatever the rows: weights in bfloat16
    recomputed: int  # bytes a row, where networks recompute their activations: those of the largest
    recomputed_once: int


@cache
def counted(model: Model) -> Counted:
    shapes_alone = FakeTensorMode(allow_non_fake_inputs=True)
    with shapes_alone:
        objective = Likelihood(model.build())
    given = [conditions.read(objective.flow.conditions, _context(model, rows)) for rows in (1, 2)]
    with shapes_alone:
        (operations, one), (_, two) = (_passed(objective, rows, given[rows - 1]) for rows in (1, 2))
        sizes = sorted(sum(p.numel() for p in b.parameters()) for n in networks(objective) for b in blocks(n))
        weights = sum(p.numel() for p in objective.parameters())
    row = {part: two[part] - one[part] for part in one}
    largest = max((part for part in row if part), key=lambda part: two[part])
    return Counted(
        weights,
        weights - sum(sizes[:-2]),
        operations,
        sum(row.values()),
        sum(one.values()) - sum(row.values()),
        row[0] + row[largest],
        one[0] + one[largest] - row[0] - row[largest],
    )


def _context(model: Any, rows: int) -> Tensor | None:
    if getattr(model, "text", None):
        return torch.zeros(rows, *model.text)
    return torch.zeros(rows, dtype=torch.int64) if model.classes else None


def _passed(objective: Likelihood, rows: int, context: Given) -> tuple[int, Counter[int]]:
    """The operations of a pass and its gradients, and the bytes kept: outside of networks, 0, and by each, 1, 2, …"""
    x = torch.zeros(rows, *objective.flow.event)
    own = {p.untyped_storage()._cdata for p in objective.parameters()}
    sizes: dict[int, tuple[int, int, Tensor]] = {}
    at = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            sizes.setdefault(storage._cdata, (at[0], storage.nbytes(), tensor))
        return tensor

    counter = Products()
    with counter, saved_tensors_hooks(keep, lambda t: t), _watched(objective, at):
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = objective(x, context)
        loss.backward()
    kept: Counter[int] = Counter()
    for part, size, _ in sizes.values():
        kept[part] += size
    return counter.operations.total(), kept


@contextmanager
def _watched(objective: Likelihood, at: list[int]) -> Iterator[None]:
    """In this block at[0] is the number of the network that is called, from 1 on; 0 outside of networks."""
    hooks = []
    for number, network in enumerate(networks(objective), 1):
        hooks.append(network.register_forward_pre_hook(lambda *_, number=number: at.__setitem__(0, number)))
        hooks.append(network.register_forward_hook(lambda *_: at.__setitem__(0, 0)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def memory(of: Layout) -> tuple[float, float, float]:
    """Gigabytes of a GPU: what is stored between steps and gradients; weights gathered; activations."""
    model, plan = counted(MODELS[of.model]), of.plan
    copies = 5 if plan.average_decay else 4  # weights, two moments, gradients, and the average
    gathered = 0 if of.holders == 1 else FLOAT * model.gathered
    row, once = (model.recomputed, model.recomputed_once) if plan.recomputed else (model.kept, model.kept_once)
    return FLOAT * copies * model.weights / of.holders / 1e9, gathered / 1e9, (of.rows * row + once) / 1e9


def sent(of: Layout) -> tuple[float, float]:
    """Gigabytes that a GPU sends in a step, inside its node and between nodes."""
    weights, groups = FLOAT * counted(MODELS[of.model]).weights / 1e9, of.gpus // of.holders
    passes = 3 + of.plan.recomputed  # gathered in two or three passes, and gradients divided
    shares = of.plan.accumulate * passes * weights * (1 - 1 / of.holders)
    summed = 2 * weights / of.holders * (1 - 1 / groups)
    if of.holders > NODE:
        return 0, shares
    return (shares, summed) if of.gpus > NODE else (shares + summed, 0)


def models() -> str:
    lines = [
        "| model | parameters | TFLOP a row | kept for gradients, GB a row | the same, recomputed |",
        5 * "|---" + "|",
    ]
    for name, model in MODELS.items():
        of = counted(model)
        numbers = f"{of.operations / 1e12:.2f} | {of.kept / 1e9:.2f} | {of.recomputed / 1e9:.2f}"
        lines.append(f"| {name} | {of.weights:,} | {numbers} |")
    return "\n".join(lines)


def layouts() -> str:
    head = "model | GPUs | plan | rows a GPU at a time | stored + gathered + activations, GB | PFLOP a step | s a step"
    lines = [f"| {head} | sent inside, between nodes, GB | s |", 9 * "|---" + "|"]
    for of in LAYOUTS:
        plan, parts, (inside, between) = of.plan, memory(of), sent(of)
        told = [f"batch {plan.batch}", plan.parallel, f"accumulate {plan.accumulate}" if plan.accumulate > 1 else ""]
        told += ["recomputed"] if plan.recomputed else []
        operations = plan.batch * counted(MODELS[of.model]).operations * (4 / 3 if plan.recomputed else 1)
        cells = [of.model, str(of.gpus), ", ".join(filter(None, told)), str(of.rows)]
        cells += [" + ".join(f"{part:.1f}" for part in parts) + f" = {sum(parts):.0f}", f"{operations / 1e15:.2f}"]
        cells += [f"{operations / of.gpus / RATE:.2f}", f"{inside:.1f}, {between:.1f}"]
        cells += [f"{1e9 * (inside / INSIDE + between / BETWEEN):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{models()}\n\n{layouts()}")
