"""Lossless compression: what is coded comes back, at the stated rate, and no other file is decoded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.codecs import (
    CodedFlow,
    GaussianCodebook,
    GaussianNoise,
    TokenCells,
    TokenCodebook,
    UniformDequantization,
)
from pushforward.compression import coding, compress, decompress, files
from pushforward.compression.container import unpacked
from pushforward.compression.stack import Stack
from pushforward.compression.steps import Grid, steps_of
from pushforward.data import Characters, TextSource
from pushforward.models import MAF, NSF, ArBG, AutoregressiveLM, RealNVP, TarFlow, TarFlowLM
from pushforward.models.tarflowlm import Mix1Options, MixDOptions
from pushforward.moves import Affine
from pushforward.networks import CausalTransformer, Learned
from pushforward.randomness import keyed
from pushforward.transforms import Autoregressive, Flip
from tests.toys import randomised

pytest.importorskip("constriction")

IMAGES = pf.data.find("digits", "test").fetch(range(80))[0]
LETTERS = "\nabcdé"
VECTORS = {"MAF": MAF, "RealNVP": RealNVP, "ArBG": ArBG}


def table(rows: int = 400) -> torch.Tensor:
    """Two columns of two decimals and one of integers, which depend on each other."""
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    x = x @ torch.tensor([[1.0, 0.5, 30.0], [0.0, 0.2, 20.0], [0.0, 0.0, 5.0]])
    return torch.cat([(100 * x[:, :2]).round() / 100, x[:, 2:].round()], 1) + 0.0


def vectors(name: str) -> CodedFlow:
    options = {} if name == "ArBG" else {"transforms": 2}
    flow = randomised(VECTORS[name](features=3, hidden=(16, 16), **options).build(), 0.1)
    flow.initialize(table())
    return CodedFlow(flow, pf.codecs.Identity())


def pictures() -> CodedFlow:
    model = TarFlow(image=(1, 8, 8), patch=2, transforms=2, width=16, depth=1)
    return CodedFlow(randomised(model.build(), 0.1), UniformDequantization(17))


def language() -> CodedFlow:
    model = AutoregressiveLM(tokens=16, vocabulary=len(LETTERS), width=16, depth=1)
    return CodedFlow(randomised(model.build(), 0.3), TokenCells(len(LETTERS)))


def texts(move: str) -> CodedFlow:
    """A TarFlowLM of tokens of three features, each by its move, and its codebook."""
    moves = {"affine": {"move": Affine()}, "Mix-1": {}, "Mix-d": {"first": MixDOptions(6)}}
    model = TarFlowLM(tokens=8, features=3, width=16, depths=(1, 1), **{"move": Mix1Options(4, (16,)), **moves[move]})
    flow, codec = randomised(model.build(), 0.1), TokenCodebook(vocabulary=6, features=3, sigma=0.8).build()
    codec.join(flow)
    return CodedFlow(flow, codec)


@pytest.fixture(scope="module", params=[*VECTORS, "TarFlow", "TarFlowLM"])
def case(request) -> tuple[CodedFlow, torch.Tensor]:
    if request.param == "TarFlowLM":
        coded = texts("affine")
        return coded, coded.codec.decode(coded.flow.sample(800, generator=keyed(0)))
    return (pictures(), IMAGES) if request.param == "TarFlow" else (vectors(request.param), table())


def test_what_is_coded_comes_back_at_the_stated_rate(case):
    coded, data = case
    file = compress(coded, data, verify=False)
    assert torch.equal(decompress(coded, file), data)
    header, words = unpacked(file)
    with torch.no_grad():
        volume = -math.log(100) * 2 * len(data) if data.is_floating_point() else 0.0  # of the cells of two columns
        stated = -(coded.bound(data).sum().item() + volume) / math.log(2)
    bits = 32 * (len(words) - header.initial)
    drawn = isinstance(coded.codec, GaussianCodebook)  # both draw events, which differ by 1 % of these bits
    assert abs(bits / stated - 1) < (0.03 if drawn else 0.01)
    assert 32 * header.initial < 16 * math.prod(coded.flow.event) + 96, "what the first row needs"


@pytest.mark.slow
@pytest.mark.parametrize("move", ["Mix-1", "Mix-d"])
def test_moves_of_whole_tokens_are_coded_feature_by_feature(move):
    coded = texts(move)
    data = coded.codec.decode(coded.flow.sample(4, generator=keyed(0)))
    assert torch.equal(decompress(coded, compress(coded, data, verify=False)), data)


@pytest.mark.parametrize("deviation", [2.0**10, 2.0**27.4])
def test_what_is_popped_from_random_bits_is_normal(deviation):
    """The least probability of each symbol far from the mean is a share of 3e-5 together, within 16 deviations."""
    stack, n = Stack(coding._random(200_000)), 20_000
    z = stack.pop_normal(np.zeros(n), np.full(n, deviation)) / deviation
    assert np.mean(np.abs(z) > 6) < 2e-4
    assert np.abs(z).max() < 17
    assert abs(z.std() - 1) < 0.02
    far = np.array([-200, 0, 200]) * deviation
    stack.push_normal(far.astype(np.int64), np.zeros(3), np.full(3, deviation))
    assert np.array_equal(stack.pop_normal(np.zeros(3), np.full(3, deviation)), far.astype(np.int64))


def test_the_random_bits_are_left_behind(case):
    coded, data = case
    header, words = unpacked(compress(coded, data[:20], verify=False))
    coder = coding._coder(coded, header.decimals, grid=coding.Grid(header.bits, header.sigma))
    stack = Stack(words)
    with torch.no_grad(), coding._one_thread():
        for rows in reversed(header.batches):
            coder.decode(rows, stack)
    assert np.array_equal(stack.words, coding._random(header.initial))


def test_every_damaged_truncated_or_foreign_file_is_refused():
    coded, random = vectors("MAF"), np.random.default_rng(0)
    file = compress(coded, table(50))
    wrong = [file[: random.integers(len(file))] for _ in range(50)]
    wrong += [random.bytes(int(random.integers(300))) for _ in range(50)]
    for _ in range(100):
        damaged = bytearray(file)
        damaged[random.integers(len(file))] ^= 1 << random.integers(8)
        wrong.append(bytes(damaged))
    for each in wrong:
        with pytest.raises(ValueError, match="damaged or truncated|is not a file of"):
            decompress(coded, each)


def test_another_model_and_other_weights_are_refused_by_name():
    file = compress(vectors("MAF"), table(20))
    with pytest.raises(ValueError, match="of another model"):
        decompress(vectors("RealNVP"), file)
    other = vectors("MAF")
    with torch.no_grad():
        next(other.flow.parameters()).add_(1e-6)
    with pytest.raises(ValueError, match="other weights"):
        decompress(other, file)


def test_points_where_a_map_is_flat_are_coded():
    """Between two narrow components the slope of a mixture's distribution function is below e^−19."""
    net = CausalTransformer(1, (1, 6), positions=Learned(2, 8), width=8, depth=1).double()
    net.answer.bias.data[:] = torch.tensor([0.0, 0.0, -1.0, 1.0, -2.6, -2.6])
    step = Autoregressive(net, pf.moves.GaussianMixture(components=2)).requires_grad_(False)
    x = torch.linspace(-1.2, 1.2, 50, dtype=torch.float64).view(25, 2, 1)  # a first token stays
    assert step.forward(x)[1].min() < -19
    grid, stack = Grid(20, 64.0), Stack(coding._random(1000))
    (part,), n, words = steps_of(step), (x * 2**20).round().long(), stack.words.copy()
    z = part.encode(n, stack, grid)
    assert torch.equal(part.decode(z, stack, grid), n)
    assert np.array_equal(stack.words, words)


def test_other_arithmetic_is_noticed(monkeypatch):
    coded = vectors("MAF")
    file = compress(coded, table(20))
    inverse = pf.moves.Affine.inverse
    monkeypatch.setattr(pf.moves.Affine, "inverse", lambda self, y, raw: inverse(self, y * (1 + 1e-7), raw))
    with pytest.raises(ValueError, match="arithmetic here differs"):
        decompress(coded, file)


def test_a_later_version_is_refused(monkeypatch):
    coded = vectors("MAF")
    later = coding.VERSION + 1
    monkeypatch.setattr(coding, "VERSION", later)
    file = compress(coded, table(3), verify=False)
    with pytest.raises(ValueError, match=f"has version {later}"):
        decompress(coded, file)


@pytest.mark.parametrize("move", [pf.moves.Affine(), pf.moves.Histogram(bins=16)])
def test_one_autoregressive_step_codes_integers_directly(move):
    model = TarFlow(image=(1, 8, 8), patch=2, transforms=1, width=16, depth=1, move=move)
    coded = CodedFlow(randomised(model.build(), 0.1), UniformDequantization(17))
    header, words = unpacked(compress(coded, IMAGES))
    coder = coding._coder(coded, [])
    with torch.no_grad():
        tokens, tables = coder.tables(IMAGES)
    chosen = [np.take_along_axis(p, v.reshape(-1, 1).numpy(), 1) for v, p in zip(tokens, tables, strict=True)]
    assert header.initial == 0
    assert abs(32 * len(words) / -np.log2(np.concatenate(chosen)).sum() - 1) < 0.01


def test_a_text_is_coded_in_the_bits_of_its_language_model():
    """Windows are read in full; of the last one a part is filled up."""
    coded, tokens = language(), torch.randint(6, (1603,), generator=torch.Generator().manual_seed(0))
    file = compress(coded, tokens)
    assert torch.equal(decompress(coded, file), tokens)
    header, words = unpacked(file)
    assert header.initial == 0
    with torch.no_grad():
        stated = -coded.bound(torch.cat([tokens, torch.zeros(13, dtype=torch.long)]).view(-1, 16)).sum() / math.log(2)
    assert abs(32 * len(words) / stated.item() - 1) < 0.01


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        (
            NSF(features=3).build(),
            table(3),
            "step LU, which cannot be coded. Those that can: couplings with moves of single",
        ),
        (MAF(features=3, classes=2).build(), table(3), "only unconditional flows"),
        (MAF(features=3).build(), torch.randn(3, 3).double(), "more than 9 decimals"),
        (MAF(features=3).build(), torch.full((3, 3), math.nan), "not finite"),
        (MAF(features=3).build(), table(3)[:, :2], "codes data of shape"),
        (MAF(features=3).build(), table(3) + 1e12, "values up to 1e.12, in the flow's units, have cells of"),
        (MAF(features=3).build(), torch.full((3, 3), 1e17).double(), "have cells of 0 there"),
        (CodedFlow(pictures().flow, GaussianNoise(17, 0.1)), IMAGES[:2], "cannot be coded"),
        (pictures(), IMAGES[:2] + 9, "takes 0 … 16"),
        (pictures().flow, IMAGES[:2], "codes tables .* of real numbers.*; got torch.uint8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_served_is_said(model, data, says):
    with pytest.raises(ValueError, match=says):
        compress(model, data)


def test_a_flow_of_one_transform_codes():
    flow = pf.Flow(Flip(), StandardNormal(3), event=(3,))
    assert torch.equal(decompress(flow, compress(flow, table(20))), table(20))


def test_pictures_of_two_levels_stay_booleans():
    coded = pictures()
    bits = IMAGES[:2] > 8
    found = decompress(coded, compress(coded, bits))
    assert found.dtype == torch.bool
    assert torch.equal(found, bits)


def test_no_rows():
    assert decompress(vectors("MAF"), compress(vectors("MAF"), table(0))).shape == (0, 3)


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "recipe_of", lambda _: pf.recipes.digits())  # whose data are images
    monkeypatch.setattr(coding, "load_coded", lambda _: pictures())
    np.save(tmp_path / "x.npy", IMAGES[:5].numpy())
    assert "5 rows" in files.compress(tmp_path / "x.npy", tmp_path, tmp_path / "x.pf")
    assert "5 rows" in files.decompress(tmp_path / "x.pf", tmp_path, tmp_path / "again.npy")
    assert (tmp_path / "again.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()
    (tmp_path / "empty.npy").touch()
    with pytest.raises(ValueError, match=r"empty\.npy: this is not a complete npy file"):
        files.compress(tmp_path / "empty.npy", tmp_path, tmp_path / "x.pf")
    with pytest.raises(FileNotFoundError):
        files.compress(tmp_path / "none.npy", tmp_path, tmp_path / "x.pf")
    with pytest.raises(ValueError, match="--run DIR"):
        files.decompress(tmp_path / "x.pf")
    with pytest.raises(ValueError, match=r"to a \.npy file"):
        files.decompress(tmp_path / "x.pf", tmp_path, tmp_path / "again.png")


def test_a_text_comes_back_from_its_file(tmp_path, monkeypatch):
    recipe = replace(pf.recipes.shakespeare_characters(), data=TextSource("a", Characters(LETTERS)))
    monkeypatch.setattr(files, "recipe_of", lambda _: recipe)
    monkeypatch.setattr(coding, "load_coded", lambda _: language())
    path = tmp_path / "a.txt"
    path.write_bytes("abé\ncd".encode())
    assert "6 tokens" in files.compress(path, tmp_path, tmp_path / "x.pf")
    assert "6 tokens" in files.decompress(tmp_path / "x.pf", tmp_path, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()
    path.write_bytes(b"ab\xe9")
    with pytest.raises(ValueError, match="not a text in UTF-8"):
        files.compress(path, tmp_path, tmp_path / "x.pf")


def test_a_table_comes_back_from_its_file(tmp_path, monkeypatch):
    text = "a,b,c\n" + "".join(f"{a:.2f},{b:.2f},{c:.0f}\n" for a, b, c in table(50).tolist())
    (tmp_path / "table.csv").write_text(text)
    recipe = pf.recipes.table(tmp_path / "table.csv", steps=1)
    monkeypatch.setattr(files, "recipe_of", lambda _: recipe)
    monkeypatch.setattr(coding, "load_coded", lambda _: vectors("MAF"))
    assert "50 rows" in files.compress(tmp_path / "table.csv", tmp_path, tmp_path / "x.pf")
    assert "50 rows" in files.decompress(tmp_path / "x.pf", tmp_path, tmp_path / "again.csv")
    once, again = (pf.data.read_table(tmp_path / name).take(["a", "b", "c"]) for name in ("table.csv", "again.csv"))
    assert np.array_equal(once, again)
