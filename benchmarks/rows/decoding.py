"""Sampling against a textbook's sampler, against scoring, and against the machine's limit."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import textbook
import torch
from flows import DIGITS, LARGE, MNIST, Subject
from machine import Machine, Task, in_turn, judged, peak, ratio
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pushforward.flow import Flow

GUIDANCE = 1.0
BATCHES = {MNIST: (1, 16, 64), LARGE: (1, 16), DIGITS: (1, 16, 64)}

# the sampler of TarFlow's authors, in scoring passes of the same batch: plain and guided
AUTHORS = {
    (MNIST, 1): (16, 36),
    (MNIST, 16): (15, 20),
    (MNIST, 64): (4.3, 8.6),
    (LARGE, 1): (45, 95),
    (LARGE, 16): (10, 19),
}


@dataclass
class Row:
    """One flow at one batch size: what was measured."""

    subject: Subject
    weights: str
    batch: int
    times: dict[str, list[float]]
    memory: dict[str, float]
    limits: dict[str, float]  # seconds
    deviation: float  # of float32 sampling from the textbook's, the largest
    shift: float  # of the log-prob of samples by bfloat16 networks, nats an element

    @property
    def title(self) -> str:
        tokens, width = self.subject.model.image[1] // self.subject.model.patch, self.subject.model.width
        return f"{tokens**2} tokens, width {width} | {self.weights} | {self.batch}"

    def ms(self, side: str) -> str:
        return f"{1e3 * statistics.median(self.times[side]):.0f}"

    def over(self, slow: str, fast: str) -> float:
        return ratio(self.times[slow], self.times[fast])


@torch.no_grad()
def measure(subject: Subject, weights: str, flow: Flow, batch: int, machine: Machine) -> Row:
    flow = flow.to(machine.device)
    labels = torch.arange(batch, device=machine.device) % subject.model.classes
    z = flow.base.sample(batch, generator=torch.Generator().manual_seed(0))
    guided, x = flow.guided(GUIDANCE), flow.decode(z, labels)

    def narrow() -> Tensor:
        with torch.autocast(machine.device.type, torch.bfloat16):
            return flow.decode(z, labels)

    tasks: dict[str, Task] = {
        "textbook": lambda: textbook.decode(flow, z, labels),
        "textbook, guided": lambda: textbook.decode(flow, z, labels, GUIDANCE),
        "scoring": lambda: flow.log_prob(x, labels),
        "sampling": lambda: flow.decode(z, labels),
        "guided": lambda: guided.decode(z, labels),
        "bfloat16": narrow,
    }
    memory = {side: peak(tasks[side]) for side in ("textbook", "sampling", "scoring")}
    times = in_turn(tasks)
    expected = textbook.decode(flow, z, labels)
    shift = (flow.log_prob(narrow(), labels) - flow.log_prob(expected, labels)).mean() / z[0].numel()
    return Row(
        subject,
        weights,
        batch,
        times,
        memory,
        limits(flow, x, labels, machine),
        (flow.decode(z, labels) - expected).abs().max().item(),
        shift.item(),
    )


def limits(flow: Flow, x: Tensor, labels: Tensor, machine: Machine) -> dict[str, float]:
    """The least seconds for the arithmetic, and for reading the weights: every token reads every weight once."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        flow.log_prob(x, labels)
    tokens, size = flow.base.event[0], sum(4 * parameter.numel() for parameter in flow.parameters())
    return {
        "arithmetic": counter.get_total_flops() / machine.flops[torch.float32],
        "bytes": tokens * size / machine.bandwidth,
    }


def straw_man(row: Row) -> str | None:
    if (row.subject, row.batch) not in AUTHORS:
        return None
    plain, guided = AUTHORS[row.subject, row.batch]
    ours = row.over("textbook", "scoring"), row.over("textbook, guided", "scoring")
    return f"{row.ms('scoring')} | {ours[0]:.1f} ({plain:g}) | {ours[1]:.1f} ({guided:g})"


def against_the_textbook(row: Row) -> str | None:
    digits, trained = row.subject is DIGITS, row.weights == "trained"
    plain, guided, narrow = (row.over("textbook", s) for s in ("sampling", "guided", "bfloat16"))
    guided = row.over("textbook, guided", "guided")
    if digits:
        return f"{row.ms('sampling')} | {plain:.1f} | {guided:.1f} | {narrow:.1f}"
    aims = {1: (6 if trained else 4, 6, 0), 16: (4, 6, 6), 64: (2.2, 4, 4)}[row.batch]
    last = judged(narrow, aims[2]) if aims[2] else f"{narrow:.1f}"
    return f"{row.ms('sampling')} | {judged(plain, aims[0])} | {judged(guided, aims[1])} | {last}"


def against_scoring(row: Row) -> str | None:
    plain, guided = row.over("sampling", "scoring"), row.over("guided", "scoring")
    if row.batch == 64:
        return f"{judged(plain, 1.5, least=False)} | {judged(guided, 3, least=False)}"
    return f"{plain:.1f} | {guided:.1f}"


def against_the_limit(row: Row) -> str | None:
    took = statistics.median(row.times["sampling"])
    limit = max(row.limits, key=lambda name: row.limits[name])
    arithmetic, read = (1e3 * row.limits[name] for name in ("arithmetic", "bytes"))
    memory = " | ".join(f"{row.memory[side] / 1e6:.0f}" for side in ("textbook", "scoring", "sampling"))
    errors = f"{row.deviation:.0e} | {row.shift:+.1e}"
    return f"{arithmetic:.1f} | {read:.1f} | {took / row.limits[limit]:.1f} × {limit} | {memory} | {errors}"


TABLES: dict[str, tuple[str, Callable[[Row], str | None]]] = {
    "The textbook's sampler in scoring passes; in brackets the authors' sampler on two quiet cores:": (
        "scoring, ms | textbook / scoring | guided / scoring",
        straw_man,
    ),
    "The time of the textbook's sampler over ours (bfloat16 against the textbook's float32):": (
        "sampling, ms | sampling | guided | bfloat16 networks",
        against_the_textbook,
    ),
    "Sampling in scoring passes of the same batch:": ("sampling / scoring | guided / scoring", against_scoring),
    "Limits of sampling: its arithmetic at the matrix rate, its weights once a token at the rate of a copy (a cache is "
    "faster); the larger one binds. Memory is the peak beside the flow. The deviation is the largest from the "
    "textbook's samples; the shift is that of log-prob, in nats an element, when networks sample in bfloat16:": (
        "arithmetic, ms | bytes, ms | sampling / limit | textbook, MB | scoring, MB | sampling, MB | deviation | shift",
        against_the_limit,
    ),
}


def report(machine: Machine) -> str:
    measured, skipped = [], []
    for subject, batches in BATCHES.items():
        flows = {"random": subject.random}
        flows["trained"] = subject.trained
        for weights, make in flows.items():
            try:
                flow = make()
            except FileNotFoundError as reason:
                skipped.append(f"{subject.name}, trained: skipped, {reason}")
                continue
            for batch in batches:
                measured.append(measure(subject, weights, flow, batch, machine))
                print(measured[-1].title, against_the_textbook(measured[-1]), flush=True)
    lines = ["## Decoding"]
    for caption, (columns, cells) in TABLES.items():
        header = f"| model | weights | batch | {columns} |"
        body = [f"| {row.title} | {text} |" for row in measured if (text := cells(row))]
        lines += ["", caption, "", header, "|---" * (header.count("|") - 1) + "|", *body]
    return "\n".join([*lines, *(f"\n{line}" for line in skipped)])
