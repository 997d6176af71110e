"""The quality of the samples of a flow of images."""

from __future__ import annotations

import torch

from pushforward.codecs import CodedFlow, placed
from pushforward.data import Images
from pushforward.evaluation.features import Extractor
from pushforward.evaluation.quality import Quality, compare
from pushforward.sampling import Sampling, samples


def sample_quality(
    coded: CodedFlow, images: Images, extract: Extractor, n: int = 10_000, sampling: Sampling = Sampling()
) -> Quality:
    """Compare n samples with n of the images by their features; n is at most the number of images."""
    n = min(n, len(images))
    fake = [extract(x) for x, _ in samples(coded, sampling, stop=n)]
    parts = torch.arange(n, device="cpu").split(sampling.batch)
    real = [extract(placed(images.fetch(rows)[0], images.levels)) for rows in parts]
    return compare(torch.cat(real), torch.cat(fake), features=extract.name)
