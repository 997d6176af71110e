"""How data become events, and events data.

A flow models a density, and pixels are integers: a density on integers can be made as great as one likes. So a codec
draws a continuous x ~ q(x | v) for data v, and by Jensen's inequality

    log P(v) ≥ E_q[ log p(x) − log q(x | v) + log P(v | x) ]

where P(v | x) says which data x stands for. A codec draws x and returns its cost, log_q = log q(x | v) − log P(v | x).
A `CodedFlow` is a flow with the codec of its data; what it gives is a bound, and its method is called so.
Integers 0 … levels − 1 lie on [−1, 1].
"""

from pushforward.codecs.base import Codec, CodecConfig, Identity
from pushforward.codecs.coarse import Coarse
from pushforward.codecs.coded_flow import CodedFlow
from pushforward.codecs.columns import ColumnDequantization, codec_of
from pushforward.codecs.dequantization import UniformDequantization
from pushforward.codecs.integers import IntegerCodec, bits_per_dim, placed
from pushforward.codecs.noise import GaussianNoise
from pushforward.codecs.variational import VariationalDequantization

__all__ = [
    "Coarse",
    "Codec",
    "CodecConfig",
    "CodedFlow",
    "ColumnDequantization",
    "GaussianNoise",
    "Identity",
    "IntegerCodec",
    "UniformDequantization",
    "VariationalDequantization",
    "bits_per_dim",
    "codec_of",
    "placed",
]
