"""One page a paper: each names its three choices and assembles the parts."""

from pushforward.models.circular_nsf import CircularNSF
from pushforward.models.iaf import IAF
from pushforward.models.maf import MAF
from pushforward.models.model import Model
from pushforward.models.nice import NICE
from pushforward.models.nsf import NSF
from pushforward.models.realnvp import RealNVP
from pushforward.models.residual_flow import ResidualFlow
from pushforward.models.tarflow import TarFlow
from pushforward.models.vector import VectorModel

__all__ = ["IAF", "MAF", "NICE", "NSF", "CircularNSF", "Model", "RealNVP", "ResidualFlow", "TarFlow", "VectorModel"]
