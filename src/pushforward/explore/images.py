"""What a flow makes of an image."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward import editing
from pushforward.conditions import expand
from pushforward.explore.blocks import Block, bits, blocks
from pushforward.explore.gallery import Gallery, png
from pushforward.explore.worker import Parts, in_parts
from pushforward.randomness import Keyed
from pushforward.sampling import Sampling

COMPARED = 128  # held-out images, among which one is ranked


class Pictures:
    """What a flow makes of the images of a gallery."""

    def __init__(self, gallery: Gallery):
        self.gallery, self.coded, self.flow = gallery, gallery.coded, gallery.coded.flow
        self.ranked: list[float] = []

    def picked(self, name: str, sampling: Sampling) -> dict[str, Any]:
        """What the flow makes of an image, given its label; of an upload, given its most probable label."""
        codec, flow = self.coded.codec, self.flow
        integers, label = self.gallery.named(name, sampling)
        clean = codec.clean(integers)
        posterior = flow.class_log_probs(clean)[0].exp().tolist() if flow.classes else []
        if flow.classes and label is None:
            label = int(np.argmax(posterior))
        x, log_q = codec.encode(integers, Keyed(0, rows=[0]))
        made = blocks(flow, x, label)  # of whose outputs three deviations are shown as white
        with torch.no_grad():
            log_p, z = flow.log_prob_and_latent(x, label)
            back = flow.decode(z, label)
            base = flow.base.log_prob(z, expand(flow.context(label), (1,)))
        return {
            "name": name,
            "label": label,
            "posterior": posterior,
            "unit": codec.unit,
            "cost": codec.in_unit(log_p - log_q, integers).item(),
            "log_p": log_p.item(),
            "base": base.item(),
            "round_trip": (back - x).abs().max().item(),
            "same": bool((codec.decode(back) == codec.decode(x)).all()),
            "clean": png(clean[0]),
            "encoded": png(x[0]),
            "blocks": [
                {"name": f"block {k}", "image": png(block.z / 3), "log_det": block.log_det}
                for k, block in enumerate(made, 1)
            ],
            "bits": self._bits(made, log_p.item(), log_q.item()).round(decimals=4).tolist() if made else [],
        }

    def line(self, names: list[str], sampling: Sampling, n: int) -> list[str]:
        """n images from one to another along a straight line of latents, without the class."""
        a, b = (self.coded.codec.clean(self.gallery.named(name, sampling)[0]) for name in names)
        return [png(x) for x in editing.interpolate(self.flow, a, b, n)[0]]

    def costs(self) -> Parts:
        """Bits/dim of held-out images, given their labels, sorted."""
        held_out, codec = self.gallery.held_out, self.coded.codec
        if held_out is not None and not self.ranked:

            @torch.no_grad()
            def costs(rows: range) -> list[float]:
                integers, labels = held_out.fetch(rows)
                bound = self.coded.bound(integers, labels, generator=Keyed(0, rows=rows))
                return codec.in_unit(bound, integers).tolist()

            found = yield from in_parts(min(COMPARED, len(held_out)), costs)
            self.ranked = sorted(itertools.chain(*found))
        return self.ranked

    def _bits(self, made: list[Block], log_p: float, log_q: float) -> Tensor:
        """Where the bits of an image are, (H, W). What the codec adds is spread evenly."""
        found = bits(self.flow, made, log_p).sum(0)
        return found + log_q / math.log(2) / found.numel()
