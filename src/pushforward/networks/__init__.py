"""By how much: networks, which hold the weights, have one door and know nothing of flows."""

from pushforward.networks.cache import Cache
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
from pushforward.networks.embeddings import LabelEmbedding, VectorEmbedding
from pushforward.networks.guided import Guided, LinearRule, Rule
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.mlp import MLP, OfAngles
from pushforward.networks.transformer import CausalTransformer
from pushforward.networks.vit import ViT

__all__ = [
    "MLP",
    "Cache",
    "CausalNetwork",
    "CausalTransformer",
    "Constant",
    "ContractiveMLP",
    "ConvNet",
    "GatedAttentionNet",
    "GatedConvolution",
    "Guided",
    "LabelEmbedding",
    "LinearRule",
    "MaskedMLP",
    "OfAngles",
    "Push",
    "ResNet",
    "Rule",
    "Shallow",
    "SpreadConvolution",
    "VectorEmbedding",
    "ViT",
]
