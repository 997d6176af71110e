"""Editing with a flow: attribute directions, interpolation, inpainting, variations; continuing sequences."""

from pushforward.editing.attributes import directions, directions_of, edit, read
from pushforward.editing.continuation import Continued, continued, tempered
from pushforward.editing.holes import hole
from pushforward.editing.infilling import infilled
from pushforward.editing.inpainting import Inpainted, filled_by_samples, inpaint
from pushforward.editing.interpolation import interpolate
from pushforward.editing.latents import encoded
from pushforward.editing.proposals import Langevin, Proposal, RandomWalk
from pushforward.editing.variations import vary

__all__ = [
    "Continued",
    "Inpainted",
    "Langevin",
    "Proposal",
    "RandomWalk",
    "continued",
    "directions",
    "directions_of",
    "edit",
    "encoded",
    "filled_by_samples",
    "hole",
    "infilled",
    "inpaint",
    "interpolate",
    "read",
    "tempered",
    "vary",
]
