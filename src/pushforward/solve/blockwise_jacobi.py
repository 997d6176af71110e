"""Gauss–Seidel–Jacobi iteration: a window of tokens is iterated in parallel, and moves on as its first tokens converge.

The inverse is the fixed point of x = F(x), where F(x)_t = move⁻¹(z_t; net(x_0 … x_{t−1})). F(x)_t depends on earlier
tokens alone, so a sweep x <- F(x) makes at least one more token exact, the first that is not, and mostly several.
Tokens that a sweep does not change have converged: they stay in the decoder and are not read again. As many new tokens
enter the window, and the next sweep goes on from the values of the others.

Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving", arXiv:2002.03629; for
TarFlow, in blocks that do not move, Liu & Qin 2025, arXiv:2505.12849.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, distributed

from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork, Decoder
from pushforward.shapes import Tokens
from pushforward.solve.sequential import sequential

FAR = 1e4  # guesses are clamped to ±FAR: 0 · inf in a masked network would make earlier tokens nan


def blockwise_jacobi(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    size: int = 8,
    tolerance: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sweeps over a window of `size` tokens. Yields tokens as they converge, at least one after every sweep.

    It yields F(x), for an x in which every element of every row satisfies

        |F(x) − x| ≤ tolerance · (|F(x)| + |z| · dx/dz)

    so the error of a token, given those before it, is checked, not estimated. The default tolerance is 8 units in the
    last place of z's dtype, relative to the terms that add up to the element. Rounding in `sequential` is of the same
    size, and a flow may amplify either from token to token. With a tolerance of 0 a token has converged when no bit of
    it changes. In a row with a token that is not finite all later tokens are nan, and no sweep waits for them.

    Where gradients are needed, `sequential` solves. In a process group all ranks make the same sweeps, as sharded
    networks require, so all ranks must call it.
    """
    if size < 1:
        raise ValueError(f"a window has at least one token; got size={size}.")
    if torch.is_grad_enabled():
        yield from sequential(net, move, z, context)
        return
    tolerance = 8 * torch.finfo(z.dtype).eps if tolerance is None else tolerance
    yield from _sweeps(net.start(len(z), context), move, z, size, tolerance)


def _sweeps(decoder: Decoder, move: Move, z: Tokens, size: int, tolerance: float) -> Iterator[tuple[Tensor, Tensor]]:
    last = z.shape[1] - 1  # it is never read: nothing depends on it
    answer, start, lost = decoder.answer, 0, torch.zeros(len(z), dtype=torch.bool, device=z.device)
    x, log_slopes = move.inverse(z[:, :size], _repeated(answer, z[:, :size]))  # guesses; the first is exact
    if not last:
        yield x, log_slopes
    while start < last:
        x = torch.cat([x[:, :1], x[:, 1:].nan_to_num(0, 0, 0).clamp(-FAR, FAR)], 1)[:, : last - start]
        answers = torch.cat([answer, decoder.read(x)], 1)
        stop = start + answers.shape[1]
        new, log_slopes = move.inverse(z[:, start:stop], answers)
        allowed = tolerance * (new.abs() + z[:, start:stop].abs() * log_slopes.exp())
        same = _tokens(((new[:, :-1] - x).abs() <= allowed[:, :-1]) & new[:, :-1].isfinite())
        converged, lost, after = _converged(same, _tokens(new.isfinite()), lost)
        new, log_slopes = (
            t.masked_fill(after.reshape(*after.shape, *[1] * (t.dim() - 2)), torch.nan) for t in (new, log_slopes)
        )
        if start + converged == last:
            yield new, log_slopes
            return
        yield new[:, :converged], log_slopes[:, :converged]
        entering = z[:, stop : start + converged + size]  # guess: the raw parameters of the last token in the window
        x = torch.cat([new[:, converged:], move.inverse(entering, _repeated(answers[:, -1:], entering))[0]], 1)
        start, answer = start + converged, answers[:, converged : converged + 1]
        decoder.truncate(start)


def _converged(same: Tensor, finite: Tensor, lost: Tensor) -> tuple[int, Tensor, Tensor]:
    """How many tokens, from the first, have converged in all rows of all ranks; which rows are lost, (B,); which tokens
    come after the loss of their row, (B, n + 1).

    `same` (B, n) marks tokens that the sweep did not change, `finite` (B, n + 1) finite ones, with one token more. The
    first token is exact, and so is the one after a run of unchanged tokens. If that one is not finite, its row is lost.
    """
    left = torch.cat([finite[:, :1], same[:, 1:]], 1).long().cumprod(1)
    count = left.sum(1, keepdim=True)
    now = ~finite.gather(1, count)[:, 0]
    first = torch.where(lost, -1, count[:, 0])
    lost = lost | now
    after = lost[:, None] & (torch.arange(finite.shape[1], device=lost.device) > first[:, None])
    converged = (left.bool() | lost[:, None]).all(0).long().cumprod(0).sum()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(converged, distributed.ReduceOp.MIN)
    return int(converged), lost, after


def _tokens(t: Tensor) -> Tensor:
    """Whether all features of a token are True: (B, T, …) -> (B, T)."""
    return t if t.dim() == 2 else t.flatten(2).all(2)


def _repeated(answer: Tensor, x: Tokens) -> Tensor:
    """The raw parameters of one token, for each token of x."""
    return answer.expand(-1, x.shape[1], *answer.shape[2:])
