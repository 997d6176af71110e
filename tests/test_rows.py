"""Laws of every kind of data: what rows they have, what they keep of the data below, and when they are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward.data import (
    Arrays,
    Attributed,
    Captioned,
    CaptionedImages,
    Clips,
    Cropped,
    Data,
    Document,
    Documents,
    FromTorch,
    Images,
    Mirrored,
    PhraseEncoder,
    Shifted,
    TableSource,
    TextEncoder,
    Windows,
)
from pushforward.data.captions import ImagesWithText
from pushforward.data.data import Part, evenly_spread, row_numbers
from pushforward.data.text_encoders import Embedded
from pushforward.randomness import keyed
from pushforward.sampling import Sampling

N = 1500  # rows, of which torch does not print all
PIXELS = torch.randint(256, (N, 1, 3, 3), dtype=torch.uint8, generator=keyed(0))
VECTORS = torch.randn(N, 2, generator=keyed(1))
WEIGHTS = torch.arange(1.0, N + 1)


class Weighted(Images):
    """Images with weights."""

    weights = WEIGHTS / WEIGHTS.mean()


class Several(Data):
    """Data whose only fingerprint is the default one, given several conditions."""

    def __init__(self, context):
        self.context = context

    def __len__(self):
        return N

    def fetch(self, rows):
        rows = row_numbers(rows, N)
        return VECTORS[rows], {name: values[rows] for name, values in self.context.items()}


class Numbers(TextEncoder):
    """In place of an encoder of texts: the number that a text says."""

    def __call__(self, texts):
        return torch.tensor([[[float(text)]] for text in texts])


KINDS = {  # each with and without something changed in row 750, in the midst of the rows
    "arrays": lambda x: Arrays(VECTORS + x),
    "arrays, a context": lambda x: Arrays(VECTORS, {"vector": VECTORS + x, "label": torch.arange(N)}),
    "arrays, weights": lambda x: Arrays(VECTORS, weights=WEIGHTS + x[:, 0]),
    "a part": lambda x: Part(Arrays(VECTORS, {"vector": VECTORS + x}), range(N)),
    "a part, weights": lambda x: Part(Arrays(VECTORS, weights=WEIGHTS + x[:, 0]), range(N)),
    "others, several conditions": lambda x: Several({"a": VECTORS, "b": VECTORS + x}),
    "images": lambda x: Images(PIXELS ^ x.byte()[:, :1, None, None]),
    "mirrored": lambda x: Mirrored(Images(PIXELS ^ x.byte()[:, :1, None, None])),
    "shifted": lambda x: Shifted(Images(PIXELS ^ x.byte()[:, :1, None, None]), 1),
    "cropped": lambda x: Cropped(Images(PIXELS ^ x.byte()[:, :1, None, None]), 1),
    "images with text": lambda x: ImagesWithText(Images(PIXELS), Embedded([*map(str, x[:, 0].tolist())], Numbers())),
    "of torch": lambda x: FromTorch(torch.utils.data.TensorDataset(VECTORS, VECTORS + x)),
    "clips": lambda x: Clips([PIXELS, PIXELS ^ x.byte()[:, :1, None, None]], 2, context=torch.arange(2)),
    "windows": lambda x: Windows([torch.arange(N) + x[:, 0].long()], 3),
    "documents": lambda x: Documents([Document([[i + int(x[i, 0])]]) for i in range(N)]),
}


def changed(row=N // 2):
    return torch.zeros(N, 2).index_fill(0, torch.tensor([row]), 1)


def rows_of(found):
    events, context = found
    return [events, *(context.values() if isinstance(context, dict) else [] if context is None else [context])]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_fetched_in_any_order_with_repeats_or_none(kind):
    data = KINDS[kind](changed())
    rows = [len(data) - 1, 0, 7, 0]
    alone = [rows_of(data.fetch([row])) for row in rows]
    for found, parts in zip(rows_of(data.fetch(rows)), zip(*alone, strict=True), strict=True):
        assert torch.equal(found, torch.cat(parts))
    for none, one in zip(rows_of(data.fetch([])), alone[0], strict=True):
        assert (none.shape, none.dtype) == ((0, *one.shape[1:]), one.dtype)
    for beyond in (-1, len(data)):
        with pytest.raises(IndexError, match=rf"rows are 0 … {len(data) - 1}; these go from {beyond}"):
            data.fetch([beyond])
    with pytest.raises(ValueError, match="integer indices"):
        data.fetch(torch.ones(len(data), dtype=torch.bool))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_tells_every_change(kind):
    same, again, other = (KINDS[kind](x).fingerprint() for x in (0 * changed(), 0 * changed(), changed()))
    assert same == again != other


WEIGHTED = {
    "a part": (lambda: Part(Weighted(PIXELS), [5, 2, 5]), [6, 3, 6]),
    "a part of arrays": (lambda: Part(Arrays(VECTORS, weights=WEIGHTS), [5, 2, 5]), [6, 3, 6]),
    "a part of a part": (lambda: Part(Part(Weighted(PIXELS), range(10)), [5, 2]), [6, 3]),
    "mirrored": (lambda: Mirrored(Weighted(PIXELS)), [*WEIGHTS.tolist()] * 2),
    "shifted": (lambda: Shifted(Weighted(PIXELS), 1), [*WEIGHTS.tolist()] * 9),
    "cropped": (lambda: Cropped(Weighted(PIXELS), 1), [*WEIGHTS.tolist()] * 5),
    "mirrored crops": (lambda: Mirrored(Cropped(Weighted(PIXELS), 1)), [*WEIGHTS.tolist()] * 10),
}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_rows_keep_their_weights_of_mean_1(kind):
    make, expected = WEIGHTED[kind]
    weights, expected = make().weights, torch.tensor(expected, dtype=torch.float64)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.double(), expected / expected.mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("n", [0, 1, 200, 201, 399, 400, 401, 10_001])
def test_rows_that_are_evenly_spread_are_at_most_so_many(n):
    rows = evenly_spread(n, 200)
    assert min(n, 100) <= len(rows) <= 200
    assert not n or (rows[0] == 0 and n - rows[-1] <= rows.step)


def test_a_part_without_any_weight_is_refused():
    with pytest.raises(ValueError, match="all weights are zero"):
        Part(Arrays(VECTORS, weights=changed()[:, 0]), [1, 2])


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)])
def test_pictures_of_a_torch_dataset_are_grey_or_rgb(mode, channels):
    picture = Image.new("RGB", (4, 3), (250, 0, 0)).convert(mode)
    pixels, labels = FromTorch([(picture, 7)] * 2).fetch([0, 1])
    assert (pixels.shape, pixels.dtype, labels.tolist()) == ((2, channels, 3, 4), torch.uint8, [7, 7])
    if channels == 3:
        assert torch.equal(pixels[0, 0], torch.full((3, 4), pixels[0, 0, 0, 0].item(), dtype=torch.uint8))
        assert pixels[0, 0, 0, 0] > 200 > 60 > pixels[0, 1, 0, 0]


ALONE = {  # a string where several are expected
    "packs": lambda: Captioned("emoji"),
    "packs of attributes": lambda: Attributed("emoji", ("red",)),
    "attributes": lambda: Attributed(("emoji",), "emoji"),
    "paths": lambda: CaptionedImages("emoji"),
    "columns": lambda: TableSource("t.csv", "emoji"),
    "columns of the context": lambda: TableSource("t.csv", ("a",), "emoji"),
    "columns of a recipe": lambda: pf.recipes.table("t.csv", columns="emoji"),
    "a context of a recipe": lambda: pf.recipes.table("t.csv", context="emoji"),
    "what a recipe drops": lambda: pf.recipes.table("t.csv", drop="emoji"),
    "prompts": lambda: Sampling(prompt="emoji"),
    "texts": lambda: TextEncoder()("emoji"),
    "phrases": lambda: PhraseEncoder()("emoji"),
    "texts of which many are alike": lambda: TextEncoder().of_each("emoji"),
}


@pytest.mark.parametrize("place", ALONE)
def test_one_string_is_not_taken_for_its_letters(place):
    with pytest.raises(ValueError, match=r"several strings, such as \('emoji',\); got 'emoji' alone"):
        ALONE[place]()


def test_windows_are_of_arrays_too_and_have_a_token():
    found = Windows([np.arange(4, dtype=np.uint16)], 2).fetch([0, 2])[0]
    assert found.tolist() == [[0, 1], [2, 3]]
    for tokens, stride in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"one token at least, .*; got {tokens}, {stride}"):
            Windows([torch.arange(4)], tokens, stride=stride)


def test_conditions_may_be_arrays():
    context = {"a": np.array([[1.0]], ">f4"), "b": np.array([7], np.uint16)}
    for data in (Arrays(np.zeros((1, 2)), context), Clips([PIXELS], 2, context=context)):
        found = data.fetch([0])[1]
        assert {name: values.tolist() for name, values in found.items()} == {"a": [[1.0]], "b": [7]}


X = torch.zeros(2)
ITEMS_REFUSED = {
    "a label that is a word": ([(X, "cat")], "the label of item 0 holds 'cat'|the label of item 0 is"),
    "labels of some": ([(X, 1), (X, None)], "item 1 has no label"),
    "a label that is a dict": ([(X, {"label": 1})], "the label of item 0 is of type dict"),
    "an item that is a dict": ([{"x": X}], "the event of item 0 is of type dict"),
    "several shapes": ([X, torch.zeros(3)], r"one shape; these are \(2,\) in item 0, \(3,\) in item 1"),
    "more than 8 bits": ([Image.new("I;16", (4, 4))], "the picture of item 0: its pixels have more than 8 bits"),
}


@pytest.mark.parametrize("case", ITEMS_REFUSED)
def test_items_that_are_no_events_are_refused_by_their_index(case):
    items, message = ITEMS_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        FromTorch(items).fetch(range(len(items)))
