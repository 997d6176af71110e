"""Runs on texts: their bounds in bits/char, and texts drawn from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow, GaussianCodebook
from pushforward.data import TextSource, Tokenizer, Windows
from pushforward.editing import continued, infilled, tempered
from pushforward.evaluation import HeldOut, held_out_mean
from pushforward.files import write
from pushforward.flow import Flow
from pushforward.randomness import Keyed
from pushforward.runs.folder import load_coded, read_recipe
from pushforward.sampling import Sampling

BATCH = 32  # windows at once, where the bound's terms are computed


@dataclass(frozen=True)
class BoundTerms:
    """The terms of a bound with one draw, each with the sign that it has in minus log P, in the codec's unit.

    They add up to the bound.
    """

    reconstruction: float
    prior: float
    entropy: float
    unit: str

    def __str__(self) -> str:
        return (
            f"reconstruction {self.reconstruction:.3f}, prior {self.prior:.3f}, entropy {self.entropy:.3f} {self.unit}"
        )


def measured_text(
    coded: CodedFlow, rows: Windows, tokenizer: Tokenizer, samples: int
) -> Iterator[tuple[str, HeldOut | BoundTerms]]:
    """The bound on windows of text, for each character where tokens are none, and with one draw its terms, by name."""
    mean = held_out_mean(coded, rows, samples=samples, batch=BATCH)
    yield "held-out", mean
    if tokenizer.unit == "token":
        yield "per character", _per_character(mean, rows, tokenizer)
    if isinstance(coded.codec, GaussianCodebook) and samples == 1:
        yield "terms of the bound", bound_terms(coded, rows)


def _per_character(mean: HeldOut, rows: Windows, tokenizer: Tokenizer) -> HeldOut:
    """The mean in bits of a character."""
    tokens = rows.fetch(range(len(rows)))[0]
    characters = sum(len(tokenizer.decode(row)) for row in tokens.tolist())
    bits = tokens.numel() / characters / (1 if mean.unit.startswith("bits") else math.log(2))
    error = mean.standard_error * bits
    return replace(mean, mean=mean.mean * bits, standard_error=error, unit="bits/char", characters=characters)


@torch.no_grad()
def bound_terms(coded: CodedFlow, rows: Windows) -> BoundTerms:
    """The mean over all windows of the terms of a bound by a `GaussianCodebook`, with the noise of `held_out_mean`."""
    codec, sums = coded.codec, torch.zeros(3, dtype=torch.float64)
    assert isinstance(codec, GaussianCodebook)
    for part in torch.arange(len(rows)).split(BATCH):
        tokens = rows.fetch(part)[0].to(coded.flow.device)
        x, _ = codec.encode(tokens, Keyed(0, rows=part))
        terms = codec.terms(tokens, x, coded.flow.log_prob(x))
        sums += torch.stack([codec.in_unit(term, tokens).double().sum().cpu() for term in terms])
    return BoundTerms(*(sums / len(rows)).tolist(), unit=codec.unit)


def sample_text(run: Path, out: Path | None, n: int, sampling: Sampling, device: str) -> str:
    """Draw n texts of a run, or n that continue each prompt or fill its gap; returns them, or where they were written.

    Raises ValueError where a prompt has no gap, and one is asked for.
    """
    source = read_recipe(run).data
    assert isinstance(source, TextSource)
    tokenizer, coded, told, texts = source.tokenizer, load_coded(run, device=device), set[str](), list[str]()
    for i, prompt in enumerate(sampling.prompt or ("",)):
        if sampling.gap not in prompt:
            raise ValueError(f"the gap {sampling.gap!r} is not in the prompt {prompt!r}.")
        ends = prompt.split(sampling.gap, 1) if sampling.gap else [prompt]
        given = [torch.from_numpy(tokenizer.encode(end)).expand(n, -1) for end in ends]
        for rows in torch.arange(n).split(sampling.batch):
            draw = filled if sampling.gap else written
            tokens, how = draw(coded, *(end[rows] for end in given), sampling, (i, *rows[:1].tolist()))
            texts += [tokenizer.decode(row) for row in tokens.tolist()]
            told |= {how}
    drawn = "\n".join(f"--- {i}\n{text}" for i, text in enumerate(texts, 1))
    drawn += "".join(f"\n--- {how}" for how in sorted(told) if how)
    if out is None:
        return drawn
    write(out, drawn + "\n")
    return f"{len(texts)} texts in {out}"


def written(coded: CodedFlow, tokens: Tensor, sampling: Sampling, key: tuple[int, ...]) -> tuple[Tensor, str]:
    """Tokens (n, k), and `sampling.length` more; and in words how they follow, where it is not exactly.

    A window is drawn given the tokens before it, half of its length at most: `editing.continued` of their events.
    Raises ValueError for a temperature of a flow that has no weights of tokens.
    """
    flow, window, tempers = coded.flow, coded.flow.event[0], _tempered(coded.flow, sampling)
    left, least, step = sampling.length or window - min(tokens.shape[1], window // 2), math.inf, 0
    while left > 0:
        known = tokens[:, max(0, tokens.shape[1] - window // 2) :]
        noise = Keyed(sampling.seed, *key, step, rows=range(len(tokens)))
        if known.shape[1]:
            events, effective = continued(tempers, coded.codec.encode(known.to(flow.device), noise)[0], generator=noise)
            least = least if effective is None else min(least, effective.min().item())
        else:
            events = tempers.sample(len(tokens), generator=noise)
        new = coded.codec.decode(events)[:, known.shape[1] :].cpu()[:, :left]
        tokens, left, step = torch.cat([tokens, new], 1), left - new.shape[1], step + 1
    if math.isinf(least):
        return tokens, ""
    return tokens, f"windows follow by importance resampling; effective sample size {least:.1f} or more"


def filled(
    coded: CodedFlow, before: Tensor, after: Tensor, sampling: Sampling, key: tuple[int, ...]
) -> tuple[Tensor, str]:
    """Tokens before (n, k), `sampling.length` drawn ones, and those after (n, m): `editing.infilled` of their events.

    And in words how they were drawn. One window is read, of whose known tokens at most half are after the gap. Raises
    ValueError where the gap has no length, or leaves no room for a known token.
    """
    flow, window, length = coded.flow, coded.flow.event[0], sampling.length or 0
    if not 0 < length < window - 1:
        raise ValueError(f"a gap needs a length of 1 … {window - 2} tokens, in a window of {window}; got {length}.")
    right = after[:, : (window - length) // 2]
    left = before[:, max(0, before.shape[1] - (window - length - right.shape[1])) :]
    start, end = left.shape[1], left.shape[1] + length
    missing = torch.ones(window, dtype=torch.bool)
    missing[:start] = missing[end : end + right.shape[1]] = False
    tokens = torch.zeros(len(before), window, dtype=torch.long)
    tokens[:, :start], tokens[:, end : end + right.shape[1]] = left, right
    noise = Keyed(sampling.seed, *key, rows=range(len(before)))
    events = coded.codec.encode(tokens.to(flow.device), noise)[0]
    drawn = infilled(_tempered(flow, sampling), events, missing, generator=noise)
    new = coded.codec.decode(drawn.events)[:, start:end].cpu()
    assert drawn.effective is not None
    how = f"gaps are filled by importance resampling; effective sample size {drawn.effective.min():.1f} or more"
    return torch.cat([before, new, after], 1), how


def _tempered(flow: Flow, sampling: Sampling) -> Flow:
    """Raises ValueError for a temperature of a flow that has no weights of tokens."""
    found = tempered(flow, sampling.temperature)
    if sampling.temperature != 1 and found is flow:
        raise ValueError("a temperature is of the weights of tokens, and this flow has none: its moves are no Mix-d.")
    return found
