"""Every function makes its tensors where its arguments are, or says that they belong on the CPU.

Nobody who runs these need have a second device. So torch makes tensors on the meta device where it is not told of
another: one of these cannot be added to those on the CPU, nor read. And functions and models run on a GPU that is not
there (`tests.gpu`), where devices cannot be mixed and waits are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import pushforward as pf
from pushforward import evaluation as ev
from pushforward.arrays import check_finite
from pushforward.codecs import CodedFlow, GaussianNoise, Identity, TokenCells, codec_of
from pushforward.compression import compress, decompress
from pushforward.data import Arrays, Document, Documents, Order, digits
from pushforward.denoising import Iterative
from pushforward.document_flow import DocumentFlow
from pushforward.editing import Langevin, RandomWalk, hole
from pushforward.evaluation.importance import Importance
from pushforward.fitting import looking_at
from pushforward.models import MAF, Dequantiser, FlowMatching
from pushforward.objectives import (
    Coupling,
    DocumentStages,
    InverseAlignment,
    Matching,
    MaximumLikelihood,
    MinibatchOT,
    Progressive,
    Reflowed,
    SemidiscreteOT,
    TrainedFlow,
    VelocityRegression,
)
from pushforward.recipes import RECIPES
from pushforward.sampling import Sampling, samples
from pushforward.training import Likelihood, Plan, ReverseKL, minimise
from tests import test_models as models
from tests.gpu import GPU, pretended
from tests.test_codecs import ALL as CODECS

N = 6
FACTORIES = {
    torch.arange,
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tensor,
    torch.zeros,
}


class Elsewhere(TorchFunctionMode):
    """Tensors are made on the meta device where no device is named."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in FACTORIES and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


INTEGERS = torch.arange(N * 64, dtype=torch.uint8).reshape(N, 1, 8, 8) % 17
IMAGES = GaussianNoise(17, 0.1).clean(INTEGERS)
LABELS = torch.arange(N)
ROWS = torch.linspace(-1, 1, 2 * N).reshape(N, 2)
CONTEXT = ROWS.flip(0)[:, :1]
FEATURES = torch.linspace(-1, 1, 200).reshape(50, 4).square()
MEANS = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
HOLE = hole("left", (8, 8))
STEPS = Iterative(2)
PLAN = Plan(steps=1, batch=4, precision="float32")


@cache
def images() -> CodedFlow:
    objective = RECIPES["digits"]().small().build()
    return CodedFlow(objective.flow, objective.codec)


@cache
def rows() -> pf.Flow:
    return MAF(features=2, context=1, transforms=1, hidden=(8,)).build()


@cache
def free() -> pf.Flow:
    """A flow of vectors, conditioned on nothing."""
    return MAF(features=2, transforms=2, hidden=(8,)).build()


@cache
def learned_noise() -> CodedFlow:
    codec = Dequantiser(image=(1, 8, 8), levels=17).small().build()
    codec.initialize(INTEGERS)
    return CodedFlow(images().flow, codec)


@cache
def velocity() -> pf.Flow:
    return FlowMatching(features=2, hidden=(8,)).build()


@cache
def noisy() -> pf.Flow:
    """A flow that is told the level of noise."""
    return models.FIRST["ITARFlow"].build()


@cache
def mixed() -> DocumentFlow:
    """A flow of documents."""
    return models.FIRST["STARFlow2"].build()


@cache
def texts() -> CodedFlow:
    return CodedFlow(models.FIRST["AutoregressiveLM"].build(), TokenCells(5))


def document(flow: DocumentFlow) -> Document:
    return Document([[1, 2, 3], torch.linspace(-1, 1, 32, device="cpu").reshape(flow.event)])


def documents_trained() -> None:
    minimise(DocumentStages(stages=("both",)).build(mixed(), Identity()), Documents([document(mixed())] * 4), PLAN)


def compressed() -> None:
    tokens = torch.arange(6 * 6, device=INTEGERS.device).reshape(6, 6) % 5
    decompress(texts(), compress(texts(), tokens))


def inverse_learned() -> None:
    with torch.device("cpu"):
        inverse = pf.LearnedInverse(images().flow, width=16, depth=1)
    objective = InverseAlignment(inverse, images().codec)
    minimise(objective, digits("train"), PLAN).sample((), LABELS)


def matched(coupling: Callable[[], Coupling]) -> None:
    """A step of flow matching with this coupling, of rows without a context."""
    objective = VelocityRegression(velocity(), Identity(), Matching(coupling=coupling()))
    minimise(objective, Arrays(ROWS), PLAN)


COUPLINGS = {
    "minibatch": MinibatchOT,
    "semidiscrete": lambda: SemidiscreteOT(steps=2, batch=8),
    "reflowed": lambda: Reflowed(velocity(), count=8),
    "a trained flow's": lambda: TrainedFlow(free()),
}


def energy(x: torch.Tensor) -> torch.Tensor:
    return -0.5 * x.square().sum(1)


def there_and_back(codec: pf.codecs.Codec, data: torch.Tensor) -> None:
    x, log_q = codec.encode(data)
    codec.decode(x), codec.clean(data), codec.in_unit(log_q, data)


CALLS: dict[str, Callable[[], object]] = {
    "log_prob": lambda: images().flow.log_prob(IMAGES, 3),
    "sample": lambda: images().flow.sample((), LABELS),
    "sample and log_prob of vectors": lambda: rows().sample_and_log_prob(3, CONTEXT),
    "decode": lambda: images().flow.decode(images().flow.encode(IMAGES, LABELS), LABELS),
    "trace": lambda: list(images().flow.trace(IMAGES, 1)),
    "guided": lambda: images().flow.guided(1.0, attention_temperature=0.5).sample((), LABELS),
    "denoise": lambda: images().flow.denoise(IMAGES, 0.1, LABELS),
    "denoise by iteration": lambda: noisy().denoise(
        torch.zeros(2, *noisy().event, device=LABELS.device), 0.1, by=STEPS
    ),
    "jacobi": lambda: images().flow.sample((), LABELS, solve=pf.solve.jacobi),
    "graphed": lambda: [pf.graphed(rows()).sample((), CONTEXT) for _ in range(3)],
    "document_log_prob": lambda: mixed().document_log_prob([document(mixed())]),
    "write_text": lambda: mixed().write_text([document(mixed())], end=0, most=2),
    "draw_image": lambda: mixed().draw_image([document(mixed())]),
    "compression": compressed,
    "classify": lambda: images().flow.classify(IMAGES),
    "check": lambda: str(images().flow.check(IMAGES, LABELS)),
    "distribution": lambda: rows()(CONTEXT).log_prob(rows()(CONTEXT).rsample((2,))),
    "initialize": lambda: rows().initialize(ROWS, CONTEXT),
    **{f"codec: {type(codec).__name__}": partial(there_and_back, codec, data) for codec, data, *_ in CODECS},
    "codec: initialized": lambda: there_and_back(learned_noise().codec, INTEGERS),
    "bound": lambda: images().bound(INTEGERS, LABELS, samples=2),
    "coded classify": lambda: images().classify(INTEGERS),
    "samples": lambda: list(samples(images(), Sampling(guidance=1.0), stop=3)),
    "held_out": lambda: ev.held_out(images(), digits("test").images[:N], 1),
    "held_out_mean": lambda: str(ev.held_out_mean(images(), INTEGERS, -1)),
    "looking_at": lambda: looking_at(Arrays(ROWS, CONTEXT, torch.ones_like(ROWS[:, 0])), Identity())(rows()),
    "importance": lambda: str(ev.importance(free(), energy, n=50)),
    "importance, printed": lambda: str(Importance(ROWS, FEATURES.flatten())),
    "calibration": lambda: str(ev.check_calibration(rows(), ROWS, CONTEXT, draws=19)),
    "coverage": lambda: ev.check_calibration(rows(), ROWS, CONTEXT, draws=9).histogram(),
    "compare": lambda: str(ev.compare(FEATURES, FEATURES.flip(0) + 0.1, features="none")),
    "sample_quality": lambda: ev.sample_quality(images(), digits("test"), ev.Extractor(MEANS, name="means"), 40),
    "grid": lambda: ev.captioned({"x": ev.grid(IMAGES, 3)}, 1),
    "directions": lambda: pf.editing.directions(images().flow, INTEGERS, LABELS % 2, codec=images().codec),
    "edit": lambda: pf.editing.edit(images().flow, IMAGES, images().flow.encode(IMAGES, 1)[0], 0.5),
    "read": lambda: pf.editing.read(images().flow, IMAGES, images().flow.encode(IMAGES, 1)[0]),
    "interpolate": lambda: pf.editing.interpolate(images().flow, IMAGES[:2], IMAGES[2:4], 3),
    "inpaint by Langevin": lambda: pf.editing.inpaint(images().flow, IMAGES, HOLE, 2, proposal=Langevin()),
    "inpaint by a walk": lambda: pf.editing.inpaint(images().flow, IMAGES, HOLE, 2, proposal=RandomWalk()),
    "order": lambda: Order(5, seed=1)[2:9],
    "digits": lambda: digits("test").fetch([3, 1]),
    "arrays": lambda: Arrays(ROWS, CONTEXT, ROWS[:, 0].square()).counted().split(0.2),
    "training": lambda: minimise(
        Likelihood(images().flow, images().codec, condition_dropout=0.5), digits("train"), PLAN
    ),
    **{f"coupling: {name}": partial(matched, coupling) for name, coupling in COUPLINGS.items()},
    "progressive": lambda: minimise(Progressive().build(free(), Identity()), Arrays(ROWS), PLAN),
    "documents": documents_trained,
    "inverse": inverse_learned,
    "reverse KL": lambda: minimise(ReverseKL(free(), energy), Arrays(torch.empty(8, 0, device="cpu")), PLAN),
    "fit": lambda: pf.fit(free(), np.random.default_rng(0).normal(size=(40, 2)), weights=np.ones(40), steps=2),
    "fit_density": lambda: pf.fit_density(free(), energy, steps=2, batch=8),
    "recipe": lambda: RECIPES["cifar10_flowpp"]().small().build(),
    "initialization": lambda: RECIPES["mnist_glow"]().small().build().to(INTEGERS.device).initialize(INTEGERS),
}


MADE = (images, rows, free, velocity, learned_noise, noisy, mixed, texts)


@pytest.fixture
def gpu(monkeypatch):
    with pretended(monkeypatch) as gpu:
        yield gpu


@cache
def on_gpu(make: Callable[[], object]) -> object:
    """A copy of what it makes, on the GPU."""
    made = deepcopy(make())
    parts = (made.flow, made.codec) if isinstance(made, CodedFlow) else (made,)
    for part in parts:
        if isinstance(part, torch.nn.Module):
            part.to(GPU)
    return made


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("gpu")
def test_a_function_runs_on_a_gpu(name, monkeypatch):
    """All of its arguments are there."""
    for place, given in vars(sys.modules[__name__]).copy().items():
        if isinstance(given, torch.Tensor | torch.nn.Module):
            monkeypatch.setattr(sys.modules[__name__], place, given.to(GPU))
    for make in MADE:
        monkeypatch.setattr(sys.modules[__name__], make.__name__, partial(on_gpu, make))
    CALLS[name]()


BEFORE, END = {"training/prepare.py", "training/state.py"}, {"flow.py"}  # before the first step; of a sample
SOLVER = {"solve/ode_adaptive.py", "transforms/continuous.py"}  # steps are chosen by values
BY_VALUES = {
    "ResidualFlow": {"transforms/residual.py"},  # it iterates until it has converged
    "ITARFlow": {"arrays.py"},  # its levels of noise are numbers of the host
}


@pytest.mark.parametrize("name", models.FIRST)
def test_a_model_is_trained_and_sampled_on_a_gpu(name, gpu):
    """No step waits for it, and a sample once at its end, but where steps or sweeps are chosen by values."""
    model = models.FIRST[name]
    flow, context = model.build().to(GPU), models.context_of(model, 4)
    x = 0.1 + 0.8 * torch.rand(4, *(axis or 2 for axis in flow.event))
    given = None if context is None else context.to(GPU)
    flow.initialize(x.to(GPU), given)
    objective = (flow.objective or MaximumLikelihood()).build(flow, codec_of(flow))
    by_values = BY_VALUES.get(name, SOLVER if name in models.SOLVED else set())
    gpu.waits.clear()
    minimise(objective, Arrays(x, context), Plan(steps=2, batch=4, precision="float32"), progress=False)
    assert gpu.places() <= BEFORE | by_values
    assert flow.log_prob(x.to(GPU), given).device == GPU
    gpu.waits.clear()
    assert flow.sample(4 if context is None else (), given).device == GPU
    assert gpu.places() <= END | by_values
    assert sum(times for place, times in gpu.waits.items() if place.startswith("flow.py")) == 1


def test_a_gpu_that_is_not_there_refuses_what_a_gpu_would(gpu):
    x = torch.zeros(3, device=GPU)
    with pytest.raises(RuntimeError, match="expected all tensors on one device"):
        x + torch.ones(3)
    with pytest.raises(TypeError, match="convert cuda:0 device"):
        np.asarray(x)
    assert not gpu.waits
    with pytest.raises(ValueError, match="1 of 3 rows"):
        check_finite(x.index_fill(0, torch.tensor([1], device=GPU), torch.nan))
    assert gpu.places() == {"arrays.py"}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_makes_its_tensors_where_its_arguments_are(name):
    for made in MADE:
        made()
    with Elsewhere():
        CALLS[name]()


def test_a_run_is_trained_loaded_and_used_wherever_tensors_are_made_by_default(tmp_path: Path):
    with Elsewhere():
        pf.train(RECIPES["digits"]().small(), tmp_path, device="cpu")
        assert pf.load(tmp_path).device.type == "cpu"
        pf.sample(tmp_path, tmp_path / "samples.png", n=4, device="cpu")
        pf.evaluate(tmp_path, device="cpu")
        pf.runs.check(tmp_path, n=2, device="cpu")


def test_the_law_catches_what_it_is_for():
    with Elsewhere(), pytest.raises((RuntimeError, NotImplementedError)):
        (ROWS + torch.arange(2)).tolist()
