"""Images with captions as documents: where they come from, and a run that learns, draws, writes and scores them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pushforward as pf
from pushforward.cli.main import main
from pushforward.codecs import CodedFlow, FrozenAutoencoder, GaussianNoise, Identity
from pushforward.data import (
    CaptionDocuments,
    CaptionedImages,
    Document,
    LanguageTokenizer,
    SpriteFrames,
)
from pushforward.data.sources import Takes
from pushforward.data.splits import is_held_out
from pushforward.data.sprites import caption
from pushforward.evaluation import document_costs, document_retrieval, mean_document_costs, ordinary_text, pair_scores
from pushforward.models import STARFlow2
from pushforward.networks import LanguageModelSizes
from pushforward.sampling import Sampling
from pushforward.training import Plan

TAKES = Takes((3, 8, 8), 256)
CAPTIONS = ["a red heart", "a dog", "blue square", "green circle", "the moon", "two cherries", "soap"]


def tokenizer_of_bytes(folder: Path) -> LanguageTokenizer:
    """That of a language model without weights: bytes, and the tokens that begin and end a text."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra lm is not installed")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(["<s>", "</s>"])
    model.enable_truncation(4)  # as some files ask for
    model.save(str(folder / "tokenizer.json"))
    chat = "{{ bos_token }}{% for message in messages %}{{ message.content + eos_token }}{% endfor %}"
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": chat}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    more = {"vocab_size": 258, "max_position_embeddings": 256, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **sizes, **more}))
    return LanguageTokenizer(str(folder))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> LanguageTokenizer:
    return tokenizer_of_bytes(tmp_path_factory.mktemp("language"))


def test_texts_are_not_cut_off(tokenizer):
    assert tokenizer.decode(tokenizer.encode("more than four bytes").tolist()) == "more than four bytes"
    assert tokenizer.conversation([{"role": "user", "content": "hear"}]) == "<s>hear</s>"


def folder_of_pictures(folder: Path, captions: Sequence[str] = CAPTIONS) -> Path:
    """A picture of one grey for each caption, and metadata.jsonl."""
    lines = []
    for i, told in enumerate(captions):
        Image.new("RGB", (9, 8), (i, i, i)).save(folder / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": told}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n")
    return folder


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_of_images_with_captions(prefix, tmp_path, monkeypatch):
    if prefix:
        pytest.importorskip("datasets", reason="the extra data is not installed")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pairs = CaptionedImages((f"{prefix}{folder_of_pictures(tmp_path)}",), image=(3, 8, 8))
    images, told = pairs.read(TAKES, held_out=False)
    assert told == [text for text in CAPTIONS if not is_held_out(text)]
    assert images.shape == (len(told), 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == [CAPTIONS.index(text) for text in told]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "metadata.jsonl, line 2: expected JSON with file_name and text"),
        ('{"file_name": "0.png"}', "line 2: expected JSON with file_name and text; 'text'"),
        ('{"file_name": "0.png", "text": null}', "line 2: .* None is no text"),
        ('{"file_name": "none.png", "text": "a"}', "line 2: .*there is no .*none.png"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, message, tmp_path):
    first = '{"file_name": "0.png", "text": "a\u2028b\x85"}\n'  # these characters end no line of JSON
    (folder_of_pictures(tmp_path) / "metadata.jsonl").write_text(first + line, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        CaptionedImages((str(tmp_path),)).read(TAKES, held_out=False)


def test_a_folder_without_captions(tmp_path):
    with pytest.raises(FileNotFoundError, match="no .*metadata.jsonl: a line for each file"):
        CaptionedImages((str(tmp_path),)).read(TAKES, held_out=False)
    folder_of_pictures(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a dog"}')
    with pytest.raises(ValueError, match="no caption to hold out"):
        CaptionedImages((str(tmp_path),)).read(TAKES, held_out=True)


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    """Layers of one colour each, and six characters, of which two are held out."""
    path = tmp_path_factory.mktemp("sprites") / "layers.npz"
    layers = np.random.RandomState(0).randint(0, 256, (25, 9, 1, 1, 1, 4), dtype=np.uint8)
    layers = np.broadcast_to(layers, (25, 9, 8, 64, 64, 4))
    np.savez(path, layers=layers, perm=np.random.RandomState(1).permutation(1296)[:6].astype(np.int16))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("caption_documents", "sprites"):
            patch.setattr(f"pushforward.data.{module}.CHARACTERS", 4)
        yield str(path)


def test_frames_of_sprites_tell_all_attributes(sprites):
    images, told = SpriteFrames(sprites).read(TAKES, held_out=True)
    clips = pf.data.Sprites(sprites, Words()).held_out(Takes((None, 3, 8, 8)))
    assert told == clips.captions
    assert torch.equal(images[:5], clips.fetch(range(5))[0][:, SpriteFrames.frame])
    assert told[0] == caption(clips.rows[0, :4].tolist(), clips.rows[0, 4])
    with pytest.raises(ValueError, match="model.image has 1 channels"):
        SpriteFrames(sprites).read(Takes((1, 8, 8), 256), held_out=True)


class Words(pf.data.PhraseEncoder):
    """No embeddings."""

    def table(self, texts):
        return torch.zeros(len(texts), 1, dtype=torch.long), torch.zeros(1, 1)


def test_pairs_are_documents_in_both_orders(tokenizer, tmp_path):
    source = CaptionDocuments(CaptionedImages((str(folder_of_pictures(tmp_path)),), image=(3, 8, 8)), tokenizer)
    one, other, *_ = source.training(TAKES).documents
    told = [text for text in CAPTIONS if not is_held_out(text)][0]
    assert [part.dim() for part in one.parts] == [1, 3]
    assert [part.dim() for part in other.parts] == [3, 1]
    assert (one.given, other.given) == ({0}, set())
    assert source.caption(one.texts[0]) == source.caption(other.texts[0]) == told
    assert torch.equal(one.images[0], other.images[0])
    assert (one.texts[0][0], one.texts[0][-1]) == (tokenizer.begin, tokenizer.end)
    shown = replace(source, order="image first").training(TAKES)
    assert len(shown) == len(source.training(TAKES)) / 2
    assert source.text(["ab", "", "a"]).tolist() == [[256, 64, 65, 257], [-1] * 4, [256, 64, 257, -1]]
    with pytest.raises(ValueError, match="of 258 tokens, and model.language reads 300. Name the same"):
        source.training(TAKES._replace(vocabulary=300))
    assert source.at("elsewhere").pairs == CaptionedImages(("elsewhere",), image=(3, 8, 8))


def test_images_of_documents_are_prepared_once(tmp_path):
    """Latents of a frozen autoencoder take the place of images, which are in two documents each."""
    squares = nn.PixelUnshuffle(2)
    codec = FrozenAutoencoder(nn.Sequential(nn.Conv2d(1, 1, 1), squares), nn.PixelShuffle(2))
    images = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    images = [*images, images[0].transpose(1, 2)]  # another image, in the same memory
    documents = pf.data.Documents(
        [Document(parts, given=[0]) for image in images for parts in ([[1, 2], image], [image, [1, 2]])]
    )
    calls = []
    squares.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    made = pf.data.prepared(documents, codec, tmp_path)
    assert calls == [3]
    torch.testing.assert_close(made.images[::2, 0], codec.clean(torch.stack(images)))
    torch.testing.assert_close(made.images[1::2], made.images[::2])
    assert torch.equal(made.tokens, documents.tokens)
    assert torch.equal(made.given, documents.given)


# a run


MODEL = STARFlow2(
    image=(3, 8, 8),
    patch=4,
    width=64,
    depths=(1, 1),
    text=80,
    extent=2,
    language=LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16, vocabulary=258),
)


@pytest.fixture(scope="module")
def run(tokenizer, sprites, tmp_path_factory) -> Path:
    """The recipe sprites2 with a tiny model, after a step of each stage."""
    folder, recipe = tmp_path_factory.mktemp("runs") / "sprites2", pf.recipes.sprites2()
    recipe = replace(
        recipe,
        data=CaptionDocuments(SpriteFrames(sprites), tokenizer),
        model=MODEL,
        train=Plan(steps=1, batch=4, measure_every=1),
    )
    pf.train(recipe, folder)
    return folder


def test_a_run_on_documents_draws_prompts(run, tmp_path):
    sampling = Sampling(prompt=("walking left, blue robe", ""), guidance=1.0, denoise="none")
    assert pf.runs.sample(run, tmp_path / "a.png", n=2, sampling=sampling).startswith("4 samples in ")
    with pytest.raises(ValueError, match="say what to draw"):
        pf.runs.sample(run, tmp_path / "a.png")


def test_a_run_on_documents_captions_images(run, tmp_path):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    (tmp_path / "none.png").write_text("no image")
    paths = (tmp_path / "red.png", tmp_path / "red.png")
    first, second = pf.runs.caption(run, paths, most=5).splitlines()
    assert first.startswith(f"{paths[0]}: ")
    name, _, *lines = pf.runs.caption(run, paths[:1], among=("blue robe", "red robe")).splitlines()
    assert name == str(paths[0])
    scores = [float(line.split()[0]) for line in lines]
    assert sorted(scores, reverse=True) == scores
    with pytest.raises(ValueError, match="none.png is not an image"):
        pf.runs.caption(run, (tmp_path / "none.png",))
    with pytest.raises(FileNotFoundError, match="no image .*nowhere.png"):
        pf.runs.caption(run, (tmp_path / "nowhere.png",))
    with pytest.raises(ValueError, match="at least one image"):
        pf.runs.caption(run, ())
    with pytest.raises(ValueError, match="captions are of runs on documents"):
        pf.runs.caption("pretrained:digits", paths)


def test_the_images_of_a_run_on_documents_may_move(run):
    source = pf.runs.data.recipe_of(run).data
    assert source.at("elsewhere") == replace(source, pairs=SpriteFrames("elsewhere"))
    images = replace(source, pairs=CaptionedImages(("here",), image=(3, 8, 8)))
    assert images.at("there") == replace(source, pairs=CaptionedImages(("there",), image=(3, 8, 8)))


def test_captions_are_typed(run, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    monkeypatch.setattr(
        sys, "argv", ["pushforward", "caption", str(run), *[str(tmp_path / "red.png")] * 2, "--most", "3"]
    )
    main()
    assert [line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()] == [str(tmp_path / "red.png")] * 2


def test_a_run_on_documents_is_evaluated(run):
    found = pf.runs.evaluate(run)
    assert set(found) == {
        "held-out",
        "held-out, by log P(caption | image)",
        "held-out, by log p(image | caption)",
        "ordinary sentences",
    }
    for name in found:
        if "by log" in name:
            assert re.search(r"% of 18 images .* have their caption as the most probable of 10", str(found[name]))
    assert set(pf.runs.read_results(run)) == set(found)


def test_a_run_on_documents_is_checked_given_its_captions(run, monkeypatch):
    found = pf.runs.check(run, n=4)
    assert found["float64"].round_trip < 1e-6
    recipe = pf.runs.read_recipe(run)
    longest = max(len(d.texts[0]) for d in recipe.held_out_data().documents)
    exact = replace(recipe, model=replace(recipe.model, text=longest), data=replace(recipe.data, order="image first"))
    coded = CodedFlow(exact.model.build(), exact.codec.build())
    monkeypatch.setattr("pushforward.runs.evaluating.recipe_of", lambda _: exact)
    monkeypatch.setattr("pushforward.runs.evaluating.load_coded", lambda *_, **__: coded)
    assert pf.runs.check(run, n=2)["float64"].round_trip < 1e-6


# scores


def test_scores_are_those_of_documents_and_of_the_flow():
    torch.manual_seed(0)
    flow = MODEL.build().double()
    for weight in flow.parameters():
        weight.data.normal_(0, 0.1)
    x, texts = torch.randn(2, 3, 8, 8, dtype=torch.float64), [torch.tensor([5, 1, 4]), torch.tensor([2, 6])]
    found = pair_scores(flow, x, texts)
    both = flow.document_log_prob([Document([text, image]) for text, image in zip(texts, x, strict=True)])
    torch.testing.assert_close(found.image, both.images)
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-1)
    torch.testing.assert_close(found.image, flow.log_prob(x, padded))
    documents = pf.data.Documents([Document([image, text]) for text, image in zip(texts, x, strict=True)])
    costs = document_costs(CodedFlow(flow, Identity()), documents)
    torch.testing.assert_close(costs[1], -found.text / torch.tensor([2, 1]))
    mean = mean_document_costs(CodedFlow(flow, Identity()), documents)
    assert mean.images * 48 == pytest.approx(costs[0].mean().item())
    assert mean.texts == pytest.approx(costs[1].mean().item())
    given = [Document([texts[0], x[0]], given=[0]), *documents.documents]
    assert mean_document_costs(CodedFlow(flow, Identity()), pf.data.Documents(given)).texts == pytest.approx(mean.texts)


def test_ordinary_text_is_left_as_it_is():
    flow = MODEL.build()
    torch.nn.init.normal_(flow.net.to_text.weight)
    found = ordinary_text(flow, [torch.tensor([5, 1, 4, 9]), torch.tensor([3, 2])])
    assert found.tokens == 4
    assert found.learned == pytest.approx(found.untouched, rel=1e-5)


def test_retrieval_counts_true_captions(monkeypatch):
    """A score that is highest where text and image are of the same number."""

    def scores(flow, x, texts):  # noqa: ARG001
        same = (x[:, 0, 0, 0].round() == torch.stack(texts)[:, 0]).float()
        return pf.evaluation.PairScores(same, -same)

    monkeypatch.setattr("pushforward.evaluation.documents.pair_scores", scores)
    images = torch.arange(20.0)[:, None, None, None].expand(-1, 3, 8, 8)
    texts = [torch.tensor([i]) for i in range(20)]
    by_text, by_image = document_retrieval(CodedFlow(MODEL.build(), Identity()), images, texts)
    assert (by_text.accuracy, by_image.accuracy, by_text.candidates, by_text.images) == (1, 0, 10, 20)
    with pytest.raises(ValueError, match="compare two texts or more"):
        document_retrieval(CodedFlow(MODEL.build(), Identity()), images, texts[:1] * 20)
    digits = pf.models.TarFlow(image=(1, 8, 8), patch=4, transforms=1, width=16, depth=1).build()
    with pytest.raises(ValueError, match="documents are read by a models.STARFlow2"):
        document_retrieval(CodedFlow(digits, GaussianNoise(17, 0.1)), images, texts)


def test_packs_of_captions(tmp_path):
    images, told = (
        np.arange(7, dtype=np.uint8)[:, None, None, None] + np.zeros((7, 8, 8, 3), np.uint8),
        np.array(CAPTIONS),
    )
    np.savez(tmp_path / "pack.npz", images=images, caption=told)
    (tmp_path / "folder").mkdir()
    places = (str(tmp_path / "pack.npz"), str(folder_of_pictures(tmp_path / "folder")))
    found, told = CaptionedImages(places, image=(3, 8, 8)).read(TAKES, held_out=False)
    assert told[: len(told) // 2] == told[len(told) // 2 :]
    assert torch.equal(*found.chunk(2))
    with pytest.raises(FileNotFoundError, match="no .*nothing.npz. Set PUSHFORWARD_DATA"):
        CaptionedImages(("nothing",)).read(TAKES, held_out=False)
