"""The cost of the published runs in floating-point operations, counted on the meta device.

    python benchmarks/costs.py

Matrix products, convolutions and attention of a step's loss and gradients are counted, by torch's FlopCounterMode;
those of variational dequantization are left out.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from pushforward.conditions import Condition
from pushforward.flow import Flow
from pushforward.recipes import RECIPES

EFFECTIVE = 1e14  # operations a second, assumed of a GPU
PUBLISHED = (
    "cifar10_realnvp",
    "cifar10_glow",
    "cifar10_flowpp",
    "imagenet64_jet",
    "imagenet64_bits",
    "imagenet64_by_class",
)


def operations(flow: Flow) -> int:
    """The operations of the loss and gradients of one image, counted on the meta device."""
    x, none = torch.empty(2, *flow.event, device="meta"), torch.zeros(2, dtype=torch.bool, device="meta")
    context = {"label": Condition(none.long(), none)} if flow.classes else None
    with FlopCounterMode(display=False) as counter:
        z, log_det = flow.transform(x, context)
        (z.square().sum() - log_det.sum()).backward()
    return counter.get_total_flops() // 2


def main() -> None:
    print("| recipe | parameters | GFLOP an image | images | EFLOP in all | GPU-days |\n|---|---|---|---|---|---|")
    for name in PUBLISHED:
        recipe = RECIPES[name]()
        with torch.device("meta"):
            flow = recipe.model.build()
        each, images = operations(flow), recipe.train.steps * recipe.train.batch
        parameters = sum(p.numel() for p in flow.parameters())
        days = each * images / EFFECTIVE / 86400
        print(
            f"| {name} | {parameters:,} | {each / 1e9:.1f} | {images:.2g} | {each * images / 1e18:.3g} | {days:.2g} |"
        )


if __name__ == "__main__":
    main()
