"""Every model: each of its options builds a flow that works, in one dtype; its published size, and a small twin."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest
import torch

import pushforward as pf
from pushforward import models
from pushforward.cli.main import train
from pushforward.codecs import GaussianNoise
from pushforward.data import Arrays
from pushforward.models import (
    FFJORD,
    IAF,
    MAF,
    NICE,
    NSF,
    ArBG,
    AutoregressiveLM,
    CircularNSF,
    ContinuousModel,
    Dequantiser,
    FlowMap,
    FlowPlusPlus,
    Glow,
    ImageContinuous,
    ImageFlowPlusPlus,
    ImageGlow,
    ImageRealNVP,
    InvertibleConvolution,
    ITARFlow,
    Jet,
    Mix1Options,
    MixDOptions,
    Model,
    RealNVP,
    ResidualFlow,
    Reverse,
    Shuffle,
    STARFlow,
    STARFlow2,
    STARFlowV,
    TarFlow,
    TarFlowLM,
    VectorFlowPlusPlus,
    VectorGlow,
    VectorRealNVP,
)
from pushforward.moves import Affine, Histogram, RationalQuadraticSpline, Shift, SoftClip, Tanh
from pushforward.networks import LanguageModelSizes, LayerOptions, UNetOptions, ViTOptions
from pushforward.objectives import (
    ContinuousLikelihood,
    Matching,
    MaximumLikelihood,
    MeanFlow,
    MinibatchOT,
    SelfDistillation,
    VariancePreserving,
)
from pushforward.recipe import from_json, to_json
from pushforward.recipes import RECIPES
from pushforward.solve import RK4, Dopri5, Hutchinson, Tsit5, sequential
from pushforward.training import Likelihood, Plan, minimise
from pushforward.transforms import Autoregressive, Circle, Exact, Integers, Interval, Roulette
from tests.toys import randomised

# every option of every model: values to try, one at a time, beside the first ones
LINE = (Interval(), Interval(0), Interval(-1, 1), Integers(0, 9))
VECTOR = {
    "features": (4, 5),
    "context": (0, 2),
    "classes": (0, 3),
    "supports": ((), LINE),
    "robust": (False, True),
    "hidden": ((8, 8), (8,)),
    "transforms": (2, 3),
}
AFFINE = (Affine(SoftClip()), Affine(Tanh()))
IMAGE = {"image": ((1, 8, 12), (3, 4, 4)), "classes": (0, 3)}
LANGUAGE = LanguageModelSizes(width=16, depth=1, heads=2, kv_heads=1, hidden=16, vocabulary=11)
MIXED = {
    "permutation": (InvertibleConvolution(), InvertibleConvolution(factored=False), Shuffle(), Reverse()),
    "coupling": (Glow.coupling, Shift()),
}
SIZES = {"transforms": (2, 3), "width": (16, 8)}
CONTINUOUS = {
    **{name: values for name, values in VECTOR.items() if name != "transforms"},
    "residual": (False, True),
    "frequency": (None, 2.0),
    "solve": (Dopri5(), Tsit5(rtol=1e-4, atol=1e-4), RK4(16)),
    "divergence": (None, Hutchinson(2)),
}
PIXELS = {
    **IMAGE,
    "image": ((1, 2, 2), (2, 4, 2)),
    "net": (UNetOptions(width=4, levels=1, blocks=1), ViTOptions(patch=2, width=4, depth=1, heads=1)),
    "solve": (Dopri5(), Dopri5(rtol=1e-2, atol=1e-2)),
    "divergence": (None, Hutchinson()),
}
OBJECTIVES = {
    "FlowMap": (SelfDistillation(), MeanFlow(condition_dropout=0.1)),
    "FlowMatching": (Matching(), Matching(path=VariancePreserving())),
    "OTFlowMatching": (Matching(coupling=MinibatchOT()), Matching()),
    "RectifiedFlow": (Matching(reflows=1), Matching(reflows=2)),
}
OPTIONS = {
    ArBG: {
        **{name: values for name, values in VECTOR.items() if name != "transforms"},
        "move": (Histogram(bins=8), Histogram(bins=6, bound=3.0)),
    },
    NICE: VECTOR,
    VectorRealNVP: {**VECTOR, "move": AFFINE},
    VectorGlow: {**VECTOR, **MIXED},
    VectorFlowPlusPlus: {**VECTOR, "components": (3, 2)},
    MAF: {**VECTOR, "move": AFFINE, "residual": (False, True)},
    IAF: {**VECTOR, "move": AFFINE},
    NSF: {
        **VECTOR,
        "move": (RationalQuadraticSpline(), RationalQuadraticSpline(4)),
        "autoregressive": (False, True),
        "regression": (True, False),
    },
    CircularNSF: {**VECTOR, "supports": ((), (Circle(0, 360), Interval(0), Circle(), Integers(0, 9))), "bins": (4, 8)},
    ResidualFlow: {**VECTOR, "limit": (0.9, 0.5), "log_det": (Exact(), Roulette(seed=0))},
    **{
        getattr(models, f"{kind}{name}"): {**options, "objective": objectives}
        for name, objectives in OBJECTIVES.items()
        for kind, options in (("Vector", CONTINUOUS), ("Image", PIXELS))
    },
    FFJORD: {
        **CONTINUOUS,
        "objective": (ContinuousLikelihood(), ContinuousLikelihood(jacobian=0.01), MaximumLikelihood()),
    },
    ImageRealNVP: {**IMAGE, "levels": (2, 1), "width": (8, 4), "blocks": (1, 2), "move": AFFINE},
    ImageGlow: {**IMAGE, **MIXED, **SIZES, "levels": (2, 1)},
    ImageFlowPlusPlus: {**IMAGE, "width": (8, 16), "blocks": (1, 2), "components": (3, 2)},
    ITARFlow: {
        **IMAGE,
        "patch": (2, 4),
        "width": (16, 8),
        "depths": ((1, 1), (1, 2, 1)),
        "noise": ((0.01, 0.3), (0.1, 0.1)),
    },
    Jet: {
        **IMAGE,
        **SIZES,
        "image": ((1, 8, 8), (3, 8, 16)),
        "patch": (2, 4),
        "depth": (1, 2),
        "heads": (1, 2),
        "move": AFFINE,
    },
    STARFlow: {
        "image": ((2, 4, 4), (1, 4, 6)),
        "patch": (1, 2),
        "width": (64, 32),
        "deep_width": (None, 32),
        "depths": ((1, 1), (1, 1, 2)),
        "text": (None, (3, 5)),
        "classes": (0, 3),
        "reverse_first": (True, False),
        "extent": (32, 8),
        "soft_clip": (4.0, None),
        "layer": (LayerOptions(), LayerOptions(norm="rms", gated=True, qk_norm=True, key_heads=1)),
    },
    STARFlow2: {
        "image": ((2, 4, 4), (1, 4, 6)),
        "patch": (2, 1),
        "width": (32, 64),
        "deep_width": (None, 64),
        "depths": ((1, 1), (1, 1, 2)),
        "language": (LANGUAGE, replace(LANGUAGE, tied=False)),
        "sees": (True, False),
        "text": (3, 5),
        "extent": (4, 8),
        "layer": (LayerOptions(head=16), LayerOptions(head=16, norm="rms", key_heads=1)),
    },
    STARFlowV: {
        "image": ((2, 4, 4), (1, 4, 6)),
        "frames": (2, 3),
        "patch": (2, 1),
        "width": (32, 64),
        "deep_width": (None, 64),
        "depths": ((1, 1), (1, 1, 2)),
        "text": (None, (3, 5)),
        "classes": (0, 3),
        "numbers": ((), ("rate",)),
        "reverse_first": (True, False),
        "extent": (32, 8),
        "soft_clip": (4.0, None),
        "layer": (LayerOptions(), LayerOptions(norm="rms", key_heads=1)),
    },
    TarFlow: {**IMAGE, **SIZES, "patch": (2, 4), "depth": (1, 2), "move": (Affine(), Shift())},
    TarFlowLM: {
        "tokens": (4, 2),
        "features": (2, 3),
        "patch": (1, 2),
        "width": (16, 32),
        "depths": ((1, 1), (1,)),
        "move": (Mix1Options(3, (8,)), Affine(Tanh())),
        "first": (None, MixDOptions(5)),
    },
    AutoregressiveLM: {"tokens": (6, 4), "vocabulary": (5, 7), "width": (16, 32), "depth": (1, 2)},
}


QUICK = "ImageFlowMatching classes=3"  # the one continuous flow of images that is tried in every run of the suite
TRAINED_OTHERWISE = (models.OTFlowMatching, models.RectifiedFlow)  # their flows are those of FlowMatching
OF_TRAINING = {"objective"}  # options that change no flow


def tried() -> Iterator[tuple[str, Model]]:
    for model, options in OPTIONS.items():
        first = model(**{option: values[0] for option, values in options.items()})
        yield model.__name__, first
        of_flows = () if isinstance(first, TRAINED_OTHERWISE) else options.keys() - OF_TRAINING
        for option in sorted(of_flows):
            for value in options[option][1:]:
                yield f"{model.__name__} {option}={value}", replace(first, **{option: value})


TRIED = dict(tried())
EACH = [  # a solve for each of many options of images takes long
    pytest.param(model, id=name, marks=[pytest.mark.slow] * (isinstance(model, ImageContinuous) and name != QUICK))
    for name, model in TRIED.items()
]
FIRST = {
    kind.__name__: TRIED[kind.__name__]
    for kind in OPTIONS
    if not issubclass(kind, (ImageContinuous, *TRAINED_OTHERWISE))
}
SOLVED = [name for name, model in FIRST.items() if isinstance(model, ContinuousModel)]


def concrete(kind: type) -> set[type]:
    inner = set().union(*map(concrete, kind.__subclasses__()))
    return inner or {kind}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def context_of(model: Model, n: int) -> torch.Tensor | None:
    if isinstance(model, STARFlow2):
        return torch.arange(2 * n).reshape(n, 2) % 11
    if getattr(model, "classes", 0):
        return torch.arange(n) % model.classes
    if getattr(model, "text", None):
        return torch.randn(n, *model.text, generator=torch.Generator().manual_seed(0))
    if getattr(model, "numbers", ()):
        return torch.linspace(0, 1, n)
    features = getattr(model, "context", 0)
    return torch.randn(n, features, generator=torch.Generator().manual_seed(0)) if features else None


def test_every_option_of_every_model_is_tried():
    ours = {kind for kind in concrete(Model) if kind.__module__.startswith("pushforward.")}
    assert ours - {models.Parts} == set(OPTIONS)  # which describes any flow, and has no options
    for model, options in OPTIONS.items():
        assert {field.name for field in fields(model)} == set(options), model
        assert all(len(set(values)) > 1 for values in options.values()), model


DEFAULTS = [
    *(pytest.param(*each.values, torch.float64, id=f"{each.id}, double", marks=each.marks) for each in EACH),
    *(pytest.param(model, torch.float32, id=f"{name}, single") for name, model in FIRST.items()),  # and all below
]


@pytest.mark.parametrize(("model", "default"), DEFAULTS)
def test_a_flow_has_one_dtype_and_answers_in_that_of_rows_where_it_is_wider(model, default):
    torch.manual_seed(0)
    with default_dtype(default):
        flow = model.build()
    tensors = [*flow.parameters(), *flow.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {default}
    context = context_of(model, 8)
    drawn = flow.sample(() if context is not None else 8, context)
    assert drawn.dtype == default
    flow.initialize(drawn, context)
    for rows in (torch.float32, torch.float64):
        x = 0.9 * drawn.to(rows)
        z, log_p = flow.encode(x, context), flow.log_prob(x, context)
        assert z.isfinite().all()
        assert log_p.isfinite().all()
        wide = torch.promote_types(default, rows)
        assert {z.dtype, log_p.dtype} == {wide}
        for gradients in (False, True)[: 1 + (rows != default)]:  # with them, it has drawn in its own dtype
            with torch.set_grad_enabled(gradients):
                assert flow.decode(z.to(rows), context).dtype == wide


@pytest.mark.parametrize("model", EACH)
def test_samples_lie_in_the_support(model):
    torch.manual_seed(0)
    context = context_of(model, 20)
    flow = model.build()
    x = flow.sample(() if context is not None else 20, context)
    inside = flow().support.check(x) if context is None else flow(context).support.check(x)
    assert inside.shape == (20,)
    assert inside.all()
    assert flow(context).support.event_dim == x.dim() - 1
    assert x.dtype == torch.float32
    if None not in flow.event:
        assert tuple(flow.transform.latent_shape(flow.event)) == tuple(flow.base.event), "sample(size=) would fail"


@pytest.mark.parametrize("model", EACH)
def test_a_flow_of_the_meta_device_scores_there_and_is_complete_once_it_is_loaded(model):
    """Masks and orders, which are not saved, included; memory is made by `to_empty`, or taken from the state."""

    def solved(flow: pf.Flow) -> pf.Flow:
        return flow.solved_by(RK4(16)) if isinstance(model, ContinuousModel) else flow  # adaptive steps need values

    flow, context = randomised(model.build(), 0.1), context_of(model, 8)
    x = 0.1 + 0.8 * torch.rand(8, *flow.event)
    log_p, z = solved(flow).log_prob_and_latent(x, context)
    decoded = solved(flow).decode(z, context)
    for assign in (False, True):
        with torch.device("meta"):
            other = model.build()
        assert all(t.is_meta for t in (*other.parameters(), *other.buffers()))
        if not assign:
            with torch.no_grad():  # whatever is made on the way is made there too
                assert solved(other).log_prob(x.to("meta"), context).is_meta
            other = other.to_empty(device="cpu")
            for tensor in (*other.parameters(), *other.buffers()):
                tensor.detach().fill_(7)  # what memory happens to hold
            other = other.to_empty(device="cpu")
        other.load_state_dict(flow.state_dict(), assign=assign)
        assert torch.equal(solved(other).log_prob_and_latent(x, context)[0], log_p)
        assert torch.equal(solved(other).decode(z, context), decoded)
        pickle.loads(pickle.dumps(copy.deepcopy(other))).load_state_dict(flow.state_dict())


@pytest.mark.parametrize("model", EACH)
def test_rows_with_an_infinite_element_have_a_density_of_zero(model):
    """And finite gradients; the other rows are as they were, and NaN stays NaN."""
    flow, context = randomised(model.build()), context_of(model, 9)
    x = 0.1 + 0.8 * torch.rand(9, *flow.event)
    clean = flow.log_prob(x, context)
    elements = x.view(9, -1)
    for row, value in ((1, math.inf), (4, -math.inf)):
        elements[row, 0] = elements[row + 1, -1] = elements[row + 2] = value
    leaf = x.clone().requires_grad_()
    log_p = flow.log_prob(leaf, context)
    assert log_p.dtype == torch.float32
    assert log_p[1:7].eq(-math.inf).all()
    torch.testing.assert_close(log_p[[0, 7, 8]], clean[[0, 7, 8]])
    torch.where(log_p.isfinite(), log_p, 0).sum().backward()
    gradients = [leaf.grad, *(p.grad for p in flow.parameters() if p.grad is not None)]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert flow.encode(x, context)[1:7].isinf().all()
    elements[7, 0], elements[8, 0] = math.inf, -math.inf
    elements[7:, 1] = math.nan
    assert flow.log_prob(x, context)[7:].isnan().all()
    with pytest.raises(ValueError, match="8 of 9 rows of x are not finite, the first is row 1"):
        flow.initialize(x, context)


@pytest.mark.parametrize("name", [name for name in FIRST if name not in SOLVED])  # whose solvers raise
def test_finite_rows_so_far_out_that_arithmetic_overflows_are_never_nan(name):
    """The other rows are as they were; where weights or an element are NaN, so is the answer."""
    torch.manual_seed(0)
    model = FIRST[name]
    flow, context = randomised(model.build()), context_of(model, 11)
    x = 0.1 + 0.8 * torch.rand(11, *flow.event)
    clean = flow.log_prob(x, context)
    elements = x.view(11, -1)
    for row, value in ((1, 1e10), (4, 1e25), (7, 3e38)):
        elements[row], elements[row + 1], elements[row + 2, 0] = value, elements[row + 1] * -value, value
    log_p, (again, z) = flow.log_prob(x, context), flow.log_prob_and_latent(x, context)
    for answer in (log_p, again, z, flow.encode(x, context)):
        assert not answer.isnan().any()
    assert log_p[1:10].lt(math.inf).all()
    torch.testing.assert_close(log_p[[0, 10]], clean[[0, 10]])
    torch.testing.assert_close(again, log_p)
    elements[0, 0] = math.nan
    assert flow.log_prob(x, context).isnan().tolist() == [True, *[False] * 10]
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(math.nan)
    assert flow.log_prob(x, context).isnan().any()


def test_rows_that_overflow_have_no_part_in_gradients():
    flow = randomised(FIRST["TarFlow"].build())
    x = torch.cat([torch.full((1, *flow.event), 1e25), torch.rand(3, *flow.event)]).requires_grad_()
    log_p = flow.log_prob(x, context_of(FIRST["TarFlow"], 4))
    assert log_p[0] == -math.inf
    log_p[1:].sum().backward()
    assert all(t.grad.isfinite().all() for t in (x, *flow.parameters()) if t.grad is not None)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_a_dequantiser_has_one_dtype(default):
    with default_dtype(default):
        codec = Dequantiser(image=(1, 8, 8), width=8, blocks=1, components=3).build()
        x, log_q = codec.encode(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    assert {t.dtype for t in (*codec.parameters(), x, log_q)} == {default}


# models of vectors and of images under one name
TWINS = {Glow: (VectorGlow, ImageGlow), RealNVP: (VectorRealNVP, ImageRealNVP)}
TWINS[FlowPlusPlus] = (VectorFlowPlusPlus, ImageFlowPlusPlus)
TWINS[FlowMap] = (models.VectorFlowMap, models.ImageFlowMap)


@pytest.mark.parametrize("name", TWINS)
def test_one_name_serves_vectors_and_images(name):
    for kind, chosen in zip(TWINS[name], ({"features": 6}, {"image": (3, 32, 32)}), strict=True):
        model = name(**chosen)
        assert type(model) is kind
        assert isinstance(model, name)
        assert model == kind(**chosen)
        assert hash(model) == hash(kind(**chosen))
        assert repr(model).startswith(f"{kind.__name__}(")
        for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model)), replace(model)):
            assert type(twin) is kind
            assert twin == model
        recipe = replace(RECIPES["cifar10_small_glow"](), model=model)
        assert f'"kind": "{kind.__name__}"' in to_json(recipe)
        assert from_json(to_json(recipe), "here") == recipe
    with pytest.raises(TypeError, match="not both; got neither"):
        name()
    with pytest.raises(TypeError, match="not both; got features, image"):
        name(features=6, image=(3, 32, 32))
    with pytest.raises(TypeError, match="'levles'"):
        name(image=(3, 32, 32), levles=2)


@pytest.mark.parametrize(("field", "words"), Glow.words.items(), ids=str)
def test_words_stand_for_objects(field, words, monkeypatch, tmp_path):
    """In the configuration, in recipes of before, and on the command line."""
    made, recipe = [], RECIPES["cifar10_small_glow"]()
    monkeypatch.setattr(pf.runs, "train", lambda recipe, *_, **__: made.append(recipe))
    for word, value in words.items():
        expected = replace(recipe, model=replace(recipe.model, **{field: value}))
        assert getattr(Glow(features=4, **{field: word}), field) == value
        old = json.loads(to_json(expected))
        old["recipe"]["model"][field] = word
        assert from_json(json.dumps(old), "here") == expected
        for arguments in ([f"--model.{field}", word], [f"--model.{field}={word}"]):
            train("cifar10_small_glow", "--out", str(tmp_path), *arguments, "--model.transforms", "3")
            assert made.pop() == replace(expected, model=replace(expected.model, transforms=3))
    with pytest.raises(ValueError, match=f"{field} is an object, or one of .*; got 'rotate'"):
        train("cifar10_small_glow", "--out", str(tmp_path), f"--model.{field}", "rotate")


@pytest.mark.parametrize("name", FIRST)
def test_nothing_is_tried_unasked(name):
    """Inverse solvers are timed where `Autotuned` is asked for, and nowhere else."""
    solvers = [part.solve for part in FIRST[name].build().modules() if isinstance(part, Autoregressive)]
    assert set(solvers) <= {sequential}


@pytest.mark.parametrize("name", ["MAF", "IAF"])
def test_a_gaussian_in_disguise_is_warned_of_where_it_is_built_and_not_where_it_is_loaded(name, tmp_path):
    model = getattr(models, name)(features=1, transforms=1, hidden=(8,))
    with pytest.warns(UserWarning, match=rf"a {name} of one feature .* Use NSF\(features=1, autoregressive=True\)"):
        flow = model.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.save(flow, tmp_path / "run", model=model)
        pf.load(tmp_path / "run")
    NSF(features=1, autoregressive=True, transforms=1).build()


# the published configurations: (the model, its parameters, noise on [−1, 1])
TARFLOWS = {
    "mnist": (TarFlow(image=(1, 28, 28), patch=4, transforms=4, width=128, depth=4, classes=10), 3_227_776, 0.1),
    "imagenet64": (TarFlow(image=(3, 64, 64), patch=2), 460_142_784, 0.05),
    "imagenet64 by class": (TarFlow(image=(3, 64, 64), patch=2, classes=1000), 466_286_784, 0.05),
    "imagenet128": (TarFlow(image=(3, 128, 128), patch=4, width=1024, classes=1000), 823_927_552, 0.15),
    "afhq256": (TarFlow(image=(3, 256, 256), patch=8, classes=3), 463_481_856, 0.07),
}


ITARFLOWS = {
    "itarflow 64": (ITARFlow(image=(3, 64, 64), patch=2, width=1280, classes=1000), 771_394_656),
    "itarflow 128": (ITARFlow(image=(3, 128, 128), patch=4, width=1600, classes=1000), 1_202_502_784),
    "itarflow 256": (ITARFlow(image=(3, 256, 256), patch=8, width=2176, classes=1000), 2_220_731_392),
}


@pytest.mark.parametrize("name", TARFLOWS | ITARFLOWS)
def test_tarflow_has_the_published_parameter_count(name):
    model, parameters, *_ = (TARFLOWS | ITARFLOWS)[name]
    with torch.device("meta"):
        flow = model.build()
    assert sum(p.numel() for p in flow.parameters()) == parameters


@pytest.mark.parametrize("name", TARFLOWS)
def test_twin_of_a_sixteenth_of_the_width_trains_samples_and_denoises(name):
    model, _, sigma = TARFLOWS[name]
    twin = replace(model, width=model.width // 16, transforms=2, depth=2).build()
    images = torch.randint(256, (1, *model.image), dtype=torch.uint8)
    labels = torch.zeros(1, dtype=torch.long)
    before = twin.state_dict()["transform.parts.1.net.answer.weight"].clone()

    objective = Likelihood(twin, GaussianNoise(256, sigma), condition_dropout=0.1)
    data = Arrays(images, context=labels if model.classes else None)
    minimise(objective, data, Plan(steps=1, batch=1, lr=1e-3, warmup=1))
    assert not torch.equal(twin.state_dict()["transform.parts.1.net.answer.weight"], before)

    x = twin.sample(1, 0 if model.classes else None)
    clean = twin.denoise(x, sigma, 0 if model.classes else None)
    assert clean.shape == (1, *model.image)
    assert clean.isfinite().all()
    assert not torch.equal(clean, x)


def test_steps_read_in_alternating_order():
    """The first step leaves the first patch as it is, the second the last, and z stays in raster order."""
    flow = TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=8, depth=1).build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    patches, first, second = (step.z for step in flow.trace(torch.randn(3, 1, 4, 4)))
    moved = [[not torch.equal(a[:, t], b[:, t]) for t in range(4)] for a, b in ((patches, first), (first, second))]
    assert moved == [[False, True, True, True], [True, True, True, False]]


def test_volume_preserving():
    flow = TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=8, depth=1, move=Shift()).build()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(100, 1, 4, 4)
    z, log_det = flow.transform(x)
    assert torch.all(log_det == 0)
    before = flow.log_prob(x).mean()
    for _ in range(100):
        flow.base.observe(z)
    assert flow.log_prob(x).mean() > before, "log_prob uses the base that observed"
