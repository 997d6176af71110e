"""Who moves: the invertible transforms."""

from pushforward.transforms.autoregressive import Autoregressive
from pushforward.transforms.reshape import Flip, Patchify, Rearrangement, Reordered

__all__ = ["Autoregressive", "Flip", "Patchify", "Rearrangement", "Reordered"]
