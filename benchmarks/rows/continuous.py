"""Densities of a continuous flow by ours, zuko's and torchdiffeq's solvers: the same weights at the same tolerance."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
import torchdiffeq
from machine import Machine, in_turn, ratio
from torch import Tensor, nn
from zuko.transforms import FreeFormJacobianTransform

from pushforward.networks import VelocityMLP
from pushforward.solve import Dopri5, ExactDivergence
from pushforward.transforms import Continuous

RTOL, ATOL = 1e-5, 1e-6
ROWS, HIDDEN = 256, (64, 64)

Ends = tuple[Tensor, Tensor]  # values and log-determinants


class Pushed(VelocityMLP):
    """Without the closed form of its divergence."""

    def with_divergence(self, *_: object) -> None:
        return None


class Counted(nn.Module):
    """A network that counts its calls."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x, t.expand(x.shape[:-1]))


def report(machine: Machine) -> str:
    lines = [line for features in (2, 8, 64) for line in compared(features, machine)]
    return "\n".join(
        [
            "## Continuous flows",
            "",
            f"log-determinants of {ROWS} rows by Dormand and Prince's method at rtol {RTOL:g} and atol {ATOL:g}, "
            f"without gradients: perceptrons of {len(HIDDEN)} hidden layers of {HIDDEN[0]}, of random weights. "
            "The divergence is exact. NFE are calls of the network, of ours the mean over rows, which take their own "
            "steps. Errors are the largest, against a solution in float64 at 1e-9.",
            "",
            "| features | solver | divergence | ms | NFE | error of z | error of the log-det | its time / ours |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


@torch.no_grad()
def compared(features: int, machine: Machine) -> list[str]:
    torch.manual_seed(0)
    net = VelocityMLP(features, hidden=HIDDEN).to(machine.device)
    for parameter in net.parameters():
        parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    pushed = Pushed(features, hidden=HIDDEN).to(machine.device)
    pushed.load_state_dict(net.state_dict())
    x = torch.randn(ROWS, features, device=machine.device)
    solve = Dopri5(rtol=RTOL, atol=ATOL)
    closed, forward = Continuous(net, solve=solve), Continuous(pushed, solve=solve)
    sides: dict[tuple[str, str], Callable[[], Ends]] = {
        ("ours", "closed form"): partial(closed, x),
        ("ours", "forward mode"): partial(forward, x),
        ("zuko", "reverse mode"): partial(by_zuko, Counted(net), x),
        ("torchdiffeq", "closed form"): partial(by_torchdiffeq, Counted(net), net.with_divergence, x),
        ("torchdiffeq", "forward mode"): partial(by_torchdiffeq, Counted(net), by_forward_mode(pushed), x),
    }
    times = in_turn(sides)  # pyright: ignore[reportArgumentType]
    exact = Continuous(net.double(), solve=Dopri5(rtol=1e-9, atol=1e-9))(x.double())
    net.float()
    lines = []
    for (who, how), side in sides.items():
        errors = [(a.double() - b).abs().max().item() for a, b in zip(side(), exact, strict=True)]
        if who == "ours":
            evaluations = closed.integrate(x).evaluations.double().mean().item()
        else:
            counted = side.args[0]  # pyright: ignore[reportFunctionMemberAccess]
            counted.calls = 0
            side()
            evaluations = counted.calls
        against = times["ours", "forward mode" if how == "forward mode" else "closed form"]
        lines.append(
            f"| {features} | {who} | {how} | {1e3 * statistics.median(times[who, how]):.1f} | {evaluations:.0f} "
            f"| {errors[0]:.1e} | {errors[1]:.1e} | {ratio(times[who, how], against):.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def by_zuko(net: Counted, x: Tensor) -> Ends:
    return FreeFormJacobianTransform(net, 1.0, 0.0, atol=ATOL, rtol=RTOL).call_and_ladj(x)


def by_torchdiffeq(
    net: Counted, with_divergence: Callable[..., tuple[Tensor, Tensor]], x: Tensor
) -> tuple[Tensor, Tensor]:
    def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        net.calls += 1
        return with_divergence(state[0], t.expand(len(x)))

    times = torch.tensor([1.0, 0.0], device=x.device)
    z, log_det = torchdiffeq.odeint(field, (x, x.new_zeros(len(x))), times, method="dopri5", rtol=RTOL, atol=ATOL)
    return z[-1], log_det[-1]


def by_forward_mode(net: Pushed) -> Callable[..., Ends]:
    divergence = ExactDivergence()
    return lambda x, t: divergence(net, x, t, None, None)
