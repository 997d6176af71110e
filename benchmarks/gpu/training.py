"""Training: captured steps against eager ones, waits, random numbers on the device; milliseconds a step, and FLOP/s."""

from __future__ import annotations

import contextlib
import gc
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.gpu.part import Machine, Part, in_turn, once
from benchmarks.gpu.rates import mfu
from benchmarks.gpu.vectors import FEATURES, OURS, peers
from pushforward.codecs import Codec, GaussianNoise, Identity, UniformDequantization
from pushforward.data import Arrays, Data
from pushforward.kernels import philox
from pushforward.models import TarFlow
from pushforward.randomness import key
from pushforward.training import Likelihood, Plan, minimise
from pushforward.training.loop import _batches
from pushforward.training.prepare import initialize, prepared
from pushforward.training.state import State
from pushforward.training.step import WARMUPS, Step
from pushforward.training.utilisation import operations_of_step

MNIST = TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10)
IMAGENET = TarFlow(image=(3, 64, 64), patch=2, transforms=8, width=768, depth=8)
NOISES = {"uniform": UniformDequantization(256), "Gaussian": GaussianNoise(256, 0.1)}
Made = tuple[Likelihood, Data]


class OverError(Exception):
    """The time of a measurement is over."""


class Timed(Data):
    """Rows that note when each batch is fetched, once a step, and end the training after so many seconds."""

    def __init__(self, data: Arrays, skip: int, seconds: float):
        self.data, self.skip, self.seconds, self.times = data, skip, seconds, []

    def __len__(self) -> int:
        return len(self.data)

    def fetch(self, rows: Tensor | Sequence[int]) -> tuple[Tensor, Tensor | None]:
        self.times.append(time.perf_counter())
        counted = self.times[self.skip :]
        if len(counted) > 5 and counted[-1] - counted[0] > self.seconds:
            raise OverError
        return self.data.fetch(rows)

    @property
    def milliseconds(self) -> float:
        counted = self.times[self.skip :]
        return 1e3 * (counted[-1] - counted[0]) / (len(counted) - 1)


def inside_minimise(made: Made, plan: Plan, seconds: float) -> float:
    """Milliseconds a step, inside `minimise`."""
    objective, data = made
    timed = Timed(data, WARMUPS + 10, seconds)  # pyright: ignore[reportArgumentType]
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with contextlib.suppress(OverError), quiet[0], quiet[1]:
        minimise(objective, timed, replace(plan, steps=10**6, log_every=10**6, checkpoint_every=10**6))
    return timed.milliseconds


def images(model: TarFlow, codec: Codec, machine: Machine, rows: int = 4096) -> Made:
    """A model, and images of random integers with labels, on the host as data sets are."""
    torch.manual_seed(0)
    model = model.small() if machine.small else model
    pixels = torch.randint(256, (64 if machine.small else rows, *model.image), dtype=torch.uint8)
    labels = torch.arange(len(pixels)) % model.classes if model.classes else None
    with machine.device:
        flow = model.build()
    return Likelihood(flow, codec), Arrays(pixels, labels)


def vectors(model: str, machine: Machine) -> Made:
    torch.manual_seed(0)
    return Likelihood(OURS[model]().to(machine.device), Identity()), Arrays(torch.randn(4096, FEATURES))


def size(machine: Machine, batch: int) -> int:
    return 8 if machine.small else batch


@contextlib.contextmanager
def no_waits(machine: Machine) -> Iterator[None]:
    """On a GPU an operation that waits for it raises."""
    if machine.device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def trained(made: Made, plan: Plan, machine: Machine) -> tuple[list[Tensor], str | None]:
    """All state after the plan's steps, none of which may wait for the device; and why the last was not a replay."""
    objective, data = made
    initialize(objective, data, plan)
    state = State(objective, plan)
    step = Step(objective.train(), state, plan)
    with prepared(objective, plan):
        for batch in _batches(data, state, plan):
            with no_waits(machine):
                step(batch)
    return [t.detach().clone() for t in state.tensors().values()], step.why


def captured(machine: Machine, seconds: float) -> Iterator[str]:
    """Captured steps and eager ones end with the same state, and wait for nothing. Two eager trainings may differ, by
    sums whose order is not fixed: twice their difference is allowed."""
    until = time.monotonic() + seconds
    made: dict[str, Callable[[], Made]] = {
        f"MNIST TarFlow, {name} noise": partial(images, MNIST, codec, machine) for name, codec in NOISES.items()
    } | {name: partial(vectors, name, machine) for name in OURS}
    for name, make in made.items():
        if time.monotonic() > until:
            return
        plan = Plan(steps=WARMUPS + 4, batch=size(machine, 64), skip_above=1e6)
        try:
            (one, why), (other, _), (again, _) = (
                trained(make(), replace(plan, captured=way), machine) for way in (True, False, False)
            )
        except RuntimeError as error:
            yield f"FAILED | {name}: {str(error).splitlines()[0]} | "
            continue
        apart, allowed = largest_difference(one, other), 2 * largest_difference(again, other)
        sound = apart <= allowed and (why is None or machine.device.type != "cuda")
        yield f"{'ok' if sound else 'FAILED'} | {name}: {why or 'captured'} | {apart:.1e} ≤ {allowed:.1e}"


def largest_difference(one: list[Tensor], other: list[Tensor]) -> float:
    pairs = zip(one, other, strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs if a.numel())


def numbers(machine: Machine, seconds: float) -> Iterator[str]:
    """Random numbers of the device are those of the CPU."""
    del seconds
    rows, of = torch.tensor([0, 3, 2**33 + 1]), key(1, 2)
    there = rows.to(machine.device), of.to(machine.device)
    for dtype in (torch.float32, torch.float64):
        for name, draw, allowed in (("uniform", philox.uniform, 0.0), ("normal", philox.normal, 3e-6)):
            here = draw(of, rows, 2, 10_001, dtype)
            apart = (draw(there[1], there[0], 2, 10_001, dtype).cpu() - here).abs().max().item()
            yield f"{'ok' if apart <= allowed else 'FAILED'} | {name}, {dtype} | {apart:.1e} ≤ {allowed:.0e}"


def mnist(machine: Machine, seconds: float) -> Iterator[str]:
    """The model of MNIST inside `minimise`, batch 256, bfloat16."""
    until = time.monotonic() + seconds
    precision = "float32" if machine.small else "bfloat16"
    plan = Plan(steps=1, batch=size(machine, 256), precision=precision, lr=1e-4)
    ways = {
        "eager": replace(plan, captured=False),
        "captured": plan,
        "captured, layers compiled": replace(plan, compiled=not machine.small),
    }
    for noise, codec in NOISES.items():
        first = math.nan
        for way, how in ways.items():
            if time.monotonic() > until:
                return
            started = time.monotonic()
            took = inside_minimise(images(MNIST, codec, machine), how, seconds / 20)
            first = took if way == "eager" else first
            yield f"{noise} | {way} | {took:.2f} | {first / took:.1f} | {time.monotonic() - started:.0f}"


def of_vectors(machine: Machine, seconds: float, *, batch: int) -> Iterator[str]:
    """Training steps of vectors inside `minimise`, and those of peers written out."""
    each = seconds / len(OURS) / 5
    for model in OURS:
        plan = Plan(steps=1, batch=size(machine, batch), precision="float32")
        ours = [inside_minimise(vectors(model, machine), replace(plan, captured=way), each) for way in (False, True)]
        x = torch.randn(plan.batch, FEATURES, device=machine.device)
        theirs = {}
        for side, flow in peers(model).items():
            task = training_step(flow.to(machine.device), x)
            if once(task, machine.device) < 1e3 * each:
                theirs |= in_turn({side: task}, machine.device, each)
        best = min(theirs.values(), default=math.nan)
        cells = [f"{took:.2f}" for took in ours] + [f"{theirs.get(side, math.nan):.2f}" for side in ("zuko", "nflows")]
        yield f"{model} | {' | '.join(cells)} | {best / ours[1]:.1f}"


def training_step(flow: nn.Module, x: Tensor) -> Callable[[], None]:
    """A step of a peer, as its users write it."""
    optimiser = torch.optim.AdamW(flow.parameters(), fused=True)

    def step() -> None:
        optimiser.zero_grad()
        made = flow() if type(flow).__module__.startswith("zuko") else flow
        (-made.log_prob(x).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()

    return step


def imagenet(machine: Machine, seconds: float) -> Iterator[str]:
    """The published model of ImageNet-64, 460 M weights, inside `minimise`: FLOP/s, and memory."""
    until = time.monotonic() + seconds
    plan = Plan(
        steps=1, batch=2 if machine.small else 32, precision="float32" if machine.small else "bfloat16", lr=1e-5
    )
    make = partial(images, IMAGENET, GaussianNoise(256, 0.05), machine, rows=128)
    operations = operations_of_step(*make(), plan)
    ways = {"eager": replace(plan, captured=False), "captured": plan}
    ways["captured, layers compiled"] = replace(plan, compiled=not machine.small)
    for way, how in ways.items():
        if time.monotonic() > until:
            return
        if machine.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        started = time.monotonic()
        took = inside_minimise(make(), how, seconds / 8)
        peak = torch.cuda.max_memory_allocated() / 1e9 if machine.device.type == "cuda" else math.nan
        rate = mfu(operations, took, machine)
        days = 200 * 1_281_167 / plan.batch * took / 1e3 / 86400
        yield f"{way} | {took:.1f} | {rate} | {peak:.1f} | {days:.1f} | {time.monotonic() - started:.0f}"


WITH_PEERS = "flow, 64 features | eager, ms | captured, ms | zuko, ms | nflows, ms | best peer / captured"
PARTS = {
    "captured_steps": Part("Captured training steps", " | state after seven steps | apart", 20, captured, check=True),
    "random_numbers": Part("Random numbers", " | draws | apart", 5, numbers, check=True),
    "train_mnist": Part(
        "Training MNIST's TarFlow in `minimise`, batch 256, bfloat16",
        "noise | way | ms a step | eager / this | in all, s",
        55,
        mnist,
    ),
    "train_vectors": Part("Training steps of vectors, 256 rows", WITH_PEERS, 35, partial(of_vectors, batch=256)),
    "train_imagenet": Part(
        "Training ImageNet-64's TarFlow, 460 M weights, batch 32, bfloat16",
        "way | ms a step | matrix products | peak, GB | days for 200 epochs | in all, s",
        60,
        imagenet,
    ),
}
