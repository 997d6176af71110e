"""Some tokens at once, again and again, in a window that moves on as they settle (Gauss–Seidel–Jacobi).

The inverse is the fixed point of x = F(x), where F(x)_t = move⁻¹(z_t; net(x_0 … x_{t−1})). F reads earlier tokens, so a
sweep x <- F(x) puts right the first token that is not yet so, and mostly more than that one. Tokens that a sweep leaves
as they were have settled: they stay in the network's decoder and are not read again. As many new ones enter the window,
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
    """Sweeps over a window of `size` tokens. Yields tokens as they settle, at least one after every sweep.

    What is yielded is F(x), for an x in which every element of every row has

        |F(x) − x| ≤ tolerance · (|F(x)| + |z| · dx/dz)

    so the error of a token, given those before it, is checked, not estimated. The default is 8 units in the last place
    of z's precision, relative to what the element is the sum of: rounding in `sequential` is of the same kind, and as
    there a flow may amplify it from token to token. 0 asks for the same bits twice. A row in which a token is not
    finite has no tokens after it: they are nan, and no sweep is made for them.

    Where gradients are wanted it is `sequential`. In a process group all ranks make the same sweeps, as a sharded
    network needs, so all must call it.
    """
    if size < 1:
        raise ValueError(f"a window has at least one token; got size={size}.")
    if torch.is_grad_enabled():
        yield from sequential(net, move, z, context)
        return
    tolerance = 8 * torch.finfo(z.dtype).eps if tolerance is None else tolerance
    decoder, last = net.start(len(z), context), z.shape[1] - 1  # the last token is never read: nothing depends on it
    answer, start, lost = decoder.answer, 0, torch.zeros(len(z), dtype=torch.bool, device=z.device)
    x, log_slopes = move.inverse(z[:, :size], _repeated(answer, z[:, :size]))  # guesses, of which the first is right
    if not last:
        yield x, log_slopes
    while start < last:
        x = torch.cat([x[:, :1], x[:, 1:].nan_to_num(0, 0, 0).clamp(-FAR, FAR)], 1)[:, : last - start]
        answers = torch.cat([answer, decoder.read(x)], 1)
        stop = start + answers.shape[1]
        new, log_slopes = move.inverse(z[:, start:stop], answers)
        allowed = tolerance * (new.abs() + z[:, start:stop].abs() * log_slopes.exp())
        same = _tokens(((new[:, :-1] - x).abs() <= allowed[:, :-1]) & new[:, :-1].isfinite())
        settled, lost, after = _settled(same, _tokens(new.isfinite()), lost)
        new, log_slopes = (
            t.masked_fill(after.reshape(*after.shape, *[1] * (t.dim() - 2)), torch.nan) for t in (new, log_slopes)
        )
        if start + settled == last:
            yield new, log_slopes
            return
        yield new[:, :settled], log_slopes[:, :settled]
        entering = z[:, stop : start + settled + size]  # guess: they move like the one before
        x = torch.cat([new[:, settled:], move.inverse(entering, _repeated(answers[:, -1:], entering))[0]], 1)
        start, answer = start + settled, answers[:, settled : settled + 1]
        decoder.truncate(start)


def _settled(same: Tensor, finite: Tensor, lost: Tensor) -> tuple[int, Tensor, Tensor]:
    """How many tokens, from the first, have settled in all rows of all ranks; which rows are lost; what comes after
    their loss.

    `same` (B, n) says whether a token was left as it was, `finite` (B, n + 1) whether it and the next are finite. The
    first token, and the one after those that were left as they were, are right. A row where that is not finite is lost.
    """
    left = torch.cat([finite[:, :1], same[:, 1:]], 1).long().cumprod(1)
    count = left.sum(1, keepdim=True)
    now = ~finite.gather(1, count)[:, 0]
    first = torch.where(lost, -1, count[:, 0])
    lost = lost | now
    after = lost[:, None] & (torch.arange(finite.shape[1], device=lost.device) > first[:, None])
    settled = (left.bool() | lost[:, None]).all(0).long().cumprod(0).sum()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(settled, distributed.ReduceOp.MIN)
    return int(settled), lost, after


def _tokens(t: Tensor) -> Tensor:
    """Whether it is so in all features of a token: (B, T, …) -> (B, T)."""
    return t if t.dim() == 2 else t.flatten(2).all(2)


def _repeated(answer: Tensor, x: Tokens) -> Tensor:
    """The answer for one token, for each token of x."""
    return answer.expand(-1, x.shape[1], *answer.shape[2:])
