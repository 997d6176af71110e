"""Inpainting: missing pixels drawn from the flow's conditional density given the known ones.

    p(missing | known) ∝ p(x),        known pixels fixed

A Markov chain with this stationary distribution needs no normaliser: Metropolis–Hastings on the missing pixels. Its
samples are exact only in the limit of many steps, and only where the flow's log-determinants are (`flow.exact`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.arrays import as_tensor
from pushforward.conditions import Context, Given
from pushforward.data.data import listed
from pushforward.editing.holes import broadcast
from pushforward.editing.latents import rows
from pushforward.editing.proposals import Langevin, Proposal
from pushforward.flow import Flow
from pushforward.randomness import Source, draw, drawing
from pushforward.shapes import Events, PerSample, spread, sum_event


@dataclass(frozen=True)
class Inpainted:
    """The last state of each chain, and its statistics over the second half of its steps. Printed, it is one line."""

    images: Events  # (n, *event)
    acceptance: PerSample  # the mean probability of a proposal to be accepted
    scale: PerSample  # of the noise of a step
    exact: bool = True  # whether log-dets are exact; estimates bias the chain

    def __str__(self) -> str:
        low, high = self.acceptance.aminmax()
        return (
            f"accepted {self.acceptance.mean():.0%} of the proposals ({low:.0%} … {high:.0%} by chain), "
            f"of scale {self.scale.mean():.2g}{'' if self.exact else '; log-dets estimated'}"
        )


@drawing
def inpaint(
    flow: Flow,
    images: Events,
    mask: Tensor,
    steps: int,
    *,
    proposal: Proposal = Langevin(),
    context: Given = None,
    generator: Source = None,
) -> Inpainted:
    """Draw the pixels that `mask`, a bool that broadcasts to (n, *event), marks as missing: one chain for each image.

    A chain starts at the values in its image, and may need many steps to become independent of them: fill in noise, or
    a sample of the flow. Known pixels stay bitwise the same. In the first half of the steps an adapted proposal tunes
    its scale, for each chain; in the second the scale is fixed, as exactness requires. Proposals that overflow are
    rejected. With a generator a row, a chain does not depend on the others. `context` is one for all images or a row
    for each; by default the null label. Raises ValueError where the density at the start of a chain is not finite.

    >>> from pushforward.models import RealNVP
    >>> flow = RealNVP(image=(1, 4, 4), levels=1, width=8, blocks=1).build()
    >>> filled = inpaint(flow, torch.zeros(2, 1, 4, 4), torch.arange(4) > 1, steps=10)
    >>> filled.images[:, :, :, :2].abs().sum(), filled.acceptance.shape
    (tensor(0.), torch.Size([2]))
    """
    if steps < 1:
        raise ValueError(f"a chain takes at least one step; got steps={steps}.")
    images = as_tensor(images, "the array of images").to(flow.device)
    missing = broadcast(as_tensor(mask, "the mask"), images)
    if not missing.any():
        raise ValueError("no pixel is missing: a mask is True where pixels are.")
    at = partial(_at, flow, rows(flow, len(images), context), missing, proposal)
    here = at(images)
    good = here.log_p.isfinite() & here.score.flatten(1).isfinite().all(1)
    if not good.all():
        bad = listed((~good).nonzero().flatten().tolist())
        raise ValueError(
            f"the density or its gradient at the start of a chain is not finite, for {bad} of the images. "
            "Fill the missing pixels with a sample of the flow."
        )
    scale = torch.full_like(here.log_p, proposal.scale)
    accepted, burn_in = torch.zeros_like(here.log_p), steps // 2
    for step in range(steps):
        here, chance = _step(at, here, missing, proposal, scale, generator)
        if step >= burn_in:
            accepted += chance
        elif proposal.adapted:
            scale *= torch.exp((step + 1) ** -0.6 * (chance / proposal.acceptance - 1))  # Robbins & Monro 1951
    return Inpainted(here.x, accepted / (steps - burn_in), scale, flow.exact)


def filled_by_samples(
    flow: Flow, images: Events, missing: Tensor, context: Given = None, *, generator: Source = None
) -> Events:
    """The images with the missing pixels of samples of the flow, within the range of the images: where chains start."""
    each = isinstance(context, Tensor)  # a row for each image
    drawn = flow.sample(() if each else len(images), context, generator=generator)
    return torch.where(missing, drawn.nan_to_num(0).clamp(*images.aminmax()), images)


class Place(NamedTuple):
    """The state of the chains. The score is zero for known pixels, and where the proposal does not need it."""

    x: Events
    log_p: PerSample
    score: Events


def _at(flow: Flow, context: Context | None, missing: Tensor, proposal: Proposal, x: Events) -> Place:
    with torch.inference_mode(False), torch.set_grad_enabled(proposal.informed):
        x = x.detach().clone()
        if proposal.informed and x.is_floating_point():  # what is not, log_prob refuses
            x.requires_grad_()
        log_p = flow.log_prob(x, context)
        score = torch.autograd.grad(log_p.sum(), x)[0] if proposal.informed else torch.zeros_like(x)
    return Place(x.detach(), log_p.detach(), torch.where(missing, score, 0))


def _step(
    at: Callable[[Events], Place],
    here: Place,
    missing: Tensor,
    proposal: Proposal,
    scale: PerSample,
    generator: Source,
) -> tuple[Place, PerSample]:
    """The state after a step, and the probability with which the proposal was accepted."""
    wide = spread(scale, here.x)
    noise = torch.where(missing, draw(torch.randn, here.x.shape, here.x, generator), 0)
    drift = proposal.drift(here.score, wide)
    there = at(torch.where(missing, here.x + drift + wide * noise, here.x))
    back = noise + (drift + proposal.drift(there.score, wide)) / wide  # minus the noise of the reverse step
    log_ratio = there.log_p - here.log_p + 0.5 * sum_event(noise.square() - back.square())
    chance = torch.where(there.log_p.isfinite(), log_ratio.exp().clamp(max=1), 0).nan_to_num(0)
    moves = draw(torch.rand, chance.shape, chance, generator) < chance
    return Place(*(torch.where(spread(moves, new), new, old) for new, old in zip(there, here, strict=True))), chance
