"""The quality of the samples of a flow of images."""

from __future__ import annotations

from dataclasses import replace

import torch

from pushforward.codecs import CodedFlow, placed
from pushforward.data import Images
from pushforward.evaluation.features import Extractor
from pushforward.evaluation.quality import Quality, compare
from pushforward.sampling import Sampling, samples

LEAST = 4  # samples that can be compared: precision and recall take the third neighbour of each


def sample_quality(
    coded: CodedFlow, images: Images, extract: Extractor, n: int = 10_000, sampling: Sampling = Sampling()
) -> Quality:
    """Compare n samples with n of the images by their features; n is at most the number of images.

    Samples with pixels that are not finite are left out and counted. Raises FloatingPointError where too few are left.
    """
    n = min(n, len(images))
    finite = (x[x.flatten(1).isfinite().all(1)] for x, _ in samples(coded, sampling, stop=n))
    fake = [extract(x) for x in finite if len(x)]
    left = sum(map(len, fake))
    if left < min(n, LEAST):
        raise FloatingPointError(
            f"{n - left} of {n} samples overflowed: too few are left to compare. Train for longer."
        )
    parts = torch.arange(n, device="cpu").split(sampling.batch)
    real = [extract(placed(images.fetch(rows)[0], images.levels)) for rows in parts]
    return replace(compare(torch.cat(real), torch.cat(fake), features=extract.name), overflowed=n - left)
