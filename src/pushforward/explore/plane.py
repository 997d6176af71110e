"""A flow of two features, stage by stage: stage k is the plane after the first k transforms, 0 of the data.

A continuous transform counts as several, one for each of the legs into which its time is cut.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pushforward.explore.worker import Parts, in_parts
from pushforward.flow import Flow
from pushforward.shapes import Events, PerSample
from pushforward.solve import RK4, ODESolver
from pushforward.transform import Transform, flattened
from pushforward.transforms import Continuous

RESOLUTION, COARSE = 112, 56  # points along a side of the density, and where a differential equation is solved for each
LINES, ALONG, REACH = 17, 81, 3.2  # of the grid, which is straight at the latent
LEGS = 8  # of a continuous transform


class Leg:
    """A continuous transform between two times."""

    def __init__(self, whole: Continuous, start: float, stop: float):
        self.whole, self.start, self.stop = whole, start, stop

    def __call__(self, x: Events) -> tuple[Events, PerSample]:
        found = self.whole.integrate(x, start=self.start, stop=self.stop)
        return found.value, found.log_det

    def decode(self, y: Events) -> Events:
        return self.whole.moved(y, start=self.stop, stop=self.start)

    def __str__(self) -> str:
        return f"time {self.stop:.3g}"


class Plane:
    """The stages of a flow of two features, with some rows of its data.

    >>> plane = Plane(pf.pretrained("moons"), torch.zeros(1, 2))
    >>> path = plane.point(stage=0, x=0.5, y=0.0)
    >>> round(path["base"] + sum(path["log_dets"]) - path["log_p"], 4)
    0.0
    """

    def __init__(self, flow: Flow, rows: Tensor):
        self.flow, self.rows = flow, rows
        self.parts = [*_parts(flow.transform)]
        self.quick = [*_parts(flow.transform, solve=RK4(steps=1))]  # for the grid and the density
        self.side = COARSE if any(isinstance(part, Leg) for part in self.parts) else RESOLUTION
        self.scene = cache(self._scene)
        self.densities: dict[int, dict[str, Any]] = {}

    def point(self, stage: int, x: float, y: float) -> dict[str, Any]:
        """Where a point of one stage is at every stage, (stages, 2), the log-det of each transform, and log p, nats.

        `round_trip` is the largest difference of the point when it has gone to the latent and back, or to the data.
        """
        self._check(stage)
        given = torch.tensor([[x, y]], dtype=self.rows.dtype)
        path, log_dets = self._pushed(self._to_data(given, stage), self.parts)
        base = self.flow.base.log_prob(path[-1]).item()
        back = path[stage] if stage else self.flow.decode(path[-1])  # of a latent, data and latent again
        return {
            "path": [at[0].tolist() for at in path],
            "log_dets": [log_det.item() for log_det in log_dets],
            "base": base,
            "log_p": base + sum(log_det.item() for log_det in log_dets),
            "round_trip": (back - given).abs().max().item(),
        }

    def _scene(self) -> dict[str, Any]:
        """Every stage: its transform, the square that is shown (centre, half of its side), the grid and the rows."""
        points, _ = self._pushed(self.rows, self.quick)
        lines = self._grids()
        names = ["data", *(str(part) if isinstance(part, Leg) else type(part).__name__ for part in self.parts)]
        return {
            "stages": [
                {
                    "name": name,
                    "square": _square(at, latent=stage == len(self.parts)),
                    "points": at.tolist(),
                    "lines": line.unflatten(0, (2 * LINES, ALONG)).tolist(),
                }
                for stage, (name, at, line) in enumerate(zip(names, points, lines, strict=True))
            ],
        }

    def density(self, stage: int) -> Parts:
        """The density of a stage on its square, by rows from below: 0 … 255 is the root of its share of the highest."""
        self._check(stage)
        if stage not in self.densities:
            left, bottom, half = self.scene()["stages"][stage]["square"]
            ends = torch.linspace(-half, half, self.side, dtype=self.rows.dtype)
            y, x = torch.meshgrid(bottom + ends, left + ends, indexing="ij")
            points = torch.stack([x, y], -1).flatten(0, 1)

            def log_density(rows: range) -> PerSample:
                return self._log_density(points[rows.start : rows.stop], stage)

            log_p = torch.cat((yield from in_parts(len(points), log_density, first=256)))
            root = (((log_p - log_p.max()) / 2).exp() * 255).round().int().tolist()
            self.densities[stage] = {"side": self.side, "root": root, "highest": log_p.max().item()}
        return self.densities[stage]

    def _check(self, stage: int) -> None:
        if not 0 <= stage <= len(self.parts):
            raise ValueError(f"the stages are 0 … {len(self.parts)}; got {stage}.")

    @torch.no_grad()
    def _pushed(self, x: Tensor, parts: Sequence[Transform | Leg]) -> tuple[list[Tensor], list[Tensor]]:
        """x at every stage, and the log-det of every transform."""
        path, log_dets = [x], []
        for part in parts:
            z, log_det = part(path[-1])
            path.append(z)
            log_dets.append(log_det)
        return path, log_dets

    @torch.no_grad()
    def _to_data(self, y: Tensor, stage: int) -> Tensor:
        """Points of a stage as data."""
        if stage == len(self.parts):
            return self.flow.decode(y)  # which solves a differential equation in one leg
        for part in reversed(self.parts[:stage]):
            y = part.decode(y)
        return y

    @torch.no_grad()
    def _grids(self) -> list[Tensor]:
        """The lines at every stage, (2 · LINES · ALONG, 2), which are upright and level at the latent."""
        across, along = torch.linspace(-REACH, REACH, LINES), torch.linspace(-REACH, REACH, ALONG)
        upright = torch.stack(torch.meshgrid(across, along, indexing="ij"), -1)
        found = [torch.cat([upright, upright.flip(-1)]).flatten(0, 1)]
        for part in reversed(self.quick):
            found.insert(0, part.decode(found[0]))
        return found

    @torch.no_grad()
    def _log_density(self, y: Tensor, stage: int) -> Tensor:
        """The log-density of a stage at its points, (n,)."""
        total = torch.zeros(len(y))
        for part in self.quick[stage:]:
            y, log_det = part(y)
            total = total + log_det
        return total + self.flow.base.log_prob(y)


def _parts(transform: Transform, solve: ODESolver | None = None) -> Iterator[Transform | Leg]:
    """The transforms one by one, continuous ones in legs; with another solver, where one is given."""
    for part in flattened(transform):
        if isinstance(part, Continuous):
            whole = part.solved_by(solve) if solve else part
            yield from (Leg(whole, 1 - k / LEGS, 1 - (k + 1) / LEGS) for k in range(LEGS))
        else:
            yield part


def _square(points: Tensor, *, latent: bool) -> list[float]:
    """A square around points: the two coordinates of its centre, and half of its side, 1 around a single point."""
    if latent:
        return [0.0, 0.0, max(1.1 * REACH, points.abs().max().item())]
    least, most = points.amin(0), points.amax(0)
    return [*((least + most) / 2).tolist(), 0.62 * (most - least).max().item() or 1.0]
