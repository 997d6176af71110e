"""Runs on documents: captions of images, how probable given ones are, and evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pushforward.arrays import check_number
from pushforward.codecs import CodedFlow
from pushforward.data import CaptionDocuments, Document, Takes
from pushforward.data.encoded import ByteRange, Encoded
from pushforward.document_flow import DocumentFlow
from pushforward.evaluation import (
    ORDINARY,
    document_flow,
    document_retrieval,
    mean_document_costs,
    ordinary_text,
    pair_scores,
)
from pushforward.randomness import Keyed
from pushforward.runs.folder import load_coded, read_recipe


def caption(
    run: Path,
    images: tuple[Path, ...],
    among: tuple[str, ...] = (),
    most: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "auto",
) -> str:
    """Write captions of images, by a run on documents: `pushforward caption DIR heart.png dog.png`.

    With `--among "a red heart" "a dog"` it prints instead, for each image, how probable these captions are, the most
    probable first: log P of the caption given the image, and log p of the image given the caption, in nats.

    Args:
        run: The run folder.
        images: Files of images; they are scaled and cropped to those that the run learned.
        among: Captions to compare, in place of writing one.
        most: Tokens of a caption at most.
        temperature: It divides the logits of tokens; at 0 each token is the most probable.
        seed: Of the noise that the codec adds to images, and of captions at temperatures above 0.
        device: cpu, cuda, mps, or auto.
    """
    source = read_recipe(run).data
    if not isinstance(source, CaptionDocuments):
        raise ValueError(f"captions are of runs on documents, such as emoji2; {run} learned {source}.")
    if not images:
        raise ValueError("give at least one image to caption.")
    if missing := [path for path in images if not path.exists()]:
        raise FileNotFoundError(f"there is no image {missing[0]}.")
    check_number(most, "most", least=1)
    check_number(temperature, "temperature", least=0)
    coded = load_coded(run, device=device)
    flow = document_flow(coded)
    x = _read(coded, images, seed)
    if among:
        return "\n".join(f"{path}\n{_compared(flow, source, row, among)}" for path, row in zip(images, x, strict=True))
    texts = written_captions(flow, source, x, most=most, temperature=temperature, seed=seed)
    return "\n".join(f"{path}: {text}" for path, text in zip(images, texts, strict=True))


def written_captions(
    flow: DocumentFlow, source: CaptionDocuments, x: Tensor, *, most: int = 32, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """A caption of each image x (n, C, H, W), an event, of `most` tokens at most, by the most probable ones at 0."""
    begun = [Document([row, [source.tokenizer.begin]]) for row in x]
    noise = Keyed(seed, -1, rows=range(len(x)))
    written = flow.write_text(begun, end=source.tokenizer.end, most=most, temperature=temperature, generator=noise)
    return [source.caption(document.texts[-1]) for document in written]


def _read(coded: CodedFlow, paths: Sequence[Path], seed: int) -> Tensor:
    """The images as events, with the codec's noise."""
    decoded = coded.codec.decode(torch.zeros(1, *coded.flow.event, device=coded.flow.device))
    channels, height, width = decoded.shape[1:]
    pixels = Encoded([*map(ByteRange, paths)], image=(channels, height, width))[torch.arange(len(paths))]
    return coded.codec.encode(pixels.to(coded.flow.device), Keyed(seed, rows=range(len(pixels))))[0]


def _compared(flow: DocumentFlow, source: CaptionDocuments, x: Tensor, captions: Sequence[str]) -> str:
    """A line for each caption, the most probable first, below what they tell."""
    scores = pair_scores(flow, x.expand(len(captions), *x.shape), [source.tokens(text) for text in captions])
    rows = sorted(zip(*(score.tolist() for score in scores), captions, strict=True), reverse=True)
    lines = [f"{told:24.2f}{shown:24.2f}  {text}" for told, shown, text in rows]
    return "\n".join([f"{'log P(caption | image)':>24}{'log p(image | caption)':>24}  nats", *lines])


def measured_documents(coded: CodedFlow, source: CaptionDocuments, takes: Takes) -> Iterator[tuple[str, object]]:
    """The likelihood of held-out documents, how often captions are told from others by an image, both ways, and how
    probable sentences are that are no captions, by name."""
    yield "held-out", mean_document_costs(coded, source.held_out(takes))
    by_text, by_image = document_retrieval(coded, *held_out_pairs(source, takes))
    yield "held-out, by log P(caption | image)", by_text
    yield "held-out, by log p(image | caption)", by_image
    sentences = [torch.from_numpy(source.tokenizer.encode(sentence)) for sentence in ORDINARY]
    yield "ordinary sentences", ordinary_text(document_flow(coded), sentences)


def held_out_pairs(source: CaptionDocuments, takes: Takes) -> tuple[Tensor, list[Tensor]]:
    """The held-out images, and the tokens of the text of each."""
    pairs = replace(source, order="text first").held_out(takes)
    return pairs.images[:, 0], [document.texts[0] for document in pairs.documents]
