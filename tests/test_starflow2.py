"""STARFlow2: one causal density of texts and images in any order, which begins as the language model's and a flow's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

import pushforward as pf
from pushforward.codecs import GaussianNoise, Identity
from pushforward.conditions import TokenIds, read
from pushforward.data import Document, Documents
from pushforward.document_flow import DocumentFlow, ReadDocuments
from pushforward.guidance import GaussianProduct
from pushforward.models import STARFlow, STARFlow2
from pushforward.networks import LanguageModelSizes, LayerOptions, PrefixTransformer, ScaledRotary, TwoStreams
from pushforward.networks.interleaved import IMAGE, PADDING, interleave
from pushforward.objectives import DocumentLikelihood, DocumentStages, Likelihood
from pushforward.randomness import Keyed
from pushforward.solve import blockwise_jacobi, jacobi, sequential
from pushforward.training import Plan, minimise
from pushforward.transforms import Autoregressive

LANGUAGE = LanguageModelSizes(width=16, depth=2, heads=2, kv_heads=1, hidden=16, vocabulary=11, context=40)
SHAPE = (2, 2, 4)
MODEL = STARFlow2(image=SHAPE, width=32, depths=(1, 1, 2), language=LANGUAGE, text=8, layer=LayerOptions(head=16))
ROUNDING = {"rtol": 1e-10, "atol": 1e-10}  # of float64, through three steps


def built(model: STARFlow2, *, adapters: bool = True) -> DocumentFlow:
    """In float64, of random weights; those of the adapters stay zero where they are not to be drawn."""
    torch.manual_seed(0)
    flow = model.build().double()
    kept = set() if adapters else {weight for part in flow.net.adapters for weight in part.parameters()}
    for name, weight in flow.named_parameters():
        if weight not in kept:
            torch.nn.init.normal_(weight, std=0.05 if "answer" in name else 0.2)
    return flow


def image(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MIXED = [
    Document([[5, 1, 4], image(1), [2, 0]]),
    Document([image(2), [3], image(3), [4, 5, 6]]),
    Document([[1, 2], [3], image(4), image(5)], given=[1]),
    Document([[3, 2, 9]]),
    Document([image(6)]),
]


@pytest.fixture(params=[True, False], ids=["sees", "blind"])
def model(request):
    return replace(MODEL, sees=request.param)


@pytest.fixture
def flow(model):
    return built(model)


def test_what_positions_read():
    tokens = torch.tensor([[7, IMAGE, 3, PADDING], [IMAGE, IMAGE, PADDING, 9]])
    at = interleave(tokens, patches=2, images=2)
    assert at.token.tolist() == [[7, 0, 0, 0, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0, 9, 0]]
    assert at.text.int().tolist() == [[1, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0]]
    assert at.image.int().tolist() == [[0, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]]
    assert at.read.tolist() == [[0, 0, 1, 2, 0, 0, 0, 0], [0, 1, 2, 0, 3, 4, 0, 0]]
    assert at.patch.tolist() == [[0, 0, 1, 2, 0, 0, 0, 0], [0, 1, 2, 0, 1, 2, 0, 0]]
    assert at.place[0, :5].tolist() == [0, 1, 1, 1, 3]
    assert at.place[1, :7].tolist() == [0, 0, 0, 2, 2, 2, 4]


@torch.no_grad()
def test_a_later_part_changes_no_earlier_answer(flow):
    """Nor does a later token of a text, or a later patch of an image, in the deep step."""
    document = Document([[5, 1, 4], image(1), [2, 8], image(2), [3]])
    before = flow.read([document])
    for i, part in enumerate(document.parts):
        parts = list(document.parts)
        parts[i] = (part + 1) % 11 if part.dim() == 1 else part + 1
        after = flow.read([Document(parts)])
        slot = sum(len(p) if p.dim() == 1 else 1 for p in parts[:i])
        pictures = sum(p.dim() == 3 for p in parts[:i])
        for seen, now, end in (
            (before.text_log_prob(), after.text_log_prob(), slot),
            (before.image_log_prob(), after.image_log_prob(), pictures),
        ):
            torch.testing.assert_close(now[:, :end], seen[:, :end], **ROUNDING)
            assert not torch.isclose(now[:, end:], seen[:, end:]).all() or not seen[:, end:].any()

    latents, tokens = torch.randn(1, 2, 8, 2, dtype=torch.float64), document.tokens[None]
    states = flow.net.states(tokens, latents)
    for patch in (0, 5):
        moved = latents.clone()
        moved[0, 0, patch] += 1
        for seen, now in zip(states, flow.net.states(tokens, moved), strict=True):
            first = 3 + 1 + patch  # the position that reads this patch
            torch.testing.assert_close(now[:, :first], seen[:, :first], **ROUNDING)
    assert not torch.isclose(now[:, first], seen[:, first]).all()


@torch.no_grad()
def test_a_padded_batch_is_its_documents(flow):
    images, text = flow.document_log_prob(MIXED)
    for i, document in enumerate(MIXED):
        alone = flow.document_log_prob([document])
        torch.testing.assert_close((images[i], text[i]), (alone.images[0], alone.text[0]), **ROUNDING)
    assert images[3] == 0
    assert text[4] == 0  # a document without texts
    long = [Document([[1] * 30]), Document([[1] * 20, image(1), image(2)])]  # together longer than the context
    expected = torch.cat([flow.document_log_prob([document]).text for document in long])
    torch.testing.assert_close(flow.document_log_prob(long).text, expected, **ROUNDING)
    if not flow.net.language.see:
        assert flow.document_log_prob([Document([[1] * 39, image(1), image(2)])]).text.isfinite()


@torch.no_grad()
def test_what_is_given_is_not_scored(flow):
    parts = flow.read(MIXED[:1])
    each, tokens = parts.image_log_prob()[0, 0], parts.text_log_prob()[0]
    assert tokens[[0, 3]].eq(0).all(), "the first token, and the image's slot"
    assert tokens[[1, 2, 4, 5]].lt(0).all()
    for given, expected in {
        (0,): (each, tokens[4:].sum()),  # log p(image, text after it | first text)
        (0, 1): (0 * each, tokens[4:].sum()),  # log p(text | text, image)
        (0, 2): (each, 0 * each),
    }.items():
        found = flow.document_log_prob([Document(MIXED[0].parts, given=given)])
        torch.testing.assert_close((found.images[0], found.text[0]), expected, **ROUNDING)


@torch.no_grad()
@pytest.mark.parametrize("solve", [sequential, jacobi, blockwise_jacobi])
def test_cached_equals_parallel(flow, solve):
    """An image drawn after a document has the latents that were drawn, and texts the states, of the parallel pass."""
    documents = [MIXED[0], Document([[5, 7, 4], image(7), [2, 1]])]
    drawn = flow.draw_image(documents, generator=torch.Generator().manual_seed(1), solve=solve)
    z = flow.base.sample(2, {}, generator=torch.Generator().manual_seed(1)).double()
    read = flow.read([Document(document.parts, given=[0, 1, 2]) for document in drawn])
    *steps, deep, last = flow.transform
    x, log_det = torch.stack([document.images[-1] for document in drawn]), 0
    for step in steps:
        x, more = step(x)
        log_det = log_det + more
    raw = flow.net.answers(read._states)[:, -9:-1]  # of the positions of the last image
    tokens, slopes = deep.move.forward(x, raw)
    torch.testing.assert_close(last(tokens)[0], z, **ROUNDING)
    expected = flow.base.log_prob(z, {}) + log_det + slopes.flatten(1).sum(1)
    torch.testing.assert_close(read.image_log_prob().sum(1), expected, **ROUNDING)

    reading = flow._reading(drawn)
    torch.testing.assert_close(reading.last[0], read._language[:, -1:], **ROUNDING)
    torch.testing.assert_close(reading.last[1], read._states[:, -1:], **ROUNDING)


@torch.no_grad()
def test_with_adapters_of_zero_texts_are_the_language_models(model):
    """To the bit. Where it reads no images, so are those between images."""
    flow = built(model, adapters=False)
    language, alone = flow.net.language.model, Document([[5, 1, 4, 2, 0]])
    documents = [alone] if model.sees else [alone, Document([[5, 1], image(1), [4, 2], image(2), [0]])]
    (tokens,) = alone.parts
    states = language(language.embed(tokens[None]))
    for document in documents:
        read = flow.read([document])
        at = interleave(document.tokens[None], flow.net.patches, len(document.images)).text[0]
        assert torch.equal(flow.net.logits(read._language, read._states)[:, at], language.logits(states))
        log_p = language.logits(states)[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        scored = read.text_log_prob()[0, read.scored_tokens[0]]
        torch.testing.assert_close(scored, log_p, **ROUNDING)


@torch.no_grad()
def test_before_an_image_texts_stay_the_language_models(flow):
    """To the bit, with adapters that are not zero; after an image they change the text."""
    documents = [Document([[5, 1, 4, 2, 0]]), Document([[5, 1, 4, 2, 0], image(1)]), Document([image(1), [5, 1, 4]])]
    learned = [flow.document_log_prob([document]).text for document in documents]
    written = flow.write_text(documents[:1], end=0, most=5, temperature=0)
    torch.nn.init.zeros_(flow.net.to_text.weight)
    untouched = [flow.document_log_prob([document]).text for document in documents]
    assert torch.equal(learned[0], untouched[0])
    assert torch.equal(learned[1], untouched[1])
    assert learned[2] != untouched[2]
    assert torch.equal(written[0].texts[1], flow.write_text(documents[:1], end=0, most=5, temperature=0)[0].texts[1])


@torch.no_grad()
def test_states_of_texts_are_computed_once(flow, tmp_path):
    """Those of common beginnings together; documents with known states have the scores of those without."""
    texts = torch.tensor([[5, 1, 4, 2], [5, 1, 3, -1], [5, 1, 4, 0], [5, 1, -1, -1], [2, -1, -1, -1], [5, 1, 4, 2]])
    language = flow.net.language.model
    expected = language(language.embed(texts.clamp(min=0)))
    torch.testing.assert_close(language.states_of_texts(texts)[texts >= 0], expected[texts >= 0], **ROUNDING)

    documents = Documents([*MIXED, MIXED[1], Document([[5, 1, 4, 2, 6, 7]])])
    known, rows = flow.with_states(documents, tmp_path), range(len(documents))
    if flow.net.language.see is not None:
        assert known is documents
        return
    again = flow.with_states(documents, tmp_path)
    assert len([*tmp_path.glob("*.safetensors")]) == 1
    images, context = again.fetch(rows)
    assert torch.equal(context["states"], known.fetch(rows)[1]["states"])
    found, nats = ReadDocuments(flow, images, **context), flow.document_log_prob(documents)
    torch.testing.assert_close(found.image_log_prob().sum(1), nats.images, **ROUNDING)
    torch.testing.assert_close(found.text_log_prob().sum(1), nats.text, **ROUNDING)


@torch.no_grad()
def test_an_image_alone_has_the_density_of_a_flow_of_images(model):
    """That of a STARFlow of the same weights, whose third axis of positions is always zero."""
    flow = built(model, adapters=False)
    deep = flow.net
    net = PrefixTransformer(
        2, (2, 2), positions=ScaledRotary((2, 4), frames=None, extent=16), width=32, depth=2, options=MODEL.layer
    ).double()
    net.load_state_dict(
        {name: weight for name, weight in deep.state_dict().items() if name in dict(net.named_parameters())}
    )
    *steps, step, last = flow.transform
    of_images = pf.Flow(pf.Chain(*steps, Autoregressive(net, step.move), last), flow.base, event=SHAPE)
    x = torch.stack([image(i) for i in range(5)])
    expected = of_images.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, {"text": None}), expected, **ROUNDING)
    torch.testing.assert_close(flow.document_log_prob([Document([row]) for row in x]).images, expected, **ROUNDING)


@torch.no_grad()
def test_an_image_given_a_text_is_a_flow(flow):
    """One density: of the flow given its condition, and of a document."""
    texts = [[5, 1, 4], [3, -1, -1], [-1, -1, -1]]
    x = torch.stack([image(i) for i in range(3)])
    documents = [
        Document([*([[t for t in text if t >= 0]] * (text[0] >= 0)), row]) for text, row in zip(texts, x, strict=True)
    ]
    torch.testing.assert_close(flow.log_prob(x, texts), flow.document_log_prob(documents).images, **ROUNDING)
    z = flow.encode(x, texts)
    torch.testing.assert_close(flow.decode(z, texts), x, **ROUNDING)
    guided = flow.guided(2.0, rule=GaussianProduct())
    z = flow.base.sample(1, {}, generator=torch.Generator().manual_seed(1)).double()
    (drawn,) = guided.draw_image([Document([[5, 1, 4]])], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.images[0], guided.decode(z, [5, 1, 4])[0], **ROUNDING)
    away = flow.guided(2.0, rule=GaussianProduct(), conditions={"text": [5, 2]})
    (other,) = away.draw_image([Document([[5, 1, 4]])], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(other.images[0], away.decode(z, [5, 1, 4])[0], **ROUNDING)
    assert not torch.isclose(other.images[0], drawn.images[0]).all()
    with pytest.raises(ValueError, match="score documents by the flow that is not guided"):
        guided.document_log_prob(documents)


@torch.no_grad()
def test_probabilities_add_up_to_one(model):
    """That of an image of two pixels, between texts and after another image; and of all texts of two tokens."""
    flow = built(replace(model, image=(1, 1, 2), width=16, depths=(1, 1, 1)))
    if flow.net.language.see is not None:  # norms make a step of what passes zero: a smooth one, for the sum
        flow.net.language.see.weight.mul_(0.02)
    line = torch.linspace(-8, 8, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line).reshape(-1, 1, 1, 1, 2)
    before = [torch.tensor([3, 1]), image(1, (1, 1, 2)), torch.tensor([4])]
    tokens = Document([*before, grid[0, 0]], given=range(3)).tokens.expand(len(grid), -1)
    log_p = ReadDocuments(flow, torch.cat([before[1].expand_as(grid), grid], 1), tokens, tokens >= 0).image_log_prob()
    assert (log_p[:, 1].exp().sum() * (line[1] - line[0]) ** 2).item() == pytest.approx(1, abs=1e-5)
    pairs = torch.cartesian_prod(torch.arange(11), torch.arange(11))
    log_p = flow.document_log_prob([Document([*before, pair], given=range(3)) for pair in pairs])
    assert log_p.text.exp().sum().item() == pytest.approx(1, abs=1e-10)


@torch.no_grad()
def test_texts_are_written_as_they_are_scored(flow):
    documents = [MIXED[0], MIXED[1], Document([[5, 2, 4], image(8), [2, 1]])]
    for before, after in zip(documents, flow.write_text(documents, end=0, most=4, temperature=0), strict=True):
        text = after.texts[-1]
        assert after.parts[:-1] == before.parts
        assert 0 not in text[:-1]
        assert len(text) == 4 or text[-1] == 0
        likely = [
            flow.document_log_prob([before.followed_by([token])]).text - flow.document_log_prob([before]).text
            for token in range(11)
        ]
        assert torch.stack(likely).argmax() == text[0]
    once, again = (
        flow.write_text(documents, end=0, generator=torch.Generator().manual_seed(3), most=12) for _ in range(2)
    )
    assert [d.texts[-1].tolist() for d in once] == [d.texts[-1].tolist() for d in again]


@torch.no_grad()
def test_a_row_is_drawn_by_its_own_numbers(flow):
    """Whatever the layouts of the other documents."""
    documents = [Document([[5, 1]]), Document([[5, 1], image(1), [3]]), Document([[5, 2]])]
    both = [flow.draw_image, partial(flow.write_text, end=0, most=3)]
    for drawn in both:
        together, alone = drawn(documents, generator=Keyed(0, rows=[0, 1, 2])), []
        for row, document in enumerate(documents):
            alone += drawn([document], generator=Keyed(0, rows=[row]))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one.parts[-1], other.parts[-1], **ROUNDING)


def test_many_texts_have_the_frequencies_of_their_probabilities():
    flow = built(replace(MODEL, sees=False))
    document = Document([[5, 1], image(1), [4]])
    with torch.no_grad():
        scored = [flow.document_log_prob([document.followed_by([token])]).text for token in range(11)]
        p = torch.cat(scored).softmax(0)
        texts = flow.write_text([document] * 2000, end=0, most=1, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(torch.stack([d.texts[-1][0] for d in texts]), minlength=11)
    assert ((counts - 2000 * p) ** 2 / (2000 * p)).sum() < 30  # χ² of 10 degrees: 29.6 at one in a thousand


BEGIN, TOY = 9, [Document([[9, k], torch.full((1, 2, 4), 60 * k, dtype=torch.uint8), [k]]) for k in range(4)]
LEARNER = replace(MODEL, image=(1, 2, 4), sees=True)


@pytest.mark.parametrize("stage", ["images", "adapters", "both"])
def test_a_stage_trains_what_it_says(stage):
    flow = LEARNER.build()
    for adapter in flow.net.adapters:
        torch.nn.init.normal_(adapter.weight, std=0.1)
    torch.nn.init.normal_(flow.net.answer.weight, std=0.1)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    objective = DocumentStages(stages=(stage,), text_dropout=0).build(flow, GaussianNoise(256, 0.1))
    plan = Plan(steps=2, batch=4, lr=1e-2, warmup=1, precision="float32", average_decay=0)
    minimise(objective, Documents(TOY), plan, progress=False)
    adapters = {name for name in before if any(word in name for word in ("to_image", "to_text", "language.see"))}
    changed = {name for name, value in flow.state_dict().items() if not torch.equal(value, before[name])}
    learned = set(dict(flow.named_parameters()))
    assert len(adapters) == 3
    assert changed == {"images": learned - adapters, "adapters": adapters, "both": learned}[stage]


def test_the_loss_is_in_nats_a_token_of_each_kind():
    flow = built(LEARNER).float()
    documents = [
        Document([[9, 1], image(1, (1, 2, 4)).float(), [3, 4]], given=[0]),
        Document([image(2, (1, 2, 4)).float(), [9, 1, 2], image(3, (1, 2, 4)).float()]),
    ]
    data = Documents(documents)
    nats = flow.document_log_prob(documents)
    images, text = -nats.images / torch.tensor([8, 16]), -nats.text / torch.tensor([2, 2])
    for stages, expected in {
        ("both", "images"): images + 3 * text,
        ("images",): images,
        ("adapters", "both"): 3 * text,
    }.items():
        config = DocumentStages(stages=stages, text_weight=3.0, text_dropout=0)
        objective = DocumentLikelihood(flow, Identity(), config)
        weights = torch.tensor([0.5, 1.5])
        loss, logs = objective(*data.fetch([0, 1]), Keyed(0, rows=[0, 1]), weights)
        torch.testing.assert_close(loss, (weights * expected).mean())
        following = objective.following()
        assert (following and following.stage) == (stages[1] if len(stages) > 1 else None)
    assert logs["nats/token"] == pytest.approx(text.mean().item(), rel=1e-5)
    kept = DocumentLikelihood(flow, Identity(), DocumentStages(stages=("adapters",), text_dropout=1.0))
    loss, _ = kept(*data.fetch([0, 1]), Keyed(0, rows=[0, 1]))
    torch.testing.assert_close(loss, text.mean())
    dropped = DocumentLikelihood(flow, Identity(), DocumentStages(stages=("both",), text_dropout=1.0))
    without = flow.document_log_prob([Document([d.images[0], *d.images[1:]]) for d in documents])
    loss, _ = dropped(*data.fetch([0, 1]), Keyed(0, rows=[0, 1]))
    torch.testing.assert_close(loss, (-without.images / torch.tensor([8, 16])).mean())


def test_a_step_reads_no_value():
    """So that a GPU need not wait for the host: tensors of the meta device have none."""
    with torch.device("meta"):
        flow = LEARNER.build()
        objective = DocumentStages(stages=("both",)).build(flow, Identity())
        context = {"tokens": torch.zeros(3, 5, dtype=torch.long), "given": torch.zeros(3, 5, dtype=torch.bool)}
        loss, _ = objective(torch.zeros(3, 2, 1, 2, 4), context)
    loss.backward()
    assert all(weight.grad is not None for weight in flow.parameters())


def test_it_trains_as_a_flow_of_images_given_texts():
    flow = LEARNER.build()
    data = pf.data.Arrays(torch.stack([d.images[0] for d in TOY]), torch.stack([d.texts[0] for d in TOY]))
    plan = Plan(steps=2, batch=4, lr=1e-2, warmup=1, precision="float32")
    minimise(Likelihood(flow, GaussianNoise(256, 0.1), condition_dropout=0.1), data, plan, progress=False)
    assert flow.sample((), [9, 1]).isfinite().all()


def test_published_sizes():
    """3.6 billion trained weights; the language model, Qwen2.5-VL-7B's without its images, is not among them."""
    sizes = LanguageModelSizes(width=3584, depth=28, heads=28, kv_heads=4, hidden=18944, vocabulary=152064, tied=False)
    with torch.device("meta"):
        flow = STARFlow2(language=sizes).build()
    assert sum(p.numel() for p in flow.parameters()) == pytest.approx(3.65e9, rel=5e-3)


ERRORS = {
    "no parts": (lambda _: Document([]), "at least one part"),
    "an unknown part": (lambda _: Document([[1], torch.zeros(2, 2)]), r"part 1 of a document is .* shape \(2, 2\)"),
    "no tensor": (lambda _: Document([{"text": 3}]), "part 0 of a document is .* got a dict"),
    "an empty text": (lambda _: Document([[]]), "at least one token"),
    "real tokens": (lambda _: Document([[0.5]]), "part 0 of a document"),
    "a string": (lambda _: Document(["a cat"]), "give tokenizer="),
    "given parts that are not there": (lambda _: Document([[1]], given=[1]), r"parts 0 … 0; got given=\[1\]"),
    "no documents": (lambda flow: flow.document_log_prob([]), "there are no documents"),
    "images of several shapes": (lambda _: Documents([Document([image(1), image(1, (1, 2, 2))])]), "one shape"),
    "images of another shape": (lambda flow: flow.draw_image([Document([image(1, (2, 2, 2))])]), r"\(2, 2, 4\)"),
    "integer images": (lambda flow: flow.read([Document([image(1).byte()])]), "Encode them first"),
    "unknown tokens": (lambda flow: flow.read([Document([[11]])]), r"0 … 10; got 11"),
    "a text over the context": (lambda flow: flow.read([Document([[1] * 41])]), "40 positions at most.* has 41"),
    "images over the context": (lambda flow: flow.read([Document([[1] * 23, image(1), image(1)])]), "has 41"),
    "a text that would end beyond the context": (
        lambda flow: flow.write_text([Document([[1] * 30])], end=0, most=12),
        "has 30, without up to 11 that are to be drawn",
    ),
    "an image that would end beyond the context": (
        lambda flow: flow.draw_image([Document([[1] * 32])]),
        "has 32, without",
    ),
    "no token to write": (
        lambda flow: flow.write_text([Document([[1]])], end=0, most=0),
        "most is a finite number of at least 1",
    ),
    "a negative temperature": (
        lambda flow: flow.write_text([Document([[1]])], end=0, temperature=-1),
        "temperature is a finite number of at least 0",
    ),
    "a reversible chain": (
        lambda flow: flow.with_transform(pf.transforms.reversible(flow.transform)).read(MIXED),
        "recomputed=True",
    ),
    "unknown tokens to learn": (
        lambda flow: DocumentLikelihood(flow, Identity()).check(Documents([Document([[11]])])),
        r"0 … 10; got 11",
    ),
    "texts over the context to learn": (
        lambda flow: DocumentLikelihood(flow, Identity()).check(Documents([Document([[1] * 41])])),
        "has 41",
    ),
    "a model of texts over the context": (lambda _: replace(MODEL, text=32).build(), "take 41. Lower text"),
    "positions without a third axis": (
        lambda flow: TwoStreams(
            2, (2, 2), language=flow.net.language, positions=ScaledRotary((2, 4)), width=32, depth=1
        ),
        "frames=None",
    ),
    "a condition that is too long": (lambda flow: flow.sample((), [1] * 9), "8 tokens at most"),
    "a condition of unknown tokens": (lambda flow: flow.sample((), [11]), "got 11"),
    "a real condition": (lambda flow: flow.sample((), [0.5]), "A tokenizer makes them"),
    "an image first": (lambda flow: flow.write_text([Document([image(1)])], end=0), "goes on from a token"),
    "another flow": (
        lambda _: DocumentStages().build(STARFlow(image=(1, 2, 2), width=64, depths=(1,)).build(), Identity()),
        "models.STARFlow2; this flow is a Flow",
    ),
    "no documents to learn": (
        lambda flow: DocumentLikelihood(flow, Identity()).check(pf.data.Arrays(torch.zeros(3, 2))),
        "data.Documents",
    ),
    "unknown stages": (lambda _: DocumentStages(stages=("all",)), "at least one; got"),
    "a negative weight": (lambda _: DocumentStages(text_weight=-1.0), "text_weight is a finite number of at least 0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, says = ERRORS[name]
    with pytest.raises(ValueError, match=says):
        call(built(MODEL))


def test_strings_are_tokenized():
    document = Document(["ab", image(1)], tokenizer=pf.data.Bytes())
    assert document.texts[0].tolist() == [97, 98]
    assert repr(document) == "Document(text of 2 tokens; image 2 × 2 × 4)"
    assert read({"text": TokenIds(3, 256)}, document.texts[0])["text"].mask.tolist() == [True, True, False]
