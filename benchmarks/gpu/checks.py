"""Checks: laws on the device in full float32, decoders against one pass, captured against eager to the last bit."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

import pushforward as pf
from benchmarks.gpu.part import Machine, Part
from pushforward import capture
from pushforward.capture import Captured
from pushforward.models import MAF, NSF, Glow, RealNVP, TarFlow
from pushforward.moves import Affine
from pushforward.networks import CausalNetwork, CausalTransformer, Guided, LabelEmbedding, Learned, MaskedMLP, Rotary
from pushforward.solve import blockwise_jacobi, jacobi, sequential

Module = TypeVar("Module", bound=torch.nn.Module)
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Nothing is captured: decoders are of kind "tensors"."""
    recorders = dict(capture.RECORDERS)
    capture.RECORDERS.clear()
    try:
        yield
    finally:
        capture.RECORDERS.update(recorders)


def laws(machine: Machine, seconds: float) -> Iterator[str]:
    """The suite's own laws, of transforms and batches that are made on the CPU and moved to the device."""
    sys.path.insert(0, str(ROOT))
    from tests.laws import laws
    from tests.laws.cases import CASES, Case

    class Moved(Case):
        def build(self, *of: Any) -> Any:
            return super().build(*of).to(machine.device)

        def context(self, *of: Any) -> Any:
            context = super().context(*of)
            return context and pf.conditions.each(context, lambda t: t.to(machine.device))

        def x(self, *of: Any) -> Tensor:
            return super().x(*of).to(machine.device)

        def z(self, *of: Any) -> Tensor:
            return super().z(*of).to(machine.device)

    chosen = (laws.round_trip, laws.log_dets_cancel, laws.float32_agrees_with_float64, laws.batch_is_its_samples)
    wanted = [(name, law) for law in chosen for name in CASES if law.__name__ not in CASES[name].excused]
    tried, failed, until = 0, 0, time.monotonic() + seconds
    for name, law in wanted:
        if time.monotonic() > until or (machine.small and tried == 20):
            break
        tried += 1
        for way in (torch.enable_grad, torch.no_grad):  # without gradients inverses take other ways
            try:
                with way():
                    law(Moved(**vars(CASES[name])))
            except Exception as error:
                failed += 1
                yield f"FAILED | {law.__name__}: {name}, {way.__name__} | {_told(error)}"
                break
    yield f"ok | {tried - failed} of {len(wanted)} laws hold, {failed} do not; float32 without TF32 | "


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].replace("|", "/")


def randomised(module: Module, std: float = 0.2) -> Module:
    """Random last layers in place of zeros, whose outputs have about this deviation: no step is the identity."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if "answer" in name and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std / parameter[0].numel() ** 0.5)
    return module


def judged(name: str, found: Tensor, expected: Tensor, allowed: float) -> str:
    """A row: the largest difference, over 1 + |expected|."""
    error = ((found - expected).abs() / (1 + expected.abs())).max().item()
    return f"{'ok' if error <= allowed else 'FAILED'} | {name} | {error:.1e} ≤ {allowed:.0e}"


NETWORKS: dict[str, Callable[[int], CausalNetwork]] = {
    "transformer": lambda tokens: CausalTransformer(
        3, (3, 2), positions=Learned(tokens, 128), width=128, depth=2, heads=2
    ),
    "rotary, labels": lambda tokens: CausalTransformer(
        3, (3, 2), positions=Rotary(tokens), width=128, depth=2, heads=2, context_encoder=LabelEmbedding(4, 128)
    ),
    "masked": lambda tokens: MaskedMLP(tokens, (2,), hidden=(128, 128)),
    "masked, residual": lambda tokens: MaskedMLP(tokens, (23,), hidden=(128, 128), residual=True),
}


@torch.no_grad()
def decoders(machine: Machine, seconds: float) -> Iterator[str]:
    """Every kind of decoder against the parallel pass, and every solver against the sequential one."""
    del seconds
    for name, make in NETWORKS.items():
        net = randomised(make(24 if machine.small else 300)).to(machine.device)
        context = None
        if "labels" in name:
            context = pf.conditions.read({"label": pf.conditions.Label(4)}, torch.arange(4, device=machine.device))
        nets = {name: net}
        if context:
            nets[f"{name}, guided"] = Guided(net, Affine(), pf.guidance.Linear(0.5))
        for title, each in nets.items():
            tokens = each.tokens
            x = torch.randn(4, tokens, *each.token, device=machine.device)
            expected = each(x, context)
            for kind, mode in {"chosen": contextlib.nullcontext(), "eager": eager()}.items():
                with mode:
                    decoder = each.start(4, context)
                    pieces = [x[:, :5], *x[:, 5:-1].split(1, 1)]
                    found = torch.cat([decoder.answer, *(decoder.read(piece) for piece in pieces)], 1)
                yield judged(f"{title}, {kind}: {decoder.kind}", found, expected, 1e-4)
            if expected.shape[-1] == 2:
                z = torch.randn_like(x)
                right = torch.cat([token for token, _ in _eager_sequential(each, z, context)], 1)
                for solver in (sequential, blockwise_jacobi, jacobi):
                    found = torch.cat([token for token, _ in solver(each, Affine(), z, context)], 1)
                    yield judged(f"{title}, {solver.__name__}", found, right, 1e-3)


def _eager_sequential(net, z: Tensor, context) -> list[tuple[Tensor, Tensor]]:
    with eager():
        return list(sequential(net, Affine(), z, context))


FLOWS: dict[str, Callable[[], pf.Flow]] = {
    "RealNVP": lambda: RealNVP(features=64, hidden=(128, 128)).build(),
    "MAF": lambda: MAF(features=64, hidden=(128, 128)).build(),
    "NSF, coupling": lambda: NSF(features=64, hidden=(128, 128)).build(),
    "NSF, autoregressive": lambda: NSF(features=8, hidden=(128, 128), autoregressive=True).build(),
    "TarFlow": lambda: TarFlow(image=(1, 16, 16), patch=4, transforms=2, width=64, depth=2).build(),
    "Glow": lambda: Glow(image=(3, 16, 16), levels=2, transforms=2, width=32).build(),
}


@torch.no_grad()
def captured(machine: Machine, seconds: float) -> Iterator[str]:
    """Recorded calls have the bits of eager ones and round-trip; a function that cannot be recorded is called."""
    del seconds
    for name, make in FLOWS.items():
        flow = randomised(make()).to(machine.device)
        graphed = pf.graphed(flow)
        for seed in range(4):
            torch.manual_seed(seed)
            x = 0.5 * torch.randn(16, *flow.event, device=machine.device)
            found, z = graphed.log_prob(x), graphed.encode(x)
            back = graphed.decode(z)
        with eager():
            same = torch.equal(found, flow.log_prob(x)) and torch.equal(z, flow.encode(x))
        yield f"{'ok' if same else 'FAILED'} | {name}: bits of log_prob and encode | {_why(graphed)}"
        yield judged(f"{name}: decode(encode(x))", back, x, 2e-3)
    waits = Captured(lambda x: x * float(x.sum()), machine.device)
    for _ in range(3):
        last = waits(torch.ones(3, device=machine.device))
    fine = bool((last == 3).all()) and bool((torch.ones(3, device=machine.device) + 1 == 2).all())
    yield f"{'ok' if fine and waits.why else 'FAILED'} | what cannot be recorded | {waits.why}"
    counted = Captured(lambda x: x + torch.rand_like(x), machine.device)
    draws = {counted(torch.zeros(1, device=machine.device)).item() for _ in range(5)}
    yield f"{'ok' if len(draws) == 5 else 'FAILED'} | random numbers go on in replays | {counted.why}"


def _why(graphed: pf.Flow) -> str:
    return str(getattr(graphed.transform, "why", "")).replace("None", "replayed")


PARTS = {
    "laws": Part("Laws on the device", "| law | error", 75, laws, check=True),
    "decoders": Part("Decoders and solvers", "| network, decoder | largest error", 25, decoders, check=True),
    "captured": Part("Captured calls", "| call | how", 20, captured, check=True),
}
