"""Random numbers are those of Philox4x32-10, depend on their keys alone, and pass statistical tests."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pushforward.kernels import philox
from pushforward.randomness import Keyed, draw, key, keyed
from tests.kernels import switch

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
KNOWN = [  # counter, key, words: the known-answer vectors of Random123, kat_vectors
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (*PI, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]
SAMPLERS = {"uniform": torch.rand, "normal": torch.randn}
N = 1_000_000


@pytest.fixture(params=[False, True], ids=["tensors", "kernel"])
def _drawn_by(request, monkeypatch) -> None:
    switch(monkeypatch, request.param)


def numbers(name: str, n: int, dtype: torch.dtype = torch.float64, rows: int = 1000) -> torch.Tensor:
    return draw(SAMPLERS[name], (rows, n // rows), torch.empty((), dtype=dtype), Keyed(0, rows=range(rows)))


@pytest.mark.parametrize(("counter", "of", "words"), KNOWN)
def test_known_answers(counter, of, words):
    assert philox.philox(torch.tensor(counter)[:, None], torch.tensor(of))[:, 0].tolist() == list(words)


@pytest.mark.usefixtures("_drawn_by")
def test_words_are_those_of_their_counters():
    """Block, draw, and the two halves of the row; tails of blocks are cut off."""
    of, rows = key(1, 2), torch.tensor([0, 5, 2**32 - 1, 2**33 + 7])
    words = philox.words(of, rows, 3, 150)
    for i, row in enumerate(rows.tolist()):
        counters = torch.tensor([[block, 3, row % 2**32, row // 2**32] for block in range(38)]).T
        expected = philox.philox(counters, of).T.flatten()[:150]
        assert torch.equal(words[i].long() & philox.MASK, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_kernel_draws_what_tensor_operations_draw(name, dtype, monkeypatch):
    drawn = []
    for on in (False, True):
        switch(monkeypatch, on)
        drawn.append(numbers(name, 100_000, dtype, rows=77))
    torch.testing.assert_close(*drawn, rtol=0, atol=2e-6 if name == "normal" and dtype == torch.float32 else 0)


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_numbers_depend_on_keys_row_draw_and_element_alone(sampler):
    like = torch.empty(())
    whole, part = Keyed(1, 2, rows=range(9)), Keyed(1, 2, rows=[7, 3])
    first, second = (draw(sampler, (9, 2, 35), like, whole) for _ in range(2))
    assert not torch.equal(first, second), "each draw is another"
    for expected in (first, second):
        assert torch.equal(draw(sampler, (2, 2, 35), like, part), expected[[7, 3]])
    assert torch.equal(draw(sampler, (2, 70), like, whole[1:3]), first[1:3].flatten(1)), "a slice starts again"
    assert not torch.equal(draw(sampler, (9, 2, 35), like, Keyed(1, 3, rows=range(9))), first)
    assert torch.equal(draw(sampler, (9, 10), like, Keyed(1, 2, rows=range(9))), first.flatten(1)[:, :10])


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform(dtype):
    """Moments within five standard errors, and as many in each of 256 bins as chance allows."""
    u = numbers("uniform", N, dtype).double()
    assert 0 <= u.min() < u.max() < 1
    for power in range(1, 5):
        error = math.sqrt(1 / (2 * power + 1) - 1 / (power + 1) ** 2) / math.sqrt(N)
        assert (u**power).mean().item() == pytest.approx(1 / (power + 1), abs=5 * error)
    counts = torch.histc(u.flatten(), 256, 0, 1)
    chi_squared = ((counts - N / 256).square() / (N / 256)).sum()
    assert abs(chi_squared - 255) < 5 * math.sqrt(2 * 255)


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_normal(dtype):
    """Moments, and the largest distance of the distribution function: Kolmogorov–Smirnov at a chance of 1e-4."""
    z = numbers("normal", N, dtype).double().flatten()
    for power, variance in ((1, 1), (2, 2), (3, 15), (4, 96)):
        expected = (0, 1, 0, 3)[power - 1]
        assert (z**power).mean().item() == pytest.approx(expected, abs=5 * math.sqrt(variance / N))
    distance = (torch.special.ndtr(z.sort().values) - (torch.arange(N) + 0.5) / N).abs().max()
    assert distance < 2.2 / math.sqrt(N)


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("name", SAMPLERS)
def test_neighbours_are_not_correlated(name):
    """Elements that are near, and the same element of rows, draws, keys that are."""
    x = numbers(name, N).sub(0.5 if name == "uniform" else 0)
    near = Keyed(0, rows=range(1000))
    again = [draw(SAMPLERS[name], x.shape, x, near) for _ in range(2)][1] - (0.5 if name == "uniform" else 0)
    other = draw(SAMPLERS[name], x.shape, x, Keyed(1, rows=range(1000))) - (0.5 if name == "uniform" else 0)
    pairs = [(x[:, lag:], x[:, :-lag]) for lag in (1, 2, 3, 4)] + [(x[1:], x[:-1]), (x, again), (x, other)]
    for a, b in pairs:
        for power in (1, 2):
            pair = torch.stack([a.flatten() ** power, b.flatten() ** power])
            assert torch.corrcoef(pair)[0, 1].abs() < 5 / math.sqrt(a.numel())


def test_keys_make_different_numbers():
    keys = list(itertools.product(range(5), range(20), range(20)))
    assert len({torch.rand((), generator=keyed(*k), dtype=torch.float64).item() for k in keys}) == 2000
    assert len({tuple(key(*k).tolist()) for k in keys}) == 2000
    assert keyed(0).initial_seed() != keyed(2**32).initial_seed()
    assert key(0).tolist() != key(2**32).tolist()


def test_no_rows_draw_nothing():
    assert draw(torch.randn, (0, 3), torch.empty(()), Keyed(0, rows=[])).shape == (0, 3)
