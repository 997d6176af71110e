"""Autotuning: the fastest solver for each network, found by timing them."""

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
from pushforward.solve.blockwise_jacobi import blockwise_jacobi, jacobi
from pushforward.solve.sequential import sequential

SOLVERS = {
    "sequential": sequential,
    "blockwise of 8": blockwise_jacobi,
    "blockwise of 32": partial(blockwise_jacobi, size=32),
    "jacobi": jacobi,
}
LARGE = 2**27  # multiplications of one pass over all tokens; for fewer, `sequential` takes hundredths of a second
GAIN = 0.9  # a solver is taken if it needs at most this share of the time of the fastest before it
ALLOWED = 800  # largest difference from `sequential`, in units in the last place of max(1, |x|): 1e-4 in float32

Yielded = list[tuple[Tensor, Tensor]]


class Autotuned:
    """Solves by that one of `SOLVERS` that was fastest for the network, number of rows and device.

    Make one for a flow, `solve = Autotuned()`, and pass it in every call that samples. The first large batch is solved
    by all solvers, and the result of `sequential` is returned. A solver is stopped, after a sweep, once it is slower
    than the fastest: the first call takes at most four times as long as `sequential`, and a sweep of each solver.
    `sequential` solves small batches, and all batches where gradients are needed or a compiler traces. In a process
    group, where clocks differ, solvers are not timed: where `notes` has no entry, `sequential` solves.

    `notes` holds the solvers that were found: save it (it is JSON-able) and pass it with the same flow. Its keys number
    networks in the order of their first calls. On the first batch results are those of `sequential` within
    1e-4 · max(1, |x|) in float32; see `blockwise_jacobi`. So a clock decides the last digits, and two runs may differ
    in them.

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
            self.notes[key], yielded = _fastest(net, move, z, context)
            yield from yielded


def _fastest(net: CausalNetwork, move: Move, z: Tokens, context: Context | None) -> tuple[str, Yielded]:
    """The name of the fastest solver, and what `sequential` yields."""
    move.inverse(z[:, :1], net.start(len(z), context).answer)  # work that is done once, such as building kernels
    expected, seconds = _timed("sequential", net, move, z, context, float("inf"))
    best = "sequential"
    for name in [name for name in SOLVERS if name != best]:
        yielded, took = _timed(name, net, move, z, context, GAIN * seconds)
        if took <= GAIN * seconds and _close(yielded, expected):
            best, seconds = name, took
    return best, expected


def _timed(
    name: str, net: CausalNetwork, move: Move, z: Tokens, context: Context | None, limit: float
) -> tuple[Yielded, float]:
    """What a solver yields, and its time in seconds. It is stopped once it takes longer than `limit`."""
    yielded, started = [], perf_counter()
    for tokens in SOLVERS[name](net, move, z, context):
        yielded.append(tokens)
        if perf_counter() - started > limit:
            break
    yielded[-1][0].flatten()[:1].tolist()  # wait for the device
    return yielded, perf_counter() - started


def _close(yielded: Yielded, expected: Yielded) -> bool:
    x, right = (torch.cat([tokens for tokens, _ in each], 1) for each in (yielded, expected))
    near = (x - right).abs() <= ALLOWED * torch.finfo(x.dtype).eps * right.abs().clamp(min=1)
    return bool((near | ~right.isfinite()).all())


def _multiplications(net: CausalNetwork, z: Tokens) -> int:
    return z.shape[0] * z.shape[1] * sum(parameter.numel() for parameter in net.parameters())
