"""The fastest solver for each network, found by trying."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from functools import partial
from itertools import count
from time import perf_counter
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, distributed

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens
from pushforward.solve.blockwise_jacobi import blockwise_jacobi
from pushforward.solve.jacobi import jacobi
from pushforward.solve.sequential import sequential

SOLVERS = {
    "sequential": sequential,
    "blockwise of 8": blockwise_jacobi,
    "blockwise of 32": partial(blockwise_jacobi, size=32),
    "jacobi": jacobi,
}
LARGE = 2**27  # multiplications in reading all tokens once: below, sequential takes hundredths of a second and is taken
GAIN = 0.9  # of the time of the fastest so far: nothing slower is worth a change
STRAY = 800  # units in the last place of max(1, |x|): 1e-4 in float32. What strays farther from sequential is not taken

Answer = list[tuple[Tensor, Tensor]]


class Autotuned:
    """A solver that takes, for each network, number of rows and device, the one of `SOLVERS` that was fastest.

    Keep one for a flow, `solve = Autotuned()`, and give it whenever the flow is sampled. The first large batch goes
    through all solvers, and its answer is that of `sequential`; a solver is stopped, after a sweep, once it has lost,
    so that the first call takes at most four times as long as `sequential`, and a sweep of each. Small batches go by
    `sequential`, as does all where gradients are wanted, where a compiler traces, and among several processes, whose
    clocks would differ, if the notes do not say otherwise.

    `notes` say what was found: save them (they are JSON-able), and give them again to the same flow. Networks are known
    by the order in which they first came. Answers are those of `sequential` within 1e-4 · max(1, |x|), in float32, as
    tried on the first batch: see `blockwise_jacobi`. So a clock decides the last digits, and two runs may differ there.

    >>> Autotuned({"network 0, 64 rows, cpu": "jacobi"}).notes
    {'network 0, 64 rows, cpu': 'jacobi'}
    """

    def __init__(self, notes: MutableMapping[str, str] | None = None):
        self.notes: MutableMapping[str, str] = {} if notes is None else notes
        self._numbers = count()
        self._networks: WeakKeyDictionary[CausalNetwork, int] = WeakKeyDictionary()

    def __call__(
        self, net: CausalNetwork, move: Move, z: Tokens, context: Context | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or _multiplications(net, z) < LARGE:
            yield from sequential(net, move, z, context)
            return
        if net not in self._networks:
            self._networks[net] = next(self._numbers)
        key = f"network {self._networks[net]}, {len(z)} rows, {z.device.type}"
        if key in self.notes:
            yield from SOLVERS[self.notes[key]](net, move, z, context)
        elif distributed.is_available() and distributed.is_initialized():
            yield from sequential(net, move, z, context)
        else:
            self.notes[key], answer = _fastest(net, move, z, context)
            yield from answer


def _fastest(net: CausalNetwork, move: Move, z: Tokens, context: Context | None) -> tuple[str, Answer]:
    """The name of the fastest solver, and what `sequential` answers."""
    move.inverse(z[:, :1], net.start(len(z), context).answer)  # what is done once, as building kernels, is done now
    expected, seconds = _timed("sequential", net, move, z, context, float("inf"))
    best = "sequential"
    for name in [name for name in SOLVERS if name != best]:
        answer, took = _timed(name, net, move, z, context, GAIN * seconds)
        if took <= GAIN * seconds and _close(answer, expected):
            best, seconds = name, took
    return best, expected


def _timed(
    name: str, net: CausalNetwork, move: Move, z: Tokens, context: Context | None, limit: float
) -> tuple[Answer, float]:
    """What a solver answers, and in how many seconds; less of it where they are more than `limit`."""
    answer, started = [], perf_counter()
    for tokens in SOLVERS[name](net, move, z, context):
        answer.append(tokens)
        if perf_counter() - started > limit:
            break
    answer[-1][0].flatten()[:1].tolist()  # wait for the device
    return answer, perf_counter() - started


def _close(answer: Answer, expected: Answer) -> bool:
    x, right = (torch.cat([tokens for tokens, _ in each], 1) for each in (answer, expected))
    near = (x - right).abs() <= STRAY * torch.finfo(x.dtype).eps * right.abs().clamp(min=1)
    return bool((near | ~right.isfinite()).all())


def _multiplications(net: CausalNetwork, z: Tokens) -> int:
    return z.shape[0] * z.shape[1] * sum(parameter.numel() for parameter in net.parameters())
