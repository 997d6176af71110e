"""Flow matching on two moons: densities, and how far samples of a few passes are from those of the exact trajectories.

    python benchmarks/matching.py

Every model is fitted by `pf.fit` with its own objective and defaults, on 5,000 rows, one seed. Reported are log p of
10,000 others, which under the density of the moons itself have a mean of about −1.03 nats; evaluations of the velocity
per sample at the default tolerance; and the root mean squared distance, in units of the data, of samples by one and by
four passes to those of the exact trajectories of the same noise.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

import pushforward as pf
from pushforward.randomness import keyed
from pushforward.solve import Euler, Jumps
from pushforward.transforms import Continuous

MODELS = {
    "NSF": pf.models.NSF(features=2),
    "FlowMatching": pf.models.FlowMatching(features=2),
    "OTFlowMatching": pf.models.OTFlowMatching(features=2),
    "FlowMatching, semidiscrete OT": pf.models.FlowMatching(
        features=2, objective=pf.objectives.Matching(coupling=pf.objectives.SemidiscreteOT())
    ),
    "RectifiedFlow": pf.models.RectifiedFlow(features=2),
    "FlowMap, by jumps": pf.models.FlowMap(features=2),
    "FlowMap by MeanFlow, by jumps": pf.models.FlowMap(features=2, objective=pf.objectives.MeanFlow()),
}


def moons(n: int, seed: int) -> Tensor:
    angle = math.pi * torch.rand(n, generator=keyed(seed))
    upper = torch.rand(n, generator=keyed(seed, 1)) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], 1) + 0.1 * torch.randn(n, 2, generator=keyed(seed, 2))


@torch.no_grad()
def row(name: str, model: pf.models.VectorModel, x: Tensor, others: Tensor) -> str:
    torch.manual_seed(0)
    flow, started = model.build(), time.monotonic()
    with torch.enable_grad():
        pf.fit(flow, x)
    seconds, log_p = time.monotonic() - started, flow.log_prob(others).mean().item()
    *_, last = flow.transform
    if not isinstance(last, Continuous):
        return f"| {name} | {log_p:.3f} | | | | {seconds:.0f} |"
    z = torch.randn(2000, 2, generator=keyed(9))
    end, evaluations = flow.decode(z), last.integrate(z, start=0.0, stop=1.0).evaluations.double().mean()
    kind = Jumps if "jumps" in name else Euler
    far = [(flow.decode(z, solve=kind(n)) - end).square().sum(1).mean().sqrt().item() for n in (1, 4)]
    return f"| {name} | {log_p:.3f} | {evaluations:.0f} | {far[0]:.3f} | {far[1]:.3f} | {seconds:.0f} |"


def main() -> None:
    print("| model | log p | evaluations | one pass | four passes | fit, s |")
    print("|---|---|---|---|---|---|")
    x, others = moons(5000, 0), moons(10_000, 1)
    for name, model in MODELS.items():
        print(row(name, model, x, others), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
