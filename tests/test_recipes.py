"""Every recipe can be run: its twin in small learns; and what a recipe says of itself holds."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.codecs import CodedFlow, GaussianNoise
from pushforward.data import Arrays, CaptionDocuments, Document, Documents, Images, Mirrored, TextSource
from pushforward.evaluation import mean_cost
from pushforward.models import BY_WORD, STARFlowV
from pushforward.randomness import keyed
from pushforward.recipe import differences
from pushforward.recipes import RECIPES
from pushforward.training import Plan, minimise, networks
from pushforward.transforms import Interval


def stripes(recipe: pf.Recipe) -> Images | Arrays | Documents:
    """Data that are easy to learn, of the recipe's kind: images of which each row is of one grey, that of its class or
    text; or texts of two tokens in turn."""
    if isinstance(recipe.data, TextSource):
        return Arrays((torch.arange(recipe.model.tokens) + torch.arange(64)[:, None]) % 2)
    channels, height, width = recipe.codec.data_shape(recipe.model.image)
    levels, classes = recipe.codec.levels, getattr(recipe.model, "classes", 0)
    text = getattr(recipe.model, "text", None)
    labels = torch.arange(64) % max(classes, 2)
    rows = (torch.arange(height) + labels[:, None]) % 2 * (levels // 2)
    images = rows[:, None, :, None].expand(64, channels, height, width)
    if isinstance(recipe.model, STARFlowV):
        images = images[:, None].expand(-1, 2, -1, -1, -1)  # of two frames
    if isinstance(recipe.data, CaptionDocuments):
        return Documents([Document([[label, 7], image]) for label, image in zip(labels, images.byte(), strict=True)])
    if text:
        return Arrays(images, labels[:, None, None].float().expand(-1, *text))
    if images.dim() == 5:
        return Arrays(images)
    return Images(images, labels if classes else None, levels, classes)


@pytest.mark.parametrize("name", RECIPES)
def test_the_small_twin_of_a_recipe_learns(name):
    twin = RECIPES[name]().small()
    objective, data = twin.build(), stripes(twin)
    images, context = data.fetch(range(len(data)))
    if isinstance(data, Documents):
        images, context = images[:, 0], context["tokens"][:, :2]

    def bound() -> torch.Tensor:
        coded = CodedFlow(objective.flow.eval(), objective.codec)
        return coded.bound(images, context, generator=keyed(0)).mean().detach()

    before = bound()
    mirrored = getattr(twin.data, "mirrored", False)
    minimise(objective, Mirrored(data) if mirrored else data, twin.train)  # pyright: ignore[reportArgumentType]
    assert bound() > before + 1


def test_a_recipe_builds_the_same_weights_every_time_and_touches_no_generator(monkeypatch):
    """Not those of other devices either, which `torch.manual_seed` would start anew."""
    for device in (torch.cuda, torch.mps, torch.xpu):
        for name in ("manual_seed", "manual_seed_all"):
            monkeypatch.setattr(device, name, lambda *_: pytest.fail("a generator of the user's was seeded"), False)
    monkeypatch.setattr(torch, "manual_seed", lambda *_: pytest.fail("all generators were seeded"))
    twin, state = RECIPES["digits"]().small(), torch.get_rng_state()
    one, two = (twin.build().state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)
    other = replace(twin, train=replace(twin.train, seed=1)).build().state_dict()
    assert not torch.equal(
        one["flow.transform.parts.1.net.positions.weight"], other["flow.transform.parts.1.net.positions.weight"]
    )


@pytest.mark.parametrize(
    ("name", "steps", "warmup"),
    [("imagenet64_bits", 500_455, 5004), ("imagenet128_by_class", 533_819, 1668), ("afhq256", 228_593, 57)],
)
def test_the_published_runs_go_through_their_epochs(name, steps, warmup):
    plan = RECIPES[name]().train
    assert (plan.steps, plan.warmup) == (steps, warmup)
    assert plan.lr_at(plan.steps) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "data"),
    [
        ("imagenet256_by_class", 1_412_255_816, (3, 256, 256)),
        ("text_to_image", 3_858_281_544, (3, 256, 256)),
        ("text_to_video", 6_890_096_528, (None, 3, 368, 640)),
    ],
)
def test_the_published_models_of_latents_have_their_size(name, parameters, data):
    recipe = RECIPES[name]()
    with torch.device("meta"):
        flow = recipe.objective.build(recipe.model.build(), GaussianNoise(256, sigma=0.5)).flow
    assert sum(p.numel() for p in flow.parameters()) == parameters
    assert recipe.takes().event == data


def test_recipes_differ_by_their_dotted_names():
    digits, mnist = RECIPES["digits"](), RECIPES["mnist"]()
    assert differences(digits, digits) == []
    assert ("model.width", 64, 128) in differences(digits, mnist)
    assert ("codec", digits.codec, mnist.codec) in differences(digits, mnist)


@pytest.mark.parametrize("option", ["accumulate", "recomputed", "compiled"])
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_options_of_a_plan_change_nothing_but_the_cost(option, monkeypatch):
    """One step; a flow goes through torch.compile without inductor, which is slow to start."""
    twin = RECIPES["digits"]().small()
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_(module, backend="aot_eager"))

    def after_a_step(plan: Plan):
        objective = twin.build()
        minimise(objective, stripes(twin), plan)
        return objective.flow.state_dict()

    plain = replace(twin.train, steps=1, precision="float32")
    changed = replace(plain, **{option: 2 if option == "accumulate" else True})
    one, two = after_a_step(plain), after_a_step(changed)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if not name.endswith("qkv.bias"):  # a key's bias has no gradient but rounding's, whose sign AdamW follows
            torch.testing.assert_close(tensor, two[name], atol=1e-5, rtol=1e-4, msg=name)


def test_networks_that_recompute_keep_less():
    """What autograd keeps from the forward pass to the backward one, in bytes."""

    def kept(recomputed: bool) -> int:
        twin = RECIPES["digits"]().small()
        objective, sizes = twin.build(), {}
        weights = {p.untyped_storage().data_ptr() for p in objective.parameters()}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with (
            pf.training.prepare.prepared(objective, replace(twin.train, recomputed=recomputed)),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            objective(stripes(twin).images, stripes(twin).labels)
        return sum(sizes.values())

    assert kept(recomputed=True) < kept(recomputed=False) / 4


@pytest.mark.parametrize("option", ["recomputed", "reversible", "captured"])
def test_after_a_training_a_flow_pickles_and_trains_again(option):
    torch.manual_seed(0)
    flow, x = pf.models.NSF(features=2, hidden=(8, 8), transforms=2).build(), torch.randn(64, 2)
    plan = Plan(steps=2, batch=16, **{option: True})
    for _ in range(2):
        trained = minimise(pf.training.Likelihood(flow), Arrays(x), plan)
        for one in (flow, trained):
            assert torch.equal(pickle.loads(pickle.dumps(one)).log_prob(x), one.log_prob(x))
            assert len(list(one.trace(x))) == 6, "it has its own steps again"


@pytest.mark.parametrize("model", [pf.models.FlowMatching, pf.models.FlowMap, pf.models.FFJORD])
def test_a_continuous_flow_is_no_reversible_chain(model):
    with pytest.raises(ValueError, match="this flow is continuous: give recomputed=True"):
        pf.fit(model(features=2, hidden=(8,)).build(), torch.randn(64, 2), steps=1, reversible=True, progress=False)


def test_the_networks_of_an_objective_are_found():
    objective = RECIPES["digits"]().build()
    assert [type(network).__name__ for network in networks(objective)] == ["CausalTransformer"] * 4


@pytest.mark.parametrize("word", BY_WORD)
def test_every_model_of_a_table_has_a_recipe_whose_small_twin_learns(word, tmp_path):
    rows = torch.randn(300, 3, generator=keyed(0)).cumsum(1) * 10 + 50
    np.savez(tmp_path / "table.npz", x=rows.numpy())
    line = {"x1": Interval(), "x2": Interval()}  # a model of circles takes columns for angles otherwise
    twin = pf.recipes.table(tmp_path / "table.npz", context=("x0",), supports=line, model=word).small()
    twin = replace(twin, train=replace(twin.train, steps=30, batch=64))
    assert twin.model.hidden == (16,) * len(twin.model.hidden)
    objective, held_out = twin.build(), twin.held_out_data()
    objective.initialize(*twin.training_data().fetch(range(200)))
    before = mean_cost(CodedFlow(objective.flow, objective.codec), held_out)[0]
    minimise(objective, twin.training_data(), twin.train)
    assert mean_cost(CodedFlow(objective.flow.eval(), objective.codec), held_out)[0] < before - 0.1
