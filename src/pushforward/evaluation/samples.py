"""The quality of the samples of a flow of images."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pushforward.codecs import CodedFlow, placed
from pushforward.data import Data, Images
from pushforward.evaluation.features import Extractor
from pushforward.evaluation.quality import Quality, compare
from pushforward.sampling import Drawn, Sampling, samples

LEAST = 4  # samples that can be compared: precision and recall take the third neighbour of each


def sample_quality(
    coded: CodedFlow, images: Images, extract: Extractor, n: int = 10_000, sampling: Sampling = Sampling()
) -> Quality:
    """Compare n samples with n of the images by their features; n is at most the number of images.

    Samples with pixels that are not finite are left out and counted. Raises FloatingPointError where too few are left.
    """
    n = min(n, len(images))
    parts = torch.arange(n, device="cpu").split(sampling.batch)
    real = (placed(images.fetch(rows)[0], images.levels) for rows in parts)
    return _compared(real, (some.events for some in _finite(samples(coded, sampling, stop=n))), n, extract)


def prompted_quality(
    coded: CodedFlow, data: Data, extract: Extractor, n: int = 10_000, sampling: Sampling = Sampling()
) -> Quality:
    """Compare n images of the data with a sample of each one's context, such as its caption, decoded.

    Otherwise as `sample_quality`.
    """
    n = min(n, len(data))
    context = data.fetch(range(n))[1]
    parts = torch.arange(n, device="cpu").split(sampling.batch)
    drawn = _finite(samples(coded, sampling, context, stop=n))
    return _compared((data.fetch(rows)[0] for rows in parts), (some.data for some in drawn), n, extract)


def _finite(drawn: Iterable[Drawn]) -> Iterator[Drawn]:
    """The samples that are finite, where a batch has any; without their labels."""
    finite = (Drawn(some.events[some.finite], None, some.codec) for some in drawn)
    return (some for some in finite if len(some.events))


def _compared(images: Iterable[Tensor], drawn: Iterable[Tensor], n: int, extract: Extractor) -> Quality:
    """The comparison of n images with what is left of n samples."""
    fake = [extract(x) for x in drawn]
    left = sum(map(len, fake))
    if left < min(n, LEAST):
        raise FloatingPointError(
            f"{n - left} of {n} samples overflowed: too few are left to compare. Train for longer."
        )
    real = [extract(x) for x in images]
    return replace(compare(torch.cat(real), torch.cat(fake), features=extract.name), overflowed=n - left)
