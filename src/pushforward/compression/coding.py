"""Lossless compression by a flow: `compress` and `decompress`.

Integers are coded directly by a flow of one autoregressive step (`direct`), and all else by bits back. The encoder pops
a point of each value from the stack (`points`), codes the event by every step of the chain (`steps`), and pushes the
latent with its normal distribution. The length is that of the flow's bound, and a little more: for cells −log₂ of the
density times their volume. The first rows need bits to pop: these are random, are part of the file, and are counted.

**Encoder and decoder must compute the same numbers**, so both work in float64 with one thread, in batches of the same
rows, and call networks alike. On another machine, or with another version of torch, last bits may differ. Then the
digest of the data does not fit, and `decompress` says so.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.arrays import as_tensor
from pushforward.codecs import Codec, CodedFlow, GaussianCodebook, Identity, TokenCells, codec_of
from pushforward.compression.container import VERSION, Header, digest, packed, unpacked
from pushforward.compression.direct import Direct, direct
from pushforward.compression.points import Points, decimals_of, points_of
from pushforward.compression.stack import ExhaustedError, Stack
from pushforward.compression.steps import Grid, Step, steps_of
from pushforward.flow import Flow
from pushforward.models import Parts
from pushforward.runs import load_coded

Model = Flow | CodedFlow | str | PathLike[str]  # a flow, with its codec, or a run folder
TEXT = (TokenCells, GaussianCodebook)  # codecs of tokens

SIGMA = 64.0  # units: the noise of a step, in which rounding to units is negligible
CELL = 128  # deviations of a step's noise in the narrowest cell, or in a deviation of the narrowest Gaussian
LARGEST = 512  # rows of a batch
MARGIN = 12  # bits of each element, beyond those of its point, that a batch may pop before it pushes


@dataclass(frozen=True)
class BitsBack:
    """A flow as the steps between points of the data and standard normal latents."""

    points: Points
    steps: list[Step]
    latent: tuple[int, ...]
    grid: Grid

    def encode(self, data: Tensor, stack: Stack) -> None:
        x = self.points.pop(data, stack, self.grid)
        for step in self.steps:
            x = step.encode(x, stack, self.grid)
        stack.push_normal(x.reshape(-1).numpy(), *self._base(x))

    def decode(self, rows: int, stack: Stack) -> Tensor:
        blank = torch.zeros(rows, *self.latent, dtype=torch.int64, device="cpu")
        z = torch.from_numpy(stack.pop_normal(*self._base(blank))).view(blank.shape)
        for step in reversed(self.steps):
            z = step.decode(z, stack, self.grid)
        return self.points.push(z, stack, self.grid)

    def _base(self, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(z.numel()), np.full(z.numel(), 2.0**self.grid.bits)


def compress(model: Model, data: Any, *, verify: bool = True) -> bytes:
    """Data as the bytes of a file, from which `decompress` makes them again with the same model.

    `model` is a flow, a flow with its codec, or a run folder. `data` are integers (rows, *event), such as images, for
    flows whose codec is `UniformDequantization`; a table (rows, columns) of decimal numbers, in which −0 becomes 0; or
    the tokens (n,) of a text, for a language model of one step whose codec is `TokenCells`, or a flow whose codec is a
    `GaussianCodebook`: they read a window at a time. With `verify` the file is decoded and compared, in as much time
    again; ValueError where it is not the data.

    Served are unconditional flows with a standard normal base, of couplings with moves of single elements,
    autoregressive steps, `ActNorm` and rearrangements. Raises ValueError, naming what it cannot code. Needs the extra
    `compression`.
    """
    coded, data = _coded(model), as_tensor(data, "the data").cpu()
    flow, codec = coded.flow, coded.codec
    rows = _windows(data, *flow.event[:-1]) if isinstance(codec, TEXT) and data.dim() == 1 else data
    _check(flow, codec, rows)
    decimals = []
    if data.is_floating_point():
        decimals, data = decimals_of(data), data + 0  # a negative zero becomes 0, which is its cell
        rows = data
    with torch.no_grad(), _one_thread():
        coder = _coder(coded, decimals, rows)
        words, batches, initial = _encoded(coder, rows)
        header = Header(
            VERSION, torch.__version__, *_digests(coded), _digest(data), str(data.dtype).removeprefix("torch."),
            list(data.shape), decimals, *coder.grid, batches, initial,
        )  # fmt: skip
    file = packed(header, words)
    if verify:
        decompress(coded, file)
    return file


def decompress(model: Model, file: bytes) -> Tensor:
    """The data of a file of `compress`, of their dtype and shape.

    Raises ValueError, saying which, for a foreign, damaged or truncated file, for another model or other weights, and
    where arithmetic here differs from that of the encoder: never other data.
    """
    header, words = unpacked(file)
    coded = _coded(model)
    wanted = {"of another model": header.model, "with other weights": header.weights}
    for (which, there), here in zip(wanted.items(), _digests(coded), strict=True):
        if here != there:
            raise ValueError(f"this file was compressed by a flow {which}: {there[:12]}; this one is {here[:12]}.")
    with torch.no_grad(), _one_thread():
        coder = _coder(coded, header.decimals, grid=Grid(header.bits, header.sigma))
        data = _decoded(coder, header, words)
    if data is None or _digest(data) != header.data:
        raise ValueError(
            "the decoded data are not those that were encoded: arithmetic here differs from the encoder's, which had "
            f"torch {header.torch}; here it is {torch.__version__}. Decode on the machine that encoded."
        )
    return data


def _encoded(coder: BitsBack | Direct, data: Tensor) -> tuple[np.ndarray, list[int], int]:
    """The stack, the rows of each batch, and how many words there were before. The least that suffice are found."""
    if isinstance(coder, Direct):
        stack, batches = Stack(_random(0)), [rows for rows in data.split(LARGEST) if len(rows)]
        for rows in batches:
            coder.encode(rows, stack)
        return stack.words, [len(rows) for rows in batches], 0
    most = coder.points.bits(data[:1], coder.grid).sum().item() if len(data) else 0
    initial = int(most / 32) + 3
    while (found := _attempt(coder, data, initial)) is None:
        initial += initial // 8 + 1
    return *found, initial


def _attempt(coder: BitsBack, data: Tensor, initial: int) -> tuple[np.ndarray, list[int]] | None:
    words, batches, start = _random(initial), [], 0
    bits = coder.points.bits(data[:LARGEST], coder.grid)
    need = max(bits.mean().item() + MARGIN, 1) * bits[:1].numel()
    while start < len(data):
        rows = max(1, min(int(32 * len(words) / need), LARGEST, len(data) - start))
        while True:
            stack = Stack(words)
            try:
                coder.encode(data[start : start + rows], stack)
                break
            except ExhaustedError:
                if rows == 1:
                    return None
                rows //= 2
        words, start = stack.words, start + rows
        batches.append(rows)
    return words, batches


def _decoded(coder: BitsBack | Direct, header: Header, words: np.ndarray) -> Tensor | None:
    """The data; None where the stack is not as the encoder left it."""
    stack = Stack(words)
    try:
        parts = [coder.decode(rows, stack) for rows in reversed(header.batches)]
    except (ExhaustedError, ValueError):
        return None
    data = torch.cat([torch.zeros(0, dtype=torch.float64, device="cpu"), *(part.flatten() for part in reversed(parts))])
    return data[: math.prod(header.shape)].reshape(header.shape).to(getattr(torch, header.dtype))


def _windows(tokens: Tensor, window: int) -> Tensor:
    """The tokens of a text (n,) as rows of a window each, the last one filled up with zeros."""
    return F.pad(tokens, (0, -len(tokens) % window)).view(-1, window)


def _random(words: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 2**32, words, dtype=np.uint32)


def _coder(
    coded: CodedFlow, decimals: list[int], data: Tensor | None = None, grid: Grid | None = None
) -> BitsBack | Direct:
    """The coder of a flow, on a grid that suits the data where none is given."""
    flow, codec = copy.deepcopy((coded.flow, coded.codec))
    for part in (flow, codec):
        if isinstance(part, nn.Module):
            part.cpu().double().eval()
    if (found := direct(codec, flow.transform, tuple(flow.event))) is not None:
        return found
    points, transform = points_of(codec, flow.transform, decimals)
    if grid is None:
        assert data is not None
        grid = Grid(math.ceil(math.log2(CELL * SIGMA / points.width(data))), SIGMA)
    return BitsBack(points, list(steps_of(transform)), tuple(flow.base.event), grid)


def _coded(model: Model) -> CodedFlow:
    if isinstance(model, Flow):
        return CodedFlow(model, codec_of(model))
    return model if isinstance(model, CodedFlow) else load_coded(model)


def _check(flow: Flow, codec: Codec, data: Tensor) -> None:
    if flow.conditions:
        raise ValueError(f"only unconditional flows can code; this one is conditioned on {[*flow.conditions]}.")
    if not flow.base.standard:
        raise ValueError(f"only latents with a standard normal base can be coded; this is {type(flow.base).__name__}.")
    event = flow.event[:-1] if isinstance(codec, TEXT) else flow.event
    if data.shape[1:] != event:
        raise ValueError(f"this flow codes data of shape (rows, {', '.join(map(str, event))}); got {data.shape}.")
    if data.is_floating_point() != isinstance(codec, Identity) or (data.is_floating_point() and data.dim() != 2):
        raise ValueError(
            "a flow without a codec codes tables (rows, columns) of real numbers, and one with a codec integers, "
            f"CodedFlow(flow, UniformDequantization(levels)); got {data.dtype} {tuple(data.shape)} and {codec}."
        )
    if data.is_floating_point() and not data.isfinite().all():
        raise ValueError("the data have values that are not finite.")
    codec.encode(data[:1] if data.is_floating_point() else data)  # raises where integers are out of range


def _digests(coded: CodedFlow) -> tuple[str, str]:
    """Of the flow's description and its codec, and of its weights."""
    weights = []
    for part in (coded.flow, coded.codec):
        state = part.state_dict() if isinstance(part, nn.Module) else {}
        weights += [told for name in sorted(state) for told in (name.encode(), _bytes(state[name]))]
    return digest(repr(Parts.of(coded.flow).flow).encode(), repr(coded.codec).encode()), digest(*weights)


def _digest(data: Tensor) -> str:
    return digest(str((data.dtype, tuple(data.shape))).encode(), _bytes(data))


def _bytes(t: Tensor) -> bytes:
    return t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
