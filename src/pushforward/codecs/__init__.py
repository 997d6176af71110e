"""Codecs: how data become events, and events data.

A flow models a density, but pixels are integers, where a density can become arbitrarily high. So a codec draws a
continuous x ~ q(x | v) for data v, and by Jensen's inequality

    log P(v) ≥ E_q[ log p(x) − log q(x | v) + log P(v | x) ]

where P(v | x) is the probability of the data v given the event x. A codec draws x and returns its cost,
log_q = log q(x | v) − log P(v | x). A `CodedFlow` is a flow with the codec of its data: `CodedFlow.bound` is the right
side. Pixels 0 … levels − 1 are encoded on [−1, 1].
"""

from pushforward.codecs.autoencoder import Autoencoder, FrozenAutoencoder, ImageAutoencoder
from pushforward.codecs.base import Codec, CodecConfig, Identity
from pushforward.codecs.cells import TokenCells
from pushforward.codecs.clips import ClipAutoencoder, ClipCodec, FrozenClipAutoencoder
from pushforward.codecs.codebook import GaussianCodebook, Terms, TokenCodebook
from pushforward.codecs.coded_flow import CodedFlow, DenoiserKind
from pushforward.codecs.columns import ColumnDequantization, codec_of
from pushforward.codecs.diffusers_autoencoder import DiffusersAutoencoder
from pushforward.codecs.diffusers_clips import DiffusersClipAutoencoder
from pushforward.codecs.integers import (
    Coarse,
    IntegerCodec,
    UniformDequantization,
    VariationalDequantization,
    bits_per_dim,
    placed,
)
from pushforward.codecs.noise import GaussianNoise
from pushforward.codecs.variational_autoencoder import TrainedAutoencoder, VariationalAutoencoder

__all__ = [
    "Autoencoder", "ClipAutoencoder", "ClipCodec", "Coarse", "Codec", "CodecConfig", "CodedFlow",
    "ColumnDequantization", "DenoiserKind", "DiffusersAutoencoder", "DiffusersClipAutoencoder", "FrozenAutoencoder",
    "FrozenClipAutoencoder", "GaussianCodebook", "GaussianNoise", "Identity", "ImageAutoencoder", "IntegerCodec",
    "Terms", "TokenCells", "TokenCodebook", "TrainedAutoencoder", "UniformDequantization", "VariationalAutoencoder",
    "VariationalDequantization", "bits_per_dim", "codec_of", "placed",
]  # fmt: skip
