"""Some tokens at once, again and again, in a window that moves on as they settle (Gauss–Seidel–Jacobi).

The inverse is the fixed point of x = F(x), where F(x)_t = move⁻¹(z_t; net(x_0 … x_{t−1})). F reads earlier tokens, so a
sweep x <- F(x) puts right the first token that is not yet so, and mostly more than that one. Tokens that a sweep leaves
as they were have settled: they stay in the network's cache and are not read again. As many new ones enter the window,
and the others go on from where they are.

Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving", arXiv:2002.03629; for
TarFlow, in blocks that do not move, Liu & Qin 2025, arXiv:2505.12849.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, distributed

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork
from pushforward.shapes import Tokens
from pushforward.solve.sequential import sequential

FAR = 1e4  # guesses are cut off there: one that overflows would reach the tokens before it as 0 · inf


def blockwise_jacobi(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    size: int = 8,
    tolerance: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sweeps over a window of `size` tokens. Yields tokens as they settle, after as many sweeps as tokens at most.

    What is yielded is F(x), for an x in which every number of every row has

        |F(x) − x| ≤ tolerance · (|F(x)| + |z| · dx/dz)

    so the error of a token, given those before it, is checked, not estimated. The default is 8 units in the last place
    of z's precision, relative to what the number is the sum of: rounding in `sequential` is of the same kind, and as
    there a flow may amplify it from token to token. 0 asks for the same bits twice.

    Where gradients are wanted it is `sequential`. In a process group all ranks make the same sweeps, as a sharded
    network needs, so all must call it.
    """
    if size < 1:
        raise ValueError(f"a window has at least one token; got size={size}.")
    if torch.is_grad_enabled():
        yield from sequential(net, move, z, context)
        return
    tolerance = 8 * torch.finfo(z.dtype).eps if tolerance is None else tolerance
    cache, last = net.start(context), z.shape[1] - 1  # the last token is never read: nothing depends on it
    start, right = 0, 0
    x = z[:, :size]  # a window of guesses from token `start`, of which the first `right` are known to be right
    while True:
        x = torch.cat([x[:, :right], x[:, right:].nan_to_num(0, 0, 0).clamp(-FAR, FAR)], 1)
        x = x[:, : min(size, last - start)]
        answer = net(x, context, cache)
        count = answer.shape[1]  # one more than were read
        new, log_slopes = move.inverse(z[:, start : start + count], move.interpret(answer))
        made_of = new.abs() + z[:, start : start + count].abs() * log_slopes.exp()
        settled = max(right, _settled(new[:, :-1] - x, tolerance * made_of[:, :-1]))
        right = 1  # the next, which has read settled tokens alone
        if start + settled == last:
            yield new, log_slopes
            return
        if settled:
            yield new[:, :settled], log_slopes[:, :settled]
        entering = z[:, start + count : start + settled + size]  # guess: they move like the one before
        likewise = answer[:, -1:].expand(-1, entering.shape[1], *answer.shape[2:])
        x = torch.cat([new[:, settled:], move.inverse(entering, move.interpret(likewise))[0]], 1)
        start += settled
        cache.truncate(start)


def _settled(change: Tokens, tolerance: Tokens) -> int:
    """How many tokens, from the first, are the same in all rows of all ranks."""
    same = (change.abs() <= tolerance).transpose(0, 1).flatten(1).all(1)
    count = same.long().cumprod(0).sum()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(count, distributed.ReduceOp.MIN)
    return int(count)
