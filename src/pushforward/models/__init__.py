"""Models: one page for each paper, which names its three choices and assembles the parts."""

from collections.abc import Callable
from functools import partial

from pushforward.models.arbg import ArBG
from pushforward.models.autoregressive_lm import AutoregressiveLM
from pushforward.models.circular_nsf import CircularNSF
from pushforward.models.continuous import ContinuousModel, ImageContinuous, VectorContinuous
from pushforward.models.ffjord import FFJORD
from pushforward.models.flow_map import FlowMap, ImageFlowMap, VectorFlowMap
from pushforward.models.flow_matching import (
    FlowMatching,
    ImageFlowMatching,
    ImageOTFlowMatching,
    ImageRectifiedFlow,
    OTFlowMatching,
    RectifiedFlow,
    VectorFlowMatching,
    VectorOTFlowMatching,
    VectorRectifiedFlow,
)
from pushforward.models.flowpp import Dequantiser, FlowPlusPlus, ImageFlowPlusPlus, VectorFlowPlusPlus
from pushforward.models.glow import Glow, ImageGlow, InvertibleConvolution, Mixing, Reverse, Shuffle, VectorGlow
from pushforward.models.iaf import IAF
from pushforward.models.image import ImageModel
from pushforward.models.itarflow import ITARFlow
from pushforward.models.jet import Jet
from pushforward.models.maf import MAF
from pushforward.models.model import Model
from pushforward.models.nice import NICE
from pushforward.models.nsf import NSF
from pushforward.models.parts import Part, Parts
from pushforward.models.realnvp import ImageRealNVP, RealNVP, VectorRealNVP
from pushforward.models.residual_flow import ResidualFlow
from pushforward.models.starflow import STARFlow
from pushforward.models.starflow2 import STARFlow2
from pushforward.models.starflow_v import STARFlowV
from pushforward.models.tarflow import TarFlow
from pushforward.models.tarflowlm import Mix1Options, MixDOptions, TarFlowLM
from pushforward.models.vector import VectorModel
from pushforward.models.vector_or_image import VectorOrImage

BY_WORD: dict[str, Callable[..., VectorModel]] = {  # the models of vectors by their names on the command line
    "arbg": ArBG,
    "nice": NICE,
    "realnvp": VectorRealNVP,
    "glow": VectorGlow,
    "flowpp": VectorFlowPlusPlus,
    "maf": MAF,
    "iaf": IAF,
    "nsf": NSF,
    "autoregressive-nsf": partial(NSF, autoregressive=True),
    "circularnsf": CircularNSF,
    "residualflow": ResidualFlow,
    "ffjord": FFJORD,
    "flowmap": VectorFlowMap,
    "flowmatching": VectorFlowMatching,
    "otflowmatching": VectorOTFlowMatching,
    "rectifiedflow": VectorRectifiedFlow,
}

__all__ = [
    "BY_WORD", "FFJORD", "IAF", "MAF", "NICE", "NSF", "ArBG", "AutoregressiveLM", "CircularNSF", "ContinuousModel",
    "Dequantiser", "FlowMap", "FlowMatching", "FlowPlusPlus", "Glow", "ITARFlow", "ImageContinuous", "ImageFlowMap",
    "ImageFlowMatching", "ImageFlowPlusPlus", "ImageGlow", "ImageModel", "ImageOTFlowMatching", "ImageRealNVP",
    "ImageRectifiedFlow", "InvertibleConvolution", "Jet", "Mix1Options", "MixDOptions", "Mixing", "Model",
    "OTFlowMatching", "Part", "Parts", "RealNVP", "RectifiedFlow", "ResidualFlow", "Reverse", "STARFlow", "STARFlow2",
    "STARFlowV", "Shuffle", "TarFlow", "TarFlowLM", "VectorContinuous", "VectorFlowMap", "VectorFlowMatching",
    "VectorFlowPlusPlus", "VectorGlow", "VectorModel", "VectorOTFlowMatching", "VectorOrImage", "VectorRealNVP",
    "VectorRectifiedFlow",
]  # fmt: skip
