"""Evaluating a run: likelihoods, the quality of samples, classification, round trips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pushforward.codecs import CodedFlow
from pushforward.data import (
    Arrays,
    CaptionDocuments,
    Captioned,
    Data,
    Order,
    Sprites,
    TableSource,
    Takes,
    TextSource,
)
from pushforward.diagnostics import Diagnostics
from pushforward.evaluation import (
    Extractor,
    HeldOut,
    Quality,
    caption_retrieval,
    check_calibration,
    held_out_mean,
    load_extractor,
    prompted_quality,
    sample_quality,
)
from pushforward.randomness import keyed
from pushforward.recipe import Recipe
from pushforward.runs.data import check_unchanged, class_number, images_of, read_note, recipe_of
from pushforward.runs.documents import held_out_pairs, measured_documents
from pushforward.runs.folder import load_coded, note
from pushforward.runs.null import check_sampling, knows_null
from pushforward.runs.options import check_read, chosen
from pushforward.runs.texts import measured_text
from pushforward.sampling import Sampling

RANKED = 200  # rows of a table, to check calibration


@dataclass(frozen=True)
class Classified:
    """The class of each image by Bayes' rule, (n,), and its label where it has one."""

    guesses: Tensor
    labels: Tensor | None
    names: tuple[str, ...] = ()  # of the classes, where they have names

    def __str__(self) -> str:
        if self.labels is None:
            return "\n".join(self.names[k] if self.names else str(k) for k in self.guesses.tolist())
        right = (self.guesses == self.labels).double().mean()
        return f"{right:.2%} of {len(self.labels):,} images classified correctly"


@dataclass(frozen=True)
class ColumnRanks:
    """The p-value of uniform ranks of held-out values among samples, by column (`evaluation.check_calibration`)."""

    text: str
    p_values: dict[str, float]

    def __str__(self) -> str:
        return f"{self.text}; " + ", ".join(f"{name} p = {p:.2g}" for name, p in self.p_values.items())


def evaluate(
    run: Path,
    samples: int = 1,
    data: str | None = None,
    features: str | None = None,
    n: int = 10_000,
    sampling: Sampling = Sampling(),
    device: str = "auto",
) -> Mapping[str, object]:
    """Measure the likelihood of held-out data and the quality of samples, into results.json and the model card.

    Each result is written as soon as it is known. Samples that overflowed are counted, and left out of the comparison.

    Of a table it measures the log-density, in nats, and the calibration: how often regions of highest density hold
    held-out rows, and whether ranks of their values among samples are uniform. For rows with weights there is none.

    Of a run on captions it also measures how often the caption of an image is the most probable of ten, for held-out
    captions and for as many images of the training. Of text it measures the bound on each character, and with one draw
    of the codec its terms. Of documents it measures images and texts apart, and how often captions are told apart.

    Args:
        run: The run folder.
        samples: Draws of the codec for each event; more give a tighter bound.
        data: A name, a file or a folder: what it holds out, or all of it; by default the run's held-out data.
        features: Evaluate samples of images too, in features of efficientnet-lite0 or -lite2 or of a TorchScript file.
        n: How many samples, against as many held-out images.
        device: cpu, cuda, mps, or auto.
    """
    recipe = recipe_of(run)
    if features and isinstance(recipe.data, TableSource | TextSource | CaptionDocuments):
        raise ValueError(f"--features is for images, and {run} learned {recipe.data}.")
    sampling = replace(sampling, label=class_number(run, sampling.label))
    check_sampling(run, recipe, sampling)
    check_read(run, recipe.data, sampling)
    if not features and (options := chosen(sampling)):
        raise ValueError(
            f"--{options[0].replace('_', '-')} is of samples: give --features too, in which to evaluate some."
        )
    if data is None:
        check_unchanged(run, recipe)
    coded = load_coded(run, device=device)
    results = _measured(run, coded, recipe, data, samples)
    if features:
        extract = load_extractor(features, device=coded.flow.device)
        results = chain(results, _qualities(run, coded, recipe, data, extract, n, sampling))
    found: dict[str, object] = {}
    for name, result in results:
        told = {name if data is None else f"{name}, {data}": result}
        note(run, told)
        found |= told
    return found


def _measured(
    run: Path, coded: CodedFlow, recipe: Recipe, data: str | None, samples: int
) -> Iterator[tuple[str, object]]:
    """The likelihoods of data, and what else suits their kind, by name."""
    source, takes = recipe.data if data is None else recipe.data.at(data), recipe.takes()
    match source:
        case TableSource():
            rows = source.held_out(takes) if data is None else source.rows(source.table())
            yield from _measured_table(coded, rows, source.columns, samples)
        case TextSource():
            rows = source.held_out(takes) if data is None else source.whole(takes)
            yield from measured_text(coded, rows, source.tokenizer, samples)
        case CaptionDocuments():
            yield from measured_documents(coded, source, takes)
        case Captioned():
            for name, rows in _captioned(source, takes, learned=data is None).items():
                yield from _likelihoods(coded, recipe, rows, samples, name)
                yield f"{name}, captions", caption_retrieval(coded, rows)
        case _:
            rows = recipe.held_out_data() if data is None else images_of(run, data)
            yield from _likelihoods(coded, recipe, rows, samples)
            if isinstance(source, Sprites):
                yield "unseen pairs", held_out_mean(coded, source.pairs(takes), samples=samples)


def _qualities(
    run: Path, coded: CodedFlow, recipe: Recipe, data: str | None, extract: Extractor, n: int, sampling: Sampling
) -> Iterator[tuple[str, Quality]]:
    """The quality of samples, by name; of prompts where the run learned captions."""
    told = f"samples, guidance {sampling.guidance:g}, {extract.name}"
    if isinstance(recipe.data, Captioned):
        source = recipe.data if data is None else recipe.data.at(data)
        for name, rows in _captioned(source, recipe.takes(), learned=data is None).items():
            yield f"{name}, {told}", prompted_quality(coded, rows, extract, n, sampling)
    else:
        yield told, sample_quality(coded, images_of(run, data), extract, n, sampling)


def _likelihoods(
    coded: CodedFlow, recipe: Recipe, rows: Data, samples: int, name: str = "held-out"
) -> Iterator[tuple[str, HeldOut]]:
    """The likelihood of rows given what they are conditioned on, and without it where the run learned that, by name."""
    yield name, held_out_mean(coded, rows, samples=samples)
    if coded.flow.classes and knows_null(recipe, "label"):
        null = torch.tensor(-1, device="cpu")
        yield f"{name}, without the class", held_out_mean(coded, rows, null, samples=samples)
    if "text" in coded.flow.conditions and knows_null(recipe, "text"):
        yield f"{name}, without the caption", held_out_mean(coded, rows, {"text": None}, samples=samples)


def _captioned(source: Captioned, takes: Takes, *, learned: bool) -> dict[str, Data]:
    """Images whose captions are held out, and, where the run learned this source, as many of the training."""
    held_out = source.held_out(takes)
    if not learned:
        return {"held-out": held_out}
    training = source.training(takes)
    some = Order(len(training), seed=0)[0 : min(len(held_out), len(training))]
    return {"held-out": held_out, "training": Arrays(*training.fetch(some))}


def _measured_table(
    coded: CodedFlow, rows: Arrays, columns: Sequence[str], samples: int
) -> Iterator[tuple[str, HeldOut | ColumnRanks]]:
    """The log-density of rows, and their calibration where they have no weights, by name."""
    cost = held_out_mean(coded, rows, samples=samples)
    yield "held-out log p", replace(cost, mean=-cost.mean)
    if rows.weights is None:
        some = rows.part(range(min(RANKED, len(rows))))
        x = coded.codec.encode(some.events, keyed(0))[0]
        ranks = check_calibration(coded.flow, x, some.context)
        yield "calibration", ColumnRanks(str(ranks), dict(zip(columns, ranks.p_values().tolist(), strict=True)))


def check(run: Path, n: int = 64, device: str = "auto") -> dict[str, Diagnostics]:
    """Check a run's numerical accuracy on images or rows: round trips, log-det against autograd.

    Args:
        run: The run folder.
        n: How many images or rows.
        device: cpu, cuda, mps, or auto.
    """
    coded, recipe = load_coded(run, device=device), recipe_of(run)
    flow = coded.flow
    if isinstance(recipe.data, CaptionDocuments):
        images, texts = held_out_pairs(recipe.data, recipe.takes())
        data, given = images[:n], pad_sequence(texts[:n], batch_first=True, padding_value=-1)
    else:
        held_out = recipe.held_out_data()
        data, given = held_out.fetch(range(min(n, len(held_out))))
    x = coded.codec.encode(data, torch.Generator().manual_seed(0))[0].to(flow.device)
    found = {"float32": flow.check(x, given)}
    if flow.device.type != "mps":  # which has no float64
        found["float64"] = flow.double().check(x.double(), given)
    return found


def classify(run: Path, data: str | None = None, device: str = "auto") -> Classified:
    """Classify images by Bayes' rule: prints one class a line, or the accuracy where there are labels.

    Args:
        run: The run folder.
        data: A name, a file or a folder of images; by default the run's held-out images.
        device: cpu, cuda, mps, or auto.
    """
    images, coded = images_of(run, data), load_coded(run, device=device)
    parts = torch.arange(len(images), device="cpu").split(64)
    guesses = torch.cat([coded.classify(images.fetch(rows)[0]) for rows in parts])
    return Classified(guesses, images.labels, tuple(read_note(run).get("classes", ())))
