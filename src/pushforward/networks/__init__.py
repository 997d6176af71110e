"""By how much: the networks. They hold the weights, are called through `()`, and know nothing of flows."""

from pushforward.networks.causal import CausalNetwork
from pushforward.networks.contractive import ContractiveMLP, Push
from pushforward.networks.convolution import SpreadConvolution
from pushforward.networks.convolutional import (
    Constant,
    ConvNet,
    GatedAttentionNet,
    GatedConvolution,
    ResNet,
    Shallow,
)
from pushforward.networks.decoder import Decoder
from pushforward.networks.embeddings import Embedded, LabelEmbedding, NoiseEmbedding, Summed, Units, VectorEmbedding
from pushforward.networks.flow_map import Encoded, FlowMapNet
from pushforward.networks.graph import GraphDecoder
from pushforward.networks.guided import Guided, Rule
from pushforward.networks.inverse import InverseTransformer
from pushforward.networks.language_files import LanguageModelSizes
from pushforward.networks.language_model import FrozenLanguageModel, LanguageDecoder
from pushforward.networks.layers import LayerOptions
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.mlp import MLP, OfAngles
from pushforward.networks.noise import NoiseTransformer
from pushforward.networks.positions import Learned, Positions, Rotary, ScaledRotary
from pushforward.networks.prefix import (
    LabelPrefix,
    NumberPrefix,
    Prefix,
    Prefixes,
    PrefixTransformer,
    TextPrefix,
    VectorPrefix,
)
from pushforward.networks.resumed import Resumed
from pushforward.networks.transformer import CausalTransformer
from pushforward.networks.two_streams import LanguageStream, Reading, TwoStreams
from pushforward.networks.unet import UNetOptions, VelocityUNet
from pushforward.networks.velocity import GuidedVelocity, Velocity, VelocityMLP
from pushforward.networks.velocity_images import VelocityViT, ViTOptions
from pushforward.networks.vit import ViT

__all__ = [
    "MLP", "CausalNetwork", "CausalTransformer", "Constant", "ContractiveMLP", "ConvNet", "Decoder", "Embedded",
    "Encoded", "FlowMapNet", "FrozenLanguageModel", "GatedAttentionNet", "GatedConvolution", "GraphDecoder", "Guided",
    "GuidedVelocity", "InverseTransformer", "LabelEmbedding", "LabelPrefix", "LanguageDecoder", "LanguageModelSizes",
    "LanguageStream", "LayerOptions", "Learned", "MaskedMLP", "NoiseEmbedding", "NoiseTransformer", "NumberPrefix",
    "OfAngles", "Positions", "Prefix", "PrefixTransformer", "Prefixes", "Push", "Reading", "ResNet", "Resumed",
    "Rotary", "Rule", "ScaledRotary", "Shallow", "SpreadConvolution", "Summed", "TextPrefix", "TwoStreams",
    "UNetOptions", "Units", "VectorEmbedding", "VectorPrefix", "Velocity", "VelocityMLP", "VelocityUNet", "VelocityViT",
    "ViT", "ViTOptions",
]  # fmt: skip
