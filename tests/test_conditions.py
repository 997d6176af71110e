"""What flows are conditioned on: read, named, dropped by name, and of one batch shape."""

from __future__ import annotations

import math
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.conditions import (
    Condition,
    Image,
    Label,
    NoiseLevel,
    Values,
    Vector,
    concatenate,
    drop,
    read,
    rows,
)
from pushforward.networks import MLP, LabelEmbedding, MaskedMLP, VectorEmbedding
from pushforward.randomness import keyed
from tests.test_models import TRIED, context_of
from tests.toys import picture, randomised, vector

KINDS = {"label": Label(3), "vector": Vector(2)}
BOTH = {"label": torch.tensor([0, 2, -1]), "vector": torch.randn(3, 2)}


class Sum(nn.Module):
    """Reads both conditions."""

    def __init__(self):
        super().__init__()
        self.label, self.vector = LabelEmbedding(3, 8), VectorEmbedding(2, 8)

    def forward(self, context):
        return self.label(context) + self.vector(context)


@pytest.fixture
def flow():
    """Of four features, given a label and a vector."""
    torch.manual_seed(0)
    split = pf.transforms.halves(4)
    net = MLP(2, (2, 2), hidden=(8,), context_encoder=Sum())
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    step = pf.transforms.Coupling(net, pf.moves.Affine(), split)
    return pf.Flow(step, pf.bases.StandardNormal(4), event=(4,), conditions=KINDS)


def test_several_conditions_are_given_by_name(flow):
    x = torch.randn(3, 4)
    log_p = flow.log_prob(x, BOTH)
    for name, other in (("label", 1), ("vector", torch.zeros(2))):
        assert not torch.allclose(flow.log_prob(x, {**BOTH, name: other}), log_p)
    assert flow.sample(5, BOTH).shape == (5, 3, 4)
    assert flow(BOTH).batch_shape == (3,)
    torch.testing.assert_close(flow(BOTH).log_prob(x), log_p)


def test_each_condition_has_its_own_null(flow):
    x, null = torch.randn(3, 4), torch.tensor([True, False, False])
    context = flow.context(BOTH)
    without = {name: flow.log_prob(x, drop(context, null, name)) for name in KINDS}
    neither = flow.log_prob(x, drop(context, null))
    answers = [flow.log_prob(x, context), *without.values(), neither]
    assert len({round(answer[0].item(), 5) for answer in answers}) == 4, "each drop is another density"
    for answer in answers[1:]:
        torch.testing.assert_close(answer[1:], answers[0][1:])
    torch.testing.assert_close(flow.log_prob(x[:1], {"label": 0, "vector": None}), without["vector"][:1])
    torch.testing.assert_close(flow.log_prob(x[:1], {"label": None, "vector": None}), neither[:1])


def test_classes_are_told_apart_given_the_other_conditions(flow):
    x, others = torch.randn(3, 4), {"vector": BOTH["vector"]}
    joint = torch.stack([flow.log_prob(x, {"label": k, **others}) for k in range(3)], -1)
    torch.testing.assert_close(flow.class_log_probs(x, context=others), joint.log_softmax(-1))
    assert torch.equal(flow.classify(x, context=others), joint.argmax(-1))
    with pytest.raises(ValueError, match=r"takes the conditions label: .*; vector: .*; got 'label'"):
        flow.classify(x)


def test_a_fit_takes_several_conditions_by_name(flow):
    context = {"label": torch.arange(60) % 3, "vector": torch.randn(60, 2).numpy()}
    x = torch.randn(60, 4)
    assert math.isfinite(pf.fit(flow, x, context, steps=2, measure_every=1, lr=1e-4, progress=False).score)
    with pytest.raises(ValueError, match="takes the conditions label: .*; got 'label'"):
        pf.fit(flow, x, {"label": context["label"]}, steps=1)


@pytest.mark.parametrize("anneal", [None, pf.training.Annealing(2.0)], ids=["plain", "annealed"])
def test_a_density_is_fitted_given_several_conditions_by_name(flow, anneal):
    """Its log Z depends on the label: untrained it would be 100 · label off."""

    def shifted(x, given):
        return -0.5 * (x - given["vector"].mean(1, keepdim=True)).square().sum(1) + 100 * given["label"]

    given = {"label": np.arange(200) % 3, "vector": torch.randn(200, 2, generator=keyed(1)).double()}
    nn.init.zeros_(flow.transform.net.layers.answer.weight)
    fitted = pf.fit_density(flow, shifted, given, anneal=anneal, steps=20, lr=1e-2, progress=False)
    assert fitted.score == pytest.approx(99.5 + 2 * math.log(2 * math.pi), abs=3)
    with pytest.raises(ValueError, match=r"one row of vector for each of 200 events; it is \(3, 2\)"):
        pf.fit_density(flow, shifted, {**given, "vector": torch.zeros(3, 2)})


def test_guidance_drops_conditions_by_name():
    """Pushed away from the label alone, the vector stays: where the label is null already, nothing changes."""
    torch.manual_seed(0)
    net = MaskedMLP(3, (2,), hidden=(8,), context_encoder=Sum())
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    step = pf.transforms.Autoregressive(net, pf.moves.Affine())
    flow = pf.Flow(step, pf.bases.StandardNormal(3), event=(3,), conditions=KINDS)
    x, context = torch.randn(3, 3), flow.context(BOTH)  # the last label is null
    by_label, by_vector, by_all = (flow.guided(0.5, conditions=c) for c in (("label",), ("vector",), ()))
    log_p = flow.log_prob(x, context)
    torch.testing.assert_close(by_label.log_prob(x, context)[2], log_p[2])
    answers = [guided.log_prob(x, context) for guided in (by_label, by_vector, by_all)]
    assert all(not torch.isclose(a[0], b[0]) for a, b in combinations([log_p, *answers], 2))
    with pytest.raises(ValueError, match=r"conditions \['label', 'vector'\]; got \['text'\]"):
        flow.guided(0.5, conditions=("text",))


def test_conditions_of_different_batch_shapes_meet(flow):
    context = flow.context({"label": 1, "vector": torch.zeros(5, 2)})
    assert {name: tuple(condition.null.shape) for name, condition in context.items()} == {"label": (5,), "vector": (5,)}


def test_two_contexts_become_one_batch():
    context = rows(read(KINDS, BOTH), (3,))
    both = concatenate(context, drop(context, torch.ones(3, dtype=torch.bool), "label"))
    assert both["label"].null.tolist() == [False, False, True, True, True, True]
    assert both["vector"].null.sum() == 0


def test_tokens_keep_their_mask():
    text = Condition(torch.randn(3, 7, 5), torch.zeros(3, dtype=torch.bool), torch.ones(3, 7, dtype=torch.bool))
    wide = rows({"text": text}, (2, 3))["text"]
    assert (wide.value.shape, wide.null.shape, wide.mask.shape) == ((6, 7, 5), (6,), (6, 7))


WRONG = {
    "nothing": (KINDS, None, "label: labels 0 … 2.*vector: vectors of shape .* called without a context"),
    "bare": (KINDS, torch.zeros(3, 2), "several conditions: give a dict"),
    "missing": (KINDS, {"label": 1}, "takes the conditions label.*; got 'label'"),
    "unknown": (KINDS, {**BOTH, "text": 1}, "got 'label', 'vector', 'text'"),
    "out of range": ({"label": Label(3)}, [0, 3], "0 … 2, or −1 for the null label; got 3"),
    "below the null": ({"label": Label(3)}, -2, "got -2"),
    "real labels": ({"label": Label(3)}, [0.5], "labels are integers"),
    "features": ({"vector": Vector(2)}, torch.zeros(3, 4), r"vectors of shape \(batch, 2\); got \(3, 4\)"),
    "too few axes": ({"image": Image(1, 2, 2)}, torch.zeros(2, 2), r"images of shape \(batch, 1, 2, 2\); got \(2, 2\)"),
    "batches": (
        KINDS,
        {"label": [0, 1], "vector": torch.zeros(3, 2)},
        "label of batch shape .2,., vector of batch shape .3,.",
    ),
    "infinite": ({"values": Values((2,))}, [math.inf, 0.0], "values of shape .* are finite; 1 elem"),
    "infinite noise": ({"noise": NoiseLevel(0.1, 0.3)}, [0.1, math.inf], "noise levels 0.1 … 0.3.*; got inf"),
    "needless": ({}, 3, "unconditional and was given a context"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name):
    kinds, given, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        read(kinds, given)


CONDITIONED = [name for name in TRIED if re.search(r" (context|text|numbers)=", name) and "STARFlow2" not in name]


@pytest.mark.parametrize("name", CONDITIONED)
@torch.no_grad()
def test_a_context_that_is_not_a_number_makes_its_own_row_no_number(name):
    flow, context = randomised(TRIED[name].build(), 0.1), context_of(TRIED[name], 3)
    x = 0.1 + 0.8 * torch.rand(3, *flow.event, generator=torch.Generator().manual_seed(0))
    z = flow.encode(x, context)
    expected = flow.log_prob(x, context), flow.decode(z, context)
    context[1] = torch.nan
    for plain, found in zip(expected, (flow.log_prob(x, context), flow.decode(z, context)), strict=True):
        assert found[1].isnan().any()
        torch.testing.assert_close(found[::2], plain[::2], rtol=1e-4, atol=1e-4)


def test_an_encoder_names_what_it_misses():
    with pytest.raises(ValueError, match="the condition 'label' is missing; the context has 'vector'"):
        LabelEmbedding(3, 8)(read({"vector": Vector(2)}, torch.zeros(4, 2)))


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, -1]), torch.tensor([0, 1, 2], dtype=torch.uint8)])
def test_raw_labels_go_through_a_compiler(labels):
    flow, x = picture(), torch.randn(3, 1, 8, 8)
    torch.compiler.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, labels), flow.log_prob(x, labels))


def test_labels_on_an_accelerator_are_not_waited_for():
    """On the meta device whatever asks for a value raises; a label out of range is out of the table's range too."""
    condition = Label(3).read(torch.tensor([0, 5, -7], device="meta"))
    assert condition.value.is_meta
    with torch.device("meta"):
        LabelEmbedding(3, 8)({"label": condition})


def test_a_vector_flow_takes_double_contexts():
    flow = vector(3, context=2)
    assert flow.log_prob(torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.float64)).shape == (4,)
