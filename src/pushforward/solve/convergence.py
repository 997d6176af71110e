"""When the tokens of a sweep have converged: on the device, without waiting for it."""

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.shapes import Tokens

FAR = 1e4  # guesses are clamped to ±FAR: 0 · inf in a masked network would make earlier tokens nan


class Swept(NamedTuple):
    """A sweep over a window of n tokens and the one after it."""

    x: Tokens  # (B, n + 1, …), nan after the loss of a row
    log_slopes: Tokens
    converged: Tensor  # () of integers: how many of its tokens, from the first, have converged in all rows
    kept: Tensor  # (B,) of integers: tokens before the loss of a row; −1 if it was lost before, n + 1 if it is not lost


def guesses(x: Tokens) -> Tokens:
    """x, with tokens after the first, which is exact, made finite and not far from 0."""
    return torch.cat([x[:, :1], x[:, 1:].nan_to_num(0, 0, 0).clamp(-FAR, FAR)], 1)


def checked(
    moved: tuple[Tokens, Tokens], x: Tokens, z: Tokens, lost: Tensor, tolerance: float, within: Tensor | None = None
) -> Swept:
    """What a sweep made of guesses x (B, n, …) for latents z (B, n + 1, …): `moved` is F(x) and its log-slopes.

    A token has converged if |F(x) − x| ≤ tolerance · (|F(x)| + |z| · dx/dz) and all tokens before it have. The first is
    exact, and so is the one after those that converged: if that one is not finite, all later ones are nan, and the row
    is waited for no more. So are rows that were `lost` in earlier windows. `within` (n,) excludes tokens that the
    sequence does not have.
    """
    new, log_slopes = moved
    allowed = tolerance * (new.abs() + z.abs() * log_slopes.exp())
    same = _tokens(((new[:, :-1] - x).abs() <= allowed[:, :-1]) & new[:, :-1].isfinite())
    finite = _tokens(new.isfinite())
    left = torch.cat([finite[:, :1], same[:, 1:]], 1)
    if within is not None:
        left = left & within
    left = left.long().cumprod(1)
    count = left.sum(1, keepdim=True)
    kept = torch.where(finite.gather(1, count), finite.shape[1], count)[:, 0].masked_fill(lost, -1)
    after = torch.arange(finite.shape[1], device=lost.device) > kept[:, None]
    settled = left.bool() | (kept < finite.shape[1])[:, None]
    if within is not None:
        settled = settled & within
    converged = settled.all(0).long().cumprod(0).sum()
    after = after.reshape(*after.shape, *[1] * (new.dim() - 2))
    return Swept(new.masked_fill(after, torch.nan), log_slopes.masked_fill(after, torch.nan), converged, kept)


def repeated(answer: Tensor, x: Tokens) -> Tensor:
    """The raw parameters of one token, for each token of x."""
    return answer.expand(-1, x.shape[1], *answer.shape[2:])


def _tokens(t: Tensor) -> Tensor:
    """Whether all features of a token are True: (B, T, …) -> (B, T)."""
    return t if t.dim() == 2 else t.flatten(2).all(2)
