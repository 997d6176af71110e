"""Solvers by decoders whose reads can be recorded: a step or a sweep is recorded as a graph, and replayed.

Their state is in tensors, the place in the sequence too. Nothing waits for the device but the count of converged
tokens, which is read while the next sweep runs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.capture import Captured
from pushforward.moves import Move
from pushforward.networks import GraphDecoder
from pushforward.shapes import Tokens
from pushforward.solve.convergence import checked, guesses, repeated


@torch.no_grad()
def steps(decoder: GraphDecoder, move: Move, z: Tokens) -> Iterator[tuple[Tensor, Tensor]]:
    """`sequential`: a step reads the token at `place`, decodes the next one and goes on to it."""
    x, log_slopes = (_with_room(first, z.shape[1]) for first in move.inverse(z[:, :1], decoder.answer))
    place = torch.zeros(1, dtype=torch.long, device=z.device)

    def step(length: int) -> None:
        answer = decoder.advance(x.index_select(1, place), place, length)
        place.add_(1)
        for memory, token in zip((x, log_slopes), move.inverse(z.index_select(1, place), answer), strict=True):
            memory.index_copy_(1, place, token)

    captured = Captured(step, z.device)
    yield x[:, :1], log_slopes[:, :1]
    for token in range(1, z.shape[1]):
        captured(decoder.reach(token))
        yield x[:, token : token + 1], log_slopes[:, token : token + 1]


@torch.no_grad()
def sweeps(
    decoder: GraphDecoder, move: Move, z: Tokens, size: int, warm: bool, tolerance: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """`blockwise_jacobi`: a sweep reads the window of `size` tokens from `start` on, and goes on by as many as have
    converged. The host learns of them one sweep later; a sweep after the last changes nothing."""
    tokens, last = z.shape[1], z.shape[1] - 1
    n = min(size, last)
    z = torch.cat([z, z.new_zeros(len(z), 2 * n + 1, *z.shape[2:])], 1)  # tokens after the last are never yielded
    window, start = torch.arange(n + 1, device=z.device), torch.zeros(1, dtype=torch.long, device=z.device)
    answer, lost = decoder.answer.clone(), torch.zeros(len(z), dtype=torch.bool, device=z.device)
    moved = move.inverse(z[:, : n + 1], repeated(answer, z[:, : n + 1]))
    x, log_slopes = (_with_room(first, z.shape[1]) for first in moved)

    def sweep(length: int) -> None:
        places = start + window
        given = guesses(x.index_select(1, places[:-1].clamp(max=last - 1)))
        read = decoder.advance(given, places[:-1].clamp(max=last - 1), length)
        answers, latents = torch.cat([answer, read], 1), z.index_select(1, places)
        moved = move.inverse(latents, answers)
        swept = checked(moved, given, latents, lost, tolerance, places[:-1] < last)
        x.index_copy_(1, places, swept.x)
        log_slopes.index_copy_(1, places, swept.log_slopes)
        if n < last:  # guesses of tokens that enter
            guess, latents = x.index_select(1, places[1:]), z.index_select(1, places[1:] + n)
            if not warm:
                guess = move.inverse(latents, repeated(answers[:, -1:], latents))[0]
            x.index_copy_(1, places[1:] + n, guess)
        answer.copy_(answers.index_select(1, swept.converged[None]))
        lost.copy_(swept.kept < swept.converged)
        start.add_(swept.converged)

    captured, lagging, done = Captured(sweep, z.device), Lagging(z.device), 0
    while done < last:
        captured(decoder.reach(min(done + 3 * n, last)))  # two sweeps may have moved the window unseen
        stop = lagging(start)
        if stop == last:
            stop = tokens
        if stop > done:
            yield x[:, done:stop], log_slopes[:, done:stop]
            done = stop


class Lagging:
    """The value that an integer on the device had at the call before; 0 at the first. It waits for no more than that:
    the work since goes on."""

    def __init__(self, device: torch.device):
        graphs = device.type == "cuda"
        self.device = device
        self.values = [torch.zeros(1, dtype=torch.long, device="cpu", pin_memory=graphs) for _ in range(2)]
        self.events = [torch.cuda.Event() for _ in range(2)] if graphs else []

    def __call__(self, value: Tensor) -> int:
        self.values.reverse()
        self.events.reverse()
        self.values[0].copy_(value, non_blocking=True)
        if self.events:
            self.events[0].record(torch.cuda.current_stream(self.device))
            self.events[1].synchronize()
        return int(self.values[1])


def _with_room(first: Tensor, tokens: int) -> Tensor:
    """The first tokens, and room for the others."""
    return torch.cat([first, first.new_zeros(len(first), tokens - first.shape[1], *first.shape[2:])], 1)
