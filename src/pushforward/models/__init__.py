"""One page a paper: each names its three choices and assembles the parts."""

from pushforward.models.model import Model
from pushforward.models.tarflow import TarFlow

__all__ = ["Model", "TarFlow"]
