"""The fastest way back, found by trying."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, MutableMapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens
from pushforward.solve.blockwise_jacobi import blockwise_jacobi
from pushforward.solve.jacobi import jacobi
from pushforward.solve.sequential import sequential

if TYPE_CHECKING:
    from pushforward.solve import Solve

Record = MutableMapping[str, str]  # what was measured, and the name of the fastest way; JSON-able

SOLVERS: dict[str, Solve] = {
    "sequential": sequential,
    "blockwise of 8": blockwise_jacobi,
    "blockwise of 32": partial(blockwise_jacobi, size=32),
    "jacobi": jacobi,
}
LARGE = (
    2**27
)  # multiplications in reading all tokens once: below, sequential takes hundredths of a second, and is taken
GAIN = 0.9  # of sequential's time: nothing slower is worth a change
STRAY = 800  # units in the last place of max(1, |x|): 1e-4 in float32. What strays farther from sequential is not taken

_measured: Record = {}  # by this process; only speed depends on it


def autotuned(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    record: Record | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step of a flow in the way that was fastest for it, on this device and with so many rows.

    The first large batch goes through all of `SOLVERS`, and its answer is that of `sequential`. What is found is
    noted in `record`: this process's own, or a dict that the caller saves and gives again,
    `partial(autotuned, record=notes)`. What stands there is believed. Small batches go one by one, as does all where
    gradients are wanted, where a compiler traces, and among several processes, whose measurements would differ, if the
    record does not say otherwise.

    The answer is that of `sequential` within 1e-4 · max(1, |x|), in float32: tried on the first batch; see
    `blockwise_jacobi`.
    """
    record = _measured if record is None else record
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or _multiplications(net, z) < LARGE:
        yield from sequential(net, move, z, context)
        return
    key = _key(net, z)
    if key in record:
        yield from SOLVERS[record[key]](net, move, z, context)
    elif distributed.is_available() and distributed.is_initialized():
        yield from sequential(net, move, z, context)
    else:
        record[key], answer = _fastest(net, move, z, context)
        yield from answer


def _fastest(net: CausalNetwork, move: Move, z: Tokens, context: Context | None) -> tuple[str, list]:
    """The name of the fastest way, and what `sequential` answers. A way is left as soon as it has lost."""
    answer = net(z[:, :0], context, net.start(context))
    move.inverse(z[:, :1], move.interpret(answer))  # whatever is done once, as building loops, is done now
    best, limit, expected = "sequential", float("inf"), []
    for name, way in SOLVERS.items():
        answer, started = [], perf_counter()
        for token in way(net, move, z, context):
            answer.append(token)
            if perf_counter() - started > limit:
                break
        answer[-1][0].flatten()[:1].tolist()  # wait for the device
        seconds = perf_counter() - started
        if name == "sequential":
            expected, limit = answer, GAIN * seconds
        elif seconds <= limit and _close(answer, expected):
            best, limit = name, seconds
    return best, expected


def _close(answer: list, expected: list) -> bool:
    x, right = (torch.cat([tokens for tokens, _ in each], 1) for each in (answer, expected))
    near = (x - right).abs() <= STRAY * torch.finfo(x.dtype).eps * right.abs().clamp(min=1)
    return bool((near | ~right.isfinite()).all())


def _multiplications(net: CausalNetwork, z: Tokens) -> int:
    return z.shape[0] * z.shape[1] * sum(parameter.numel() for parameter in net.parameters())


def _key(net: CausalNetwork, z: Tokens) -> str:
    """Says which weights, on what, and how many rows. Weights are known by their first numbers."""
    numbers = torch.stack([parameter.detach().flatten()[0].double() for parameter in net.parameters()])
    digest = hashlib.blake2b(numbers.cpu().numpy().tobytes(), digest_size=8).hexdigest()
    return f"{type(net).__name__} {digest}, {z.device.type}, {z.shape[0]} rows"
