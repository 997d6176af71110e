"""Editing images with a flow: attribute directions, interpolation, inpainting, variations."""

from pushforward.editing.attributes import directions, edit, read
from pushforward.editing.holes import hole
from pushforward.editing.inpainting import Inpainted, inpaint
from pushforward.editing.interpolation import interpolate
from pushforward.editing.proposals import Langevin, Proposal, RandomWalk
from pushforward.editing.variations import vary

__all__ = [
    "Inpainted",
    "Langevin",
    "Proposal",
    "RandomWalk",
    "directions",
    "edit",
    "hole",
    "inpaint",
    "interpolate",
    "read",
    "vary",
]
