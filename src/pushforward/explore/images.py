"""Images of a flow: held-out ones, samples and uploads, and what the flow makes of one of them."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward import editing
from pushforward.codecs import CodedFlow
from pushforward.data import Images
from pushforward.evaluation.pictures import pixels
from pushforward.explore.blocks import Block, bits, blocks
from pushforward.explore.worker import Parts, portions
from pushforward.randomness import Keyed
from pushforward.sampling import Sampling, samples

MOST = 64  # images in an answer
COMPARED = 128  # held-out images, among which one is ranked
KEPT = 32  # uploads


class Pictures:
    """The images of a flow. One is named "data:7", held out; "sample:7", drawn as `Sampling` says; or "upload:3".

    A sample is rounded to integers before it is looked at, as the data are.
    """

    def __init__(self, coded: CodedFlow, held_out: Images | None):
        self.coded, self.flow, self.held_out = coded, coded.flow, held_out
        self.uploads: OrderedDict[str, Tensor] = OrderedDict()
        self.numbers = itertools.count()
        self.ranked: list[float] = []

    def keep(self, integers: Tensor) -> str:
        """Keep an upload, (1, C, H, W), for as long as there are not too many others; its name."""
        name = f"upload:{next(self.numbers)}"
        self.uploads[name] = integers
        while len(self.uploads) > KEPT:
            self.uploads.popitem(last=False)
        return name

    def data(self, start: int, n: int) -> list[dict[str, Any]]:
        """Held-out images from `start` on."""
        if self.held_out is None:
            return []
        rows = range(start, min(start + n, len(self.held_out)))
        integers, labels = self.held_out.fetch(rows)
        return self._listed("data", rows, self.coded.codec.clean(integers), labels)

    def drawn(self, sampling: Sampling, n: int) -> Parts:
        """The first n samples."""
        listed = []
        for rows in portions(n):
            some = next(iter(samples(self.coded, sampling, start=rows.start, stop=rows.stop)))
            listed += self._listed("sample", rows, some.events, some.labels)
            yield rows.stop / n
        return listed

    def picked(self, name: str, sampling: Sampling) -> dict[str, Any]:
        """What the flow makes of an image, given its label; of an upload, given its most probable label."""
        codec, flow = self.coded.codec, self.flow
        integers, label = self._named(name, sampling)
        clean = codec.clean(integers)
        posterior = flow.class_log_probs(clean)[0].exp().tolist() if flow.classes else []
        if flow.classes and label is None:
            label = int(np.argmax(posterior))
        x, log_q = codec.encode(integers, Keyed(0, rows=[0]))
        made = blocks(flow, x, label)
        with torch.no_grad():
            log_p, z = flow.log_prob_and_latent(x, label)
            back = flow.decode(z, label)
        return {
            "name": name,
            "label": label,
            "posterior": posterior,
            "unit": codec.unit,
            "cost": codec.in_unit(log_p - log_q, integers).item(),
            "log_p": log_p.item(),
            "round_trip": (back - x).abs().max().item(),
            "same": bool((codec.decode(back) == codec.decode(x)).all()),
            "clean": png(clean[0]),
            "encoded": png(x[0]),
            "blocks": [
                {"name": f"block {k}", "image": png(_shown(block.z)), "log_det": block.log_det}
                for k, block in enumerate(made, 1)
            ],
            "bits": self._bits(made, log_p.item(), log_q.item()).round(decimals=4).tolist() if made else [],
        }

    def encoded(self, name: str, sampling: Sampling) -> Tensor:
        """An image as the flow takes it, (1, C, H, W)."""
        return self.coded.codec.encode(self._named(name, sampling)[0], Keyed(0, rows=[0]))[0]

    def line(self, names: list[str], sampling: Sampling, n: int) -> list[str]:
        """n images from one to another along a straight line of latents, without the class."""
        a, b = (self.coded.codec.clean(self._named(name, sampling)[0]) for name in names)
        return [png(x) for x in editing.interpolate(self.flow, a, b, n)[0]]

    def costs(self) -> Parts:
        """Bits/dim of held-out images, given their labels, sorted."""
        if self.held_out is not None and not self.ranked:
            n, found = min(COMPARED, len(self.held_out)), []
            for rows in portions(n):
                integers, labels = self.held_out.fetch(rows)
                with torch.no_grad():
                    bound = self.coded.bound(integers, labels, generator=Keyed(0, rows=rows))
                found += self.coded.codec.in_unit(bound, integers).tolist()
                yield rows.stop / n
            self.ranked = sorted(found)
        return self.ranked

    def _named(self, name: str, sampling: Sampling) -> tuple[Tensor, int | None]:
        """The integers of an image, (1, C, H, W), and its label. Raises ValueError where there is none."""
        kind, _, number = name.partition(":")
        if kind == "upload" and name in self.uploads:
            return self.uploads[name], None
        if kind in ("data", "sample") and number.isdecimal() and len(number) < 9:
            i = int(number)
            if kind == "data" and self.held_out is not None and i < len(self.held_out):
                integers, labels = self.held_out.fetch([i])
                return integers, None if labels is None else int(labels[0])
            if kind == "sample" and i < MOST:
                some = next(iter(samples(self.coded, sampling, start=i, stop=i + 1)))
                label = None if some.labels is None or some.labels[0] < 0 else int(some.labels[0])
                return some.data, label
        raise ValueError(f'there is no image "{name[:40]}".')

    def _listed(self, kind: str, numbers: range, x: Tensor, labels: Tensor | None) -> list[dict[str, Any]]:
        given = [None] * len(x) if labels is None else labels.tolist()
        return [
            {"name": f"{kind}:{number}", "image": png(image), "label": label}
            for number, image, label in zip(numbers, x, given, strict=True)
        ]

    def _bits(self, made: list[Block], log_p: float, log_q: float) -> Tensor:
        """Where the bits of an image are, (H, W). What the codec adds is spread evenly."""
        found = bits(self.flow, made, log_p).sum(0)
        return found + log_q / math.log(2) / found.numel()


def _shown(z: Tensor) -> Tensor:
    """The output of a block on [−1, 1]: three deviations of a latent are white."""
    return z / 3


def png(x: Tensor) -> str:
    """An image (C, H, W) on [−1, 1] as a data URL."""
    written = io.BytesIO()
    pixels((x + 1) / 2).save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
