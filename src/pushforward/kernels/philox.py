"""Random numbers by Philox4x32-10, a counter-based generator: `philox.cpp`, and the same in tensor operations.

Four words of 32 bits are a function of a key of two words and a counter of four; there is no state. The words of a row
are those of the counters (block, draw, row mod 2³², row div 2³²), for blocks 0, 1, 2, … Words and uniform numbers are
the same on all devices, bit for bit, normal numbers to rounding. Keys and rows are int64 tensors, (2,) and (n,), on one
device; the words of a key are 0 … 2³² − 1, no row is negative. Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3".
"""

import math
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from pushforward.kernels import build, serving
from pushforward.recording import recorded

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85  # of the key, each round
MASK = 0xFFFFFFFF
ENOUGH = 1 << 16  # numbers that are worth another thread
ARGUMENTS = (c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64, c_int64)


def uniform(key: Tensor, rows: Tensor, draw: int, count: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers in [0, 1), (rows, count): multiples of 2⁻²⁴ in float32, of 2⁻⁵³ in float64."""
    if dtype == torch.float32:
        if serves(key, rows, count):
            return _by_kernel("uniform", dtype, key, rows, draw, count)
        return ((words(key, rows, draw, count) >> 8) & 0xFFFFFF).to(dtype) * 2.0**-24
    return ((_joined(words(key, rows, draw, 2 * count)) >> 11) & (2**53 - 1)).to(dtype) * 2.0**-53


def normal(key: Tensor, rows: Tensor, draw: int, count: int, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers, (rows, count): sqrt(−2 log u) · (cos, sin)(angle), u in (0, 1] and angle in [−π, π].

    Their size is at most 6.7 in float32, 9.5 in float64. Box & Muller 1958.
    """
    if dtype == torch.float32 and serves(key, rows, count):
        return _by_kernel("normal", dtype, key, rows, draw, count)
    even = count + count % 2
    if dtype == torch.float32:
        bits, pairs = 31, words(key, rows, draw, even)
    else:
        bits, pairs = 63, _joined(words(key, rows, draw, 2 * even))
    first, second = pairs.unflatten(1, (-1, 2)).unbind(2)
    u = ((first & (2**bits - 1)).to(dtype) + 0.5) * 2.0**-bits
    radius, angle = (-2 * u.log()).sqrt(), second.to(dtype) * (math.pi * 2.0**-bits)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 2).flatten(1)[:, :count]


def words(key: Tensor, rows: Tensor, draw: int, count: int) -> Tensor:
    """Words, (rows, count) int32: their bits, as signed integers."""
    if serves(key, rows, count):
        return _by_kernel("words", torch.int32, key, rows, draw, count)
    blocks = -(-count // 4)
    counters = torch.empty(4, len(rows), blocks, dtype=torch.int64, device=rows.device)
    counters[0] = torch.arange(blocks, device=rows.device)
    counters[1].fill_(draw)
    counters[2], counters[3] = (rows & MASK)[:, None], (rows >> 32)[:, None]
    return philox(counters, key).permute(1, 2, 0).flatten(1)[:, :count].to(torch.int32)


def philox(counters: Tensor, key: Tensor) -> Tensor:
    """The four words of each counter (4, …) under a key (2,): 0 … 2³² − 1, in int64.

    A round makes of the counter (a, b, c, d), with 64-bit products p = M0 · a and q = M1 · c,

        (high(q) ^ b ^ key0, low(q), high(p) ^ d ^ key1, low(p))

    Two lanes hold a and c, of which each round makes the other: so a lane's multiplier and key alternate.
    """
    lane = torch.arange(2, device=key.device).reshape(2, *(1,) * (counters.dim() - 1))
    multipliers = [MULTIPLIERS[i] + (MULTIPLIERS[1 - i] - MULTIPLIERS[i]) * lane for i in range(2)]
    step = torch.arange(ROUNDS, device=key.device)
    keys = torch.stack([(key[i] + step * INCREMENTS[i]) & MASK for i in (1, 0)]).reshape(2, ROUNDS, *lane.shape[1:])
    keys = [keys[:, r] if r % 2 == 0 else keys[:, r].flip(0) for r in range(ROUNDS)]
    x, y = counters[0::2], counters[1::2].flip(0)
    for r in range(ROUNDS):
        product = x * multipliers[r % 2]
        x = (product >> 32).bitwise_xor_(y).bitwise_xor_(keys[r]).bitwise_and_(MASK)
        y = product.bitwise_and_(MASK).flip(0)
    return torch.stack([x[0], y[1], x[1], y[0]])


def serves(key: Tensor, rows: Tensor, count: int) -> bool:
    """Whether the kernel may draw so many numbers a row."""
    plain = serving.are_plain(key, rows, dtypes=(torch.int64,)) and not recorded()
    return len(rows) * count >= serving.LEAST["philox"] and plain and build.library("philox") is not None


def _by_kernel(door: str, dtype: torch.dtype, key: Tensor, rows: Tensor, draw: int, count: int) -> Tensor:
    out = torch.empty(len(rows), count, dtype=dtype, device="cpu")
    threads = min(torch.get_num_threads(), 1 + out.numel() // ENOUGH)
    key, rows = key.contiguous(), rows.contiguous()
    call = build.function("philox", door, dtype, (), ARGUMENTS)
    call(out.data_ptr(), rows.data_ptr(), len(rows), count, key.data_ptr(), draw, threads)
    return out


def _joined(words: Tensor) -> Tensor:
    """Words (n, 2 m) int32 -> words of 64 bits, (n, m) int64."""
    high, low = words.long().unflatten(1, (-1, 2)).unbind(2)
    return (high << 32) | (low & MASK)
