"""Gauss–Seidel–Jacobi iteration: a window of tokens is iterated in parallel, and moves on as its first tokens converge.

The inverse is the fixed point of x = F(x), where F(x)_t = move⁻¹(z_t; net(x_0 … x_{t−1})). F(x)_t depends on earlier
tokens alone, so a sweep x <- F(x) makes at least one more token exact, the first that is not, and mostly several.
Tokens that a sweep does not change have converged: they stay in the decoder and are not read again. As many new tokens
enter the window, and the next sweep goes on from the values of the others.

Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving", arXiv:2002.03629; for
TarFlow, in blocks that do not move, Liu & Qin 2025, arXiv:2505.12849; for clips, from the frame before, Gu et al. 2025
(STARFlow-V), arXiv:2511.20462.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, distributed

from pushforward.arrays import check_number
from pushforward.conditions import Context
from pushforward.moves import Move
from pushforward.networks import CausalNetwork, Decoder, GraphDecoder, Resumed
from pushforward.shapes import Tokens
from pushforward.solve import replayed
from pushforward.solve.convergence import checked, guesses, repeated
from pushforward.solve.sequential import sequential


def blockwise_jacobi(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    size: int = 8,
    warm: bool = False,
    tolerance: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sweeps over a window of `size` tokens. Yields tokens as they converge, at least one after every sweep.

    It yields F(x), for an x in which every element of every row satisfies

        |F(x) − x| ≤ tolerance · (|F(x)| + |z| · dx/dz)

    so the error of a token, given those before it, is checked, not estimated. The default tolerance is 8 units in the
    last place of z's dtype, relative to the terms that add up to the element. Rounding in `sequential` is of the same
    size, and a flow may amplify either from token to token. With a tolerance of 0 a token has converged when no bit of
    it changes. In a row with a token that is not finite all later tokens are nan, and no sweep waits for them.

    The first guess of a token is made with the raw parameters of the last token before it in the window. With a `warm`
    start it is the token `size` places before it, where there is one: take the number of tokens in a frame as `size`
    for clips whose frames resemble the ones before them. Neither changes the guarantee.

    Where gradients are needed, `sequential` solves. In a process group all ranks make the same sweeps, as sharded
    networks require, so all ranks must call it.
    """
    check_number(size, "size, in tokens,", least=1)
    if tolerance is not None:
        check_number(tolerance, "tolerance", least=0)
    if torch.is_grad_enabled():
        yield from sequential(net, move, z, context)
        return
    tolerance = 8 * torch.finfo(z.dtype).eps if tolerance is None else tolerance
    decoder = net.start(len(z), context)
    if isinstance(decoder, GraphDecoder) and z.shape[1] > 1 and not _distributed():
        yield from replayed.sweeps(decoder, move, z, size, warm, tolerance)
    else:
        before = net.before if warm and isinstance(net, Resumed) else None
        yield from _sweeps(decoder, move, z, before, size, warm, tolerance)


def _sweeps(
    decoder: Decoder, move: Move, z: Tokens, before: Tokens | None, size: int, warm: bool, tolerance: float
) -> Iterator[tuple[Tensor, Tensor]]:
    last = z.shape[1] - 1  # it is never read: nothing depends on it
    answer, start, lost = decoder.answer, 0, torch.zeros(len(z), dtype=torch.bool, device=z.device)
    x, log_slopes = move.inverse(z[:, :size], repeated(answer, z[:, :size]))  # guesses; the first is exact
    if before is not None and before.shape[1] >= size:
        x = torch.cat([x[:, :1], before[:, 1 - size :][:, : x.shape[1] - 1].to(x)], 1)
    if not last:
        yield x, log_slopes
    while start < last:
        x = guesses(x)[:, : last - start]
        answers = torch.cat([answer, decoder.read(x)], 1)
        stop = start + answers.shape[1]
        moved = move.inverse(z[:, start:stop], answers)
        new, log_slopes, count, kept = checked(moved, x, z[:, start:stop], lost, tolerance)
        if _distributed():
            distributed.all_reduce(count, distributed.ReduceOp.MIN)
        converged = int(count)
        if start + converged == last:
            yield new, log_slopes
            return
        yield new[:, :converged], log_slopes[:, :converged]
        entering = z[:, stop : start + converged + size]
        guess = new[:, 1:converged] if warm else move.inverse(entering, repeated(answers[:, -1:], entering))[0]
        x = torch.cat([new[:, converged:], guess], 1)
        start, answer, lost = start + converged, answers[:, converged : converged + 1], kept < converged
        decoder.truncate(start)


def jacobi(
    net: CausalNetwork,
    move: Move,
    z: Tokens,
    context: Context | None = None,
    *,
    warm: bool = False,
    tolerance: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """`blockwise_jacobi` with the whole sequence as its window, and the same guarantee.

    After k sweeps the first k tokens are exact, so there are at most as many sweeps as tokens. With a `warm` start the
    first guesses of a frame in `flow.stream` are the frame before it.
    """
    yield from blockwise_jacobi(net, move, z, context, size=z.shape[1], warm=warm, tolerance=tolerance)


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
