"""Data sets, and batches as a function of (seed, position)."""

from __future__ import annotations

import itertools

import pytest
import torch

from pushforward.data import batches, digits


def test_digits_are_scikit_learn_s():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_digits()
    train, test = digits("train"), digits("test")
    assert (len(train), len(test), train.levels, train.classes) == (1437, 360, 17, 10)
    assert torch.equal(test.images[:, 0].double(), torch.from_numpy(theirs.images[::5]))
    assert torch.equal(test.labels, torch.from_numpy(theirs.target[::5]))
    assert len(torch.unique(torch.cat([train.images, test.images]), dim=0)) == 1797, "no image is in both splits"
    with pytest.raises(ValueError, match="'validation'"):
        digits("validation")


def test_batches_go_through_the_data_in_a_seeded_order():
    data = digits("test")
    first = [labels for _, labels in itertools.islice(batches(data, 100, seed=3), 9)]
    again = [labels for _, labels in itertools.islice(batches(data, 100, seed=3), 9)]
    other = [labels for _, labels in itertools.islice(batches(data, 100, seed=4), 9)]
    assert all(len(labels) == 100 for labels in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    labels = torch.cat(first)
    for epoch in labels[:720].split(360):
        assert torch.equal(epoch.sort().values, data.labels.sort().values)
    assert not torch.equal(labels[:360], labels[360:720])
