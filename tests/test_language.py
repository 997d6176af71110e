"""Text: tokenizers, windows, codebooks, language models as flows, and what they write."""

from __future__ import annotations

import gzip
import lzma
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.codecs import CodedFlow, TokenCells, TokenCodebook
from pushforward.data import BPE, Bytes, Characters, Letters, TextSource, Windows
from pushforward.data.sources import Takes
from pushforward.data.texts import read_texts
from pushforward.editing import continued, infilled, tempered
from pushforward.models import AutoregressiveLM, Mix1Options, MixDOptions, TarFlowLM
from pushforward.moves import Affine, Categorical
from pushforward.objectives import Progressive, ProgressiveLikelihood
from pushforward.randomness import Keyed, keyed
from pushforward.recipes import RECIPES
from pushforward.runs.texts import measured_text
from pushforward.sampling import Sampling
from pushforward.training import Likelihood, Plan, minimise

V, T, D = 7, 6, 2
TOKENS = torch.tensor([[0, 1, 2, 3, 4, 5], [6, 6, 0, 1, 0, 3]])
TINY = {"tokens": T, "features": D, "width": 16}
MODELS = {
    "affine": TarFlowLM(**TINY, depths=(1, 1), move=Affine()),
    "mix-1": TarFlowLM(**TINY, depths=(1, 1), move=Mix1Options(3, (8,))),
    "mix-1 in patches": TarFlowLM(**TINY, patch=2, depths=(1, 1), move=Mix1Options(3, (8,))),
    "mix-d": TarFlowLM(**TINY, depths=(1, 1), move=Mix1Options(3, (8,)), first=MixDOptions(V)),
    "mix-d alone": TarFlowLM(**TINY, depths=(1,), first=MixDOptions(V)),
    "autoregressive": AutoregressiveLM(tokens=T, vocabulary=V, width=16, depth=1),
}


def stirred(model: pf.models.Model, scale: float = 0.3) -> pf.Flow:
    """A flow in float64 whose networks do not return zeros."""
    torch.manual_seed(0)
    flow = model.build().double()
    for name, part in flow.named_modules():
        if name.endswith("answer"):
            nn.init.normal_(part.weight, std=scale)
    return flow


def codec_of(model: pf.models.Model) -> pf.codecs.Codec:
    if isinstance(model, AutoregressiveLM):
        return TokenCells(V)
    return TokenCodebook(vocabulary=V, features=D).build().double()


# tokenizers and windows


@pytest.mark.parametrize("text", ["", "hear me speak.", "naïve — 東京\n"])
@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_tokens_decode_to_their_text(kind, text):
    if kind == "bpe":
        pytest.importorskip("tokenizers", reason="the extra text is not installed")
    makers = {
        "bytes": lambda: Bytes(),
        "characters": lambda: Characters("".join(sorted({*"hear me speak.naïve — 東京\n"}))),
        "bpe": lambda: BPE(262).learned(["hear me speak, hear me speak, hear me"]),
    }
    tokenizer = makers[kind]()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens.tolist()) == text
    assert all(0 <= token < tokenizer.vocabulary for token in tokens)


def test_a_bpe_is_kept_in_the_recipe(tmp_path):
    pytest.importorskip("tokenizers", reason="the extra text is not installed")
    (tmp_path / "a.txt").write_text("hear me speak, hear me speak, hear me " * 20)
    source = TextSource(str(tmp_path / "a.txt"), BPE(262)).learned()
    recipe = replace(RECIPES["shakespeare_characters"]().small(), data=source)
    saved = pf.recipe.to_json(recipe)
    assert saved == pf.recipe.to_json(replace(recipe, data=TextSource(source.name, BPE(262)).learned()))
    again = pf.recipe.from_json(saved, "it").data
    assert again == source
    assert len(again.tokenizer.encode("hear me")) < len("hear me")
    with pytest.raises(ValueError, match="has not learned"):
        BPE(262).encode("a")
    with pytest.raises(ValueError, match="this BPE has 258 tokens"):
        BPE(3000).learned(["abc"])


def test_the_letters_of_text8():
    assert Letters().decode(Letters().encode("Anno 1600: “Ham-let”.\n").tolist()) == "anno one six zero zero ham let"


def test_windows_never_cross_documents():
    documents = [torch.arange(start, start + n) for start, n in ((0, 9), (100, 3), (200, 4), (300, 12))]
    every, apart = (Windows(documents, 4, stride=stride) for stride in (1, 4))
    rows = every.fetch(range(len(every)))[0]
    assert len(every) == 6 + 0 + 1 + 9
    assert (rows[:, 1:] - rows[:, :-1] == 1).all()
    assert apart.fetch(range(len(apart)))[0][:, 0].tolist() == [0, 4, 200, 300, 304, 308]
    with pytest.raises(ValueError, match=r"no document has the 20 tokens .* the longest has 12"):
        Windows(documents, 20)


def test_texts_of_files_and_folders(tmp_path, monkeypatch):
    takes, letters = Takes((4, 1), levels=27), Letters()
    (tmp_path / "text").mkdir()
    with lzma.open(tmp_path / "text" / "play.txt.xz", "wt") as file:
        file.write("abcdefghij" * 10)
    for i in range(10):
        (tmp_path / f"{i}.txt").write_text(f"{'abcdefghij'[i] * 6}")
    monkeypatch.setenv("PUSHFORWARD_DATA", str(tmp_path))
    source = TextSource("play", letters)
    assert (len(source.training(takes)), len(source.held_out(takes))) == (87, 2)
    assert source.texts()[1] == ["abcdefghij"]
    folder = TextSource(str(tmp_path), letters, validation=0.2)
    assert folder.texts()[0][:2] == ["aaaaaa", "bbbbbb"]
    assert len(folder.texts()[1]) == 2
    joined, apart = (replace(folder, across=across).training(takes) for across in (True, False))
    assert len(joined) > len(apart)
    assert (apart.fetch(range(len(apart)))[0].diff(dim=1) == 0).all()
    assert replace(source, validation=str(tmp_path / "0.txt")).texts()[1] == ["aaaaaa"]
    with pytest.raises(ValueError, match="is that which is learned. Give the held-out set's path, or a share"):
        replace(source, validation="play").texts()
    with pytest.raises(FileNotFoundError, match="there is no text poems.*set PUSHFORWARD_DATA"):
        source.at("poems").training(takes)
    with pytest.raises(ValueError, match="codec.vocabulary is 20, and the tokenizer has 27 tokens"):
        source.training(Takes((4, 1), levels=20))
    with pytest.raises(ValueError, match="has no '!', '\\?'"):
        Characters("abc").encode("ab?!")


def test_texts_of_a_folder_are_found_as_images_are(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.TXT").write_text("second")
    texts = tmp_path / "texts"
    for name in ("a.txt", ".b.txt", ".hidden/c.txt", "more.txt/d.md"):
        (texts / name).parent.mkdir(parents=True, exist_ok=True)
        (texts / name).write_text(name)
    (texts / "linked").symlink_to(tmp_path / "elsewhere")
    (texts / "linked" / "again").symlink_to(texts)  # which leads above
    assert read_texts(str(texts)) == ["a.txt", "second", "more.txt/d.md"]


def test_texts_are_read_as_tables_are(tmp_path):
    written = {
        "a.txt": "\ufeffé\r\nb".encode(),
        "b.txt": "é\nb".encode("utf-16"),
        "c.txt.gz": gzip.compress("é\nb".encode()),
    }
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    assert read_texts(str(tmp_path)) == ["é\nb"] * 3
    packed = gzip.compress(bytes(range(256)) * 4)
    for damaged in (packed[:100], packed[:20] + b"\xff" * 40 + packed[60:], packed[:-8] + bytes(8)):
        (tmp_path / "c.txt.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"c\.txt\.gz: the file is compressed, and cut short or damaged"):
            read_texts(str(tmp_path))


# codecs and bounds


@pytest.mark.parametrize("name", MODELS)
def test_codecs_of_tokens(name):
    codec = codec_of(MODELS[name])
    x, log_q = codec.encode(TOKENS, keyed(0))
    assert (len(x), log_q.shape) == (2, (2,))
    assert torch.equal(codec.decode(codec.clean(TOKENS)), TOKENS)
    assert codec.count(TOKENS).tolist() == [T, T]
    assert [len(t) for t in codec.encode(TOKENS[:0])] == [0, 0]
    one = codec.encode(TOKENS[1:], Keyed(0, rows=[1]))[0]
    assert torch.equal(codec.encode(TOKENS, Keyed(0, rows=[0, 1]))[0][1:], one)
    for wrong in (TOKENS + 3, TOKENS.float()):
        with pytest.raises(ValueError, match="0 … 6"):
            codec.encode(wrong)


def test_the_terms_of_a_bound_add_up():
    flow, codec = stirred(MODELS["mix-d"]), codec_of(MODELS["mix-d"])
    x, _ = codec.encode(TOKENS, keyed(0))
    terms = codec.terms(TOKENS, x, flow.log_prob(x))
    bound = CodedFlow(flow, codec).bound(TOKENS, generator=keyed(0))
    torch.testing.assert_close(terms.reconstruction + terms.prior + terms.entropy, bound)
    normal = torch.distributions.Normal(codec.clean(TOKENS), 0.3)
    torch.testing.assert_close(terms.entropy, -normal.log_prob(x).sum((1, 2)))


def test_the_decoder_is_bayes_rule():
    codec = TokenCodebook(vocabulary=3, features=1, sigma=0.5).build().double()
    side = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    densities = codec.log_densities(side[None, :, None]).exp()[0]
    torch.testing.assert_close(densities.sum(0) * (side[1] - side[0]), torch.ones(3).double())
    x, log_q = codec.encode(torch.tensor([[2]]), keyed(0))
    posterior = codec.log_densities(x)[0, 0].softmax(0)[2].log()
    log_normal = torch.distributions.Normal(codec.clean(torch.tensor([[2]])), 0.5).log_prob(x).sum()
    torch.testing.assert_close(log_q[0], log_normal - posterior)


def cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1).gather(-1, TOKENS[..., None]).sum((1, 2))


def test_a_narrow_codebook_and_one_mix_d_are_a_language_model():
    """Sigma to 0: the bound is the log-likelihood of the same network."""
    codec = TokenCodebook(vocabulary=V, features=D, sigma=1e-6).build().double()
    flow = Likelihood(stirred(MODELS["mix-d alone"], 1.0), codec).flow
    assert flow.transform[0].move.gaussians is codec.gaussians
    bound = CodedFlow(flow, codec).bound(TOKENS, generator=keyed(0))
    logits = flow.transform[0].net(codec.encode(TOKENS, keyed(0))[0])
    torch.testing.assert_close(bound, cross_entropy(logits), rtol=0, atol=1e-6)


def test_the_autoregressive_model_is_a_language_model():
    flow, codec = stirred(MODELS["autoregressive"], 1.0), TokenCells(V)
    bound = CodedFlow(flow, codec).bound(TOKENS, generator=keyed(0))
    logits = flow.transform.net(codec.clean(TOKENS).double())[:, :, 0]
    torch.testing.assert_close(bound, cross_entropy(logits), rtol=0, atol=1e-6)
    drawn = codec.decode(flow.sample(4000, generator=keyed(1)))
    first, p = drawn[:, 0].bincount(minlength=V) / 4000, logits[0, 0].softmax(0)
    assert ((first - p).abs() < 5 * (p / 4000).sqrt()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_categorical_move_goes_there_and_back(dtype):
    torch.manual_seed(0)
    move, raw = Categorical(5), 2 * torch.randn(500, 5, dtype=dtype)
    x = torch.rand(500, dtype=dtype) * 2 - 1
    y, log_slopes = move.forward(x, raw)
    again, back = move.inverse(y, raw)
    limit = 10 * torch.finfo(dtype).eps * (5 + (-move.log_density(x, raw)).exp())
    assert ((again - x).abs() < limit).all()
    assert (back + log_slopes).abs().max() < 1e4 * torch.finfo(dtype).eps
    normal = -0.5 * (y.square() + math.log(2 * math.pi))
    torch.testing.assert_close(move.log_density(x, raw), log_slopes + normal, rtol=1e-4, atol=1e-4)
    pieces = torch.tensor([-1.0, -0.6, -0.2, 0.2, 0.6], dtype=dtype) + 0.1  # a point in each cell
    mass = 0.4 * move.log_density(pieces.expand(500, 5), raw[:, None].expand(-1, 5, -1)).exp()
    torch.testing.assert_close(mass, raw.softmax(-1))
    z, raw = torch.randn(500, dtype=dtype).requires_grad_(), raw.requires_grad_()
    back, log_slopes = move.inverse(z, raw)
    (slopes,) = torch.autograd.grad(back.sum(), z)
    torch.testing.assert_close(slopes.log(), log_slopes, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", [1, -1])
def test_a_categorical_move_keeps_points_of_an_improbable_last_cell_apart(side):
    """Their y are beyond 6 deviations, where torch's own distribution function has no digits."""
    move, x = Categorical(5), -side * torch.linspace(0.61, 0.99, 9)
    raw = torch.zeros(9, 5)
    raw[:, 0 if side > 0 else -1] = -25
    torch.testing.assert_close(move.inverse(move.forward(x, raw)[0], raw)[0], x, rtol=0, atol=1e-5)


def test_a_categorical_move_has_finite_gradients_where_a_side_has_all_of_the_probability():
    torch.manual_seed(0)
    move, raw = Categorical(5), (30 * torch.randn(500, 5)).requires_grad_()
    given = (torch.rand(500) * 2 - 1).requires_grad_(), raw
    for door in (move.forward, move.inverse):
        value, log_slopes = door(*given)
        assert all(t.isfinite().all() for t in torch.autograd.grad(value.sum() + log_slopes.sum(), given))


# models


@pytest.mark.parametrize("name", [name for name in MODELS if name != "autoregressive"])
def test_a_flow_of_tokens_is_exact(name):
    flow = stirred(MODELS[name])
    x = codec_of(MODELS[name]).encode(TOKENS, keyed(0))[0].detach()
    torch.testing.assert_close(flow.decode(flow.encode(x)), x)
    assert flow.check(x).log_det_error < 1e-9


def test_a_bound_on_tokens_is_told_for_each_character_too():
    class Twice(Characters):
        """Each token is its character twice."""

        unit = "token"

        def decode(self, tokens):
            return 2 * super().decode(tokens)

    rows = Windows([torch.randint(V, (9,))], T)
    coded = CodedFlow(stirred(MODELS["affine"]), codec_of(MODELS["affine"]))
    found = dict(measured_text(coded, rows, Twice("abcdefg"), samples=2))
    assert found["per character"].mean == pytest.approx(found["held-out"].mean / (2 * math.log(2)))
    assert str(found["per character"]).endswith(f"over 4 events of {2 * 4 * T} characters)")


@pytest.mark.parametrize("name", ["affine", "mix-1 in patches", "mix-d", "autoregressive"])
def test_a_language_model_learns_and_is_saved(name, tmp_path):
    model = MODELS[name]
    codec = TokenCells(V) if name == "autoregressive" else TokenCodebook(vocabulary=V, features=D)
    text = tmp_path / "a.txt"
    text.write_text("abcdefg" * 60)
    plan = Plan(steps=20, batch=16, warmup=2, lr=1e-2, average_decay=0, checkpoint_every=20)
    recipe = pf.Recipe(data=TextSource(str(text), Characters("abcdefg")), model=model, codec=codec, train=plan)
    coded = CodedFlow(recipe.build().flow, recipe.build().codec)
    pf.train(recipe, tmp_path / "run", device="cpu")
    found = pf.runs.evaluate(tmp_path / "run", device="cpu")
    data = recipe.held_out_data().fetch(range(6))[0]
    before = -coded.bound(data, generator=keyed(0)).mean() / T
    assert found["held-out"].mean < before - 0.1
    if name != "autoregressive":
        terms, mean = found["terms of the bound"], found["held-out"].mean
        assert terms.reconstruction + terms.prior + terms.entropy == pytest.approx(mean, abs=1e-4)
        assert {*pf.runs.evaluate(tmp_path / "run", samples=2, device="cpu")} == {"held-out"}
    for prompt in ((), ("cdef", "ab")):
        sampling = Sampling(prompt=prompt, length=5, temperature=0.7 if name in ("mix-d", "autoregressive") else 1.0)
        told = pf.runs.sample(tmp_path / "run", n=2, sampling=sampling, device="cpu")
        texts = re.findall(r"--- \d+\n(.*)", told)
        assert [len(text) for text in texts] == [5 + len(p) for p in prompt or ("",) for _ in range(2)]
        assert all(text.startswith(p) for text, p in zip(texts, [p for p in prompt for _ in range(2)], strict=False))
    if name != "mix-1 in patches":
        told = pf.runs.sample(
            tmp_path / "run", n=2, sampling=Sampling(prompt=("cd_ab",), length=2, gap="_"), device="cpu"
        )
        assert len(re.findall(r"--- \d+\ncd[a-g]{2}ab\n", told)) == 2
        assert "gaps are filled by importance resampling" in told
        with pytest.raises(ValueError, match="is not in the prompt"):
            pf.runs.sample(tmp_path / "run", sampling=Sampling(prompt=("cd",), length=2, gap="_"), device="cpu")
        with pytest.raises(ValueError, match="a gap needs a length"):
            pf.runs.sample(tmp_path / "run", sampling=Sampling(prompt=("c_d",), gap="_"), device="cpu")


def test_models_have_their_published_sizes():
    """12 transformer layers of 768, as GPT-2 small, whose count without embeddings is 85 million."""
    with torch.device("meta"):
        for name in ("openwebtext", "text8"):
            flow = RECIPES[name]().model.build()
            layers = sum(p.numel() for key, p in flow.named_parameters() if ".layers." in key and ".move." not in key)
            assert layers == 12 * 12 * 768**2 + 12 * 13 * 768


# continuations


def test_one_direction_continues_exactly_and_two_by_resampling():
    known = codec_of(MODELS["mix-d"]).clean(TOKENS[:, :3]).detach()
    alone, both = stirred(MODELS["mix-d alone"]), stirred(MODELS["mix-d"])
    exact = continued(alone, known, generator=keyed(0))
    assert exact.effective is None
    torch.testing.assert_close(exact.events[:, :3], known)
    rows = continued(both, known, candidates=16, generator=keyed(0))
    torch.testing.assert_close(rows.events[:, :3], known)
    assert ((rows.effective >= 1) & (rows.effective <= 16)).all()
    for shape in ((1, 0, D), (1, T, D), (1, 2, D + 1)):
        with pytest.raises(ValueError, match="some are known but not all"):
            continued(alone, torch.zeros(shape))


def conditional_at_1(flow: pf.Flow, event: torch.Tensor) -> tuple[float, float]:
    """Mean and deviation of token 1 of an event (T, 1) given the others, by the density on a grid."""
    side = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    grid = event.repeat(len(side), 1, 1)
    grid[:, 1, 0] = side
    with torch.no_grad():
        p = flow.log_prob(grid).softmax(0)
    mean = (p * side).sum()
    return mean.item(), (p * (side - mean).square()).sum().sqrt().item()


def test_resampling_is_exact_where_the_answer_is_known():
    """Two affine steps of opposite directions, over two tokens of one feature."""
    flow = stirred(TarFlowLM(tokens=2, features=1, width=16, depths=(1, 1), move=Affine()), 0.15)
    event = torch.tensor([[0.7], [0.0]], dtype=torch.float64)
    drawn = continued(flow, event[:1].expand(400, 1, 1), candidates=100, generator=keyed(0)).events[:, 1, 0]
    mean, deviation = conditional_at_1(flow, event)
    assert abs(drawn.mean() - mean) < 4 * deviation / 20
    assert drawn.std() == pytest.approx(deviation, rel=0.15)


def test_candidates_are_of_unconditional_flows_with_a_normal_base():
    """Another base's would be drawn from the wrong distribution, and their weights could not mend it."""
    backwards = pf.Flow(pf.transforms.Flip(), pf.bases.StandardLogistic(T, D), event=(T, D))
    with pytest.raises(ValueError, match="this one has a StandardLogistic"):
        continued(backwards, torch.zeros(1, 2, D))


def test_a_temperature_sharpens_the_tokens():
    flow, codec = stirred(MODELS["autoregressive"], 1.0), TokenCells(V)
    firsts = [codec.decode(tempered(flow, t).sample(500, generator=keyed(0)))[:, 0] for t in (0.1, 1.0)]
    cold, warm = (first.bincount(minlength=V).max() for first in firsts)
    assert cold > warm
    affine = stirred(MODELS["affine"])
    assert tempered(affine, 0.5) is affine


def test_a_tempered_flow_keeps_its_parameters():
    flow = stirred(MODELS["mix-d"])
    assert {*map(id, tempered(flow, 0.5).parameters())} == {*map(id, flow.parameters())}


def test_infilling_is_exact_where_the_answer_is_known():
    """Over three tokens of one feature, the middle one missing."""
    for depths in ((1,), (1, 1)):
        flow = stirred(TarFlowLM(tokens=3, features=1, width=16, depths=depths, move=Affine()), 0.15)
        event = torch.tensor([[0.7], [0.0], [-0.8]], dtype=torch.float64)
        known = event.expand(400, 3, 1)
        missing = torch.tensor([False, True, False])
        filled = infilled(flow, known, missing, candidates=100, generator=keyed(0))
        assert torch.equal(filled.events[:, ~missing], known[:, ~missing])
        assert ((filled.effective > 1) & (filled.effective < 100)).all()
        drawn, (mean, deviation) = filled.events[:, 1, 0], conditional_at_1(flow, event)
        assert abs(drawn.mean() - mean) < 4 * deviation / 20
        assert drawn.std() == pytest.approx(deviation, rel=0.15)


def test_a_tail_is_infilled_exactly_in_one_direction():
    """Candidates then have equal weights; and gaps may be several."""
    flow, x = stirred(MODELS["mix-d alone"]), codec_of(MODELS["mix-d"]).clean(TOKENS).detach()
    tail, gaps = torch.arange(T) > 2, torch.arange(T) % 2 == 0
    torch.testing.assert_close(infilled(flow, x, tail, candidates=8).effective, torch.full((2,), 8.0).double())
    several = infilled(flow, x, gaps, candidates=8).events
    assert torch.equal(several[:, ~gaps], x[:, ~gaps])
    assert (several[:, gaps] != x[:, gaps]).all()


def test_what_cannot_be_infilled_is_said():
    x = codec_of(MODELS["mix-d"]).clean(TOKENS).detach()
    for missing in (torch.zeros(T, dtype=torch.bool), torch.ones(T), torch.ones(T - 1, dtype=torch.bool)):
        with pytest.raises(ValueError, match="missing is a bool for each of 6 tokens"):
            infilled(stirred(MODELS["mix-d"]), x, missing)
    with pytest.raises(ValueError, match="got candidates=0"):
        infilled(stirred(MODELS["mix-d"]), x, torch.arange(T) > 2, candidates=0)
    with pytest.raises(ValueError, match=r"events of shape \(6, .* got"):
        infilled(stirred(MODELS["mix-d"]), x[:, :-1], torch.arange(T) > 2)
    with pytest.raises(ValueError, match="whose first step reads tokens in the order"):
        infilled(stirred(MODELS["mix-1 in patches"]), x, torch.arange(T) > 2)


# progressive training


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """What of "step 0", "step 1" and "codec" has other weights."""
    names = {name for name in before if not torch.equal(before[name], after[name])}
    found = {"codec" for name in names if "gaussians" in name}
    return found | {f"step {name.split('.')[3]}" for name in names if "gaussians" not in name}


@pytest.mark.parametrize("name", ["mix-1", "mix-d"])
def test_each_round_of_progressive_training_trains_one_step(name, tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("abcdefg" * 60)
    plan = Plan(steps=3, batch=16, warmup=0, lr=1e-2, average_decay=0, checkpoint_every=20, weight_decay=0.1)
    codec, source = TokenCodebook(vocabulary=V, features=D), TextSource(str(text), Characters("abcdefg"))
    recipe = pf.Recipe(data=source, model=MODELS[name], codec=codec, train=plan, objective=Progressive())
    objective, data = recipe.build(), recipe.training_data()
    assert objective.rounds == 2
    for trained in ({"codec", "step 0"}, {"step 1"}):
        before = {key: value.clone() for key, value in objective.state_dict().items()}
        minimise(objective, data, plan)
        assert changed(before, objective.state_dict()) == trained
        assert all(p.requires_grad for p in objective.parameters())
        last, objective = objective, objective.following()
    assert objective is None
    x = last.codec.clean(data.fetch(range(4))[0])
    torch.testing.assert_close(last.terms(x, {})[0], last.flow.log_prob(x))  # the last round's flow is the whole
    pf.train(recipe, tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "round 1").is_dir()


def test_what_is_trained_progressively_is_a_chain_of_steps():
    with pytest.raises(ValueError, match="this flow has 1 and a StandardNormal"):
        ProgressiveLikelihood(MODELS["mix-d alone"].build())
