"""Layers that are hooked, replaced or quantised: called in scoring and in sampling, for few rows as for many."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from pushforward.kernels import serving
from pushforward.models import ContinuousModel
from pushforward.solve import RK4
from pushforward.transform import Transform
from tests.test_models import FIRST, SOLVED, context_of

MANY = 2000


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    """Kernels serve for any amount of work, where they may."""
    monkeypatch.setattr(serving, "LEAST", dict.fromkeys(serving.LEAST, 0))


def but(reason: str, *names: str) -> list:
    """All models, of which these are expected to fail."""
    return [pytest.param(name, marks=pytest.mark.xfail(reason=reason)) if name in names else name for name in FIRST]


def case(name: str, rows: int = MANY):
    """A flow with random layers, rows and their context. Continuous flows are solved by fixed steps."""
    model = FIRST[name]
    flow = model.build().double()
    if isinstance(model, ContinuousModel):
        flow = flow.solved_by(RK4(16))
    generator = torch.Generator().manual_seed(0)
    for part in layers(flow).values():  # not the linear maps between them, which would be far from invertible
        for parameter in part.parameters(recurse=False):
            nn.init.normal_(parameter, std=0.1, generator=generator)
    x = 0.1 + 0.8 * torch.rand(rows, *flow.event, dtype=torch.float64)
    return flow, x, context_of(model, rows)


def layers(flow: nn.Module) -> dict[str, nn.Module]:
    """The modules with weights of their own that are no transforms."""
    parts = flow.named_modules()
    return {
        name: part for name, part in parts if list(part.parameters(recurse=False)) and not isinstance(part, Transform)
    }


@pytest.mark.parametrize("name", FIRST)
@torch.no_grad()
def test_a_hook_on_a_transform_fires_and_changes_the_density_with_and_without_the_latent(name):
    flow, x, context = case(name, 8)
    before, fired = flow.log_prob(x, context), set()
    for transform, part in flow.named_modules():
        if isinstance(part, Transform):
            doubled = lambda *args: (args[-1][0], 2 * args[-1][1] + 1)  # noqa: E731
            handle = part.register_forward_hook(doubled)
            expected = flow.log_prob_and_latent(x, context)[0]
            torch.testing.assert_close(flow.log_prob(x, context), expected)
            handle.remove()
            fired |= set() if torch.equal(expected, before) else {transform}
    assert "transform" in fired


def of_rows(context, rows: int):
    return None if context is None else context[:rows]


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(
    "name",
    but("jumps alone call a flow map's correction; texts alone a map of STARFlow2", "VectorFlowMap", "STARFlow2"),
)
def test_every_layer_is_called_in_scoring_and_in_sampling(name, gradients):
    rows = MANY if name in ("MAF", "NICE", "VectorRealNVP", "NSF") else 8
    flow, x, context = case(name, rows)
    called = Counter()
    for layer, part in layers(flow).items():
        part.register_forward_hook(lambda *_, layer=layer: called.update([layer]))
    with torch.set_grad_enabled(gradients):
        z = flow.encode(x, context)
        assert set(called) == set(layers(flow))
        called.clear()
        flow.decode(z, context)
    assert set(called) == set(layers(flow))


def doubled(output):
    return tuple(2 * t for t in output) if isinstance(output, tuple) else 2 * output


def hook(layer: nn.Module):
    return layer.register_forward_hook(lambda *args: doubled(args[-1]))


def global_hook(layer: nn.Module):
    def double(module: nn.Module, _: object, output: object) -> object:
        return doubled(output) if module is layer else output

    return nn.modules.module.register_module_forward_hook(double)


def replaced(layer: nn.Module) -> None:
    forward = layer.forward
    layer.forward = lambda *args, **options: doubled(forward(*args, **options))


def subclassed(layer: nn.Module) -> None:
    kind = type(layer)

    def forward(self: nn.Module, *args: object, **options: object) -> object:
        return doubled(kind.forward(self, *args, **options))

    layer.__class__ = type("Twice", (kind,), {"forward": forward})


CHANGES: dict[str, Callable] = {"hook": hook, "global hook": global_hook, "replaced": replaced, "subclass": subclassed}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FIRST)
@torch.no_grad()
def test_a_changed_layer_gives_few_rows_and_many_the_same_density(name, change):
    rows = MANY if hasattr(FIRST[name], "features") and name not in ("Jet", *SOLVED) else 64
    flow, x, context = case(name, rows)
    before = flow.log_prob(x, context)
    part = [part for layer, part in layers(flow).items() if "answer" not in layer][0]
    handle = CHANGES[change](part)
    try:
        many = flow.log_prob(x, context)
        few = flow.log_prob(x[:8], of_rows(context, 8))
        back = flow.decode(flow.encode(x, context), context)
    finally:
        if handle is not None:
            handle.remove()
    assert not torch.allclose(many, before), "the change was ignored"
    torch.testing.assert_close(many[:8], few)
    if "Residual" not in name:  # a layer twice as steep does not contract
        torch.testing.assert_close(back, x)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of the layers that read x
@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(
    "name", but("a solve goes back by its own steps, and texts alone call a map of STARFlow2", *SOLVED, "STARFlow2")
)
def test_backward_hooks_fire_for_many_rows(name, everywhere, register):
    rows = MANY if hasattr(FIRST[name], "features") and name not in ("IAF", *SOLVED) else 8
    flow, x, context = case(name, rows)
    seen, parts = set(), layers(flow)
    note = lambda module, *_: seen.add(id(module))  # noqa: E731
    if everywhere:
        module = nn.modules.module
        handles = [getattr(module, register.replace("register_", "register_module_"))(note)]
    else:
        handles = [getattr(part, register)(note) for part in parts.values()]
    try:
        flow.log_prob(x, context).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert {id(part) for part in parts.values()} <= seen


class Adapted(nn.Module):
    """A layer plus a learned map of low rank, as adapters are usually written."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base, weight = base, base.weight
        self.down = nn.Parameter(0.1 * torch.randn(2, weight[0].numel(), dtype=weight.dtype))
        self.up = nn.Parameter(0.1 * torch.randn(len(weight), 2, dtype=weight.dtype))

    @property
    def change(self) -> torch.Tensor:
        return (self.up @ self.down).view_as(self.base.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.base, nn.Linear):
            return self.base(x) + nn.functional.linear(x, self.change)
        return self.base(x) + self.base._conv_forward(x, self.change, None)

    def merged(self) -> nn.Module:
        with torch.no_grad():
            self.base.weight += self.change
        return self.base


def adapted(flow: nn.Module) -> int:
    """Replace every layer of torch that has weights to learn, and count them."""
    named = [(layer, part) for layer, part in flow.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    learned = [(layer, part) for layer, part in named if isinstance(part.weight, nn.Parameter)]
    for layer, part in learned:
        flow.set_submodule(layer, Adapted(part))
    return len(learned)


@pytest.mark.parametrize("name", FIRST)
def test_low_rank_adapters_are_what_they_are_once_merged(name):
    """In scoring, in sampling and in gradients. Layers with a mask or a bound of their own are none of torch's."""
    flow, x, context = case(name, 8)
    before = flow.log_prob(x, context)
    replaced, other = adapted(flow), copy.deepcopy(flow)
    for layer, part in [*other.named_modules()]:
        if isinstance(part, Adapted):
            other.set_submodule(layer, part.merged())
    leaf = x.clone().requires_grad_()
    scores = [each.log_prob(leaf, context) for each in (flow, other)]
    torch.testing.assert_close(*scores)
    torch.testing.assert_close(*(torch.autograd.grad(score.sum(), leaf)[0] for score in scores))
    assert replaced == 0 or not torch.allclose(scores[0], before)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(x, context), scores[0].detach())
        z = flow.encode(x, context)
        torch.testing.assert_close(flow.decode(z, context), x, rtol=1e-5, atol=1e-5)  # solves stop at a tolerance
        torch.testing.assert_close(flow.decode(z, context), other.decode(z, context), rtol=1e-5, atol=1e-5)


class LowRank(nn.Module):
    """A weight plus a learned matrix of low rank, as a parametrisation of torch."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.down = nn.Parameter(0.1 * torch.randn(2, weight[0].numel(), dtype=weight.dtype))
        self.up = nn.Parameter(0.1 * torch.randn(len(weight), 2, dtype=weight.dtype))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.up @ self.down).view_as(weight)


@pytest.mark.parametrize("name", FIRST)
def test_parametrised_weights_are_what_they_are_once_merged(name):
    """Those of every layer: masks, bounds and convolutions of the package's own too, which no `nn.Linear` has."""
    flow, x, context = case(name, 8)
    before, z = flow.log_prob(x, context), flow.encode(x, context).detach()
    parts = [part for part in flow.modules() if isinstance(getattr(part, "weight", None), nn.Parameter)]
    parts = [part for part in parts if part.weight.dim() > 1]
    for part in parts:
        parametrize.register_parametrization(part, "weight", LowRank(part.weight))
    told = []
    for merged in (False, True):
        for part in parts if merged else ():
            parametrize.remove_parametrizations(part, "weight")
        scored = flow.log_prob(x, context).detach()
        with torch.no_grad():
            torch.testing.assert_close(flow.log_prob(x, context), scored)
            told.append((scored, flow.encode(x, context), flow.decode(z, context)))
    torch.testing.assert_close(*told, rtol=1e-5, atol=1e-5)  # solves stop at a tolerance
    assert not torch.allclose(scored, before)


@pytest.mark.filterwarnings("ignore")  # torch's own, of its older quantisation
@pytest.mark.parametrize("name", FIRST)
@torch.no_grad()
def test_quantised_layers_score_and_sample(name):
    flow, x, context = case(name, 64)
    flow = torch.ao.quantization.quantize_dynamic(flow.float(), {nn.Linear}, dtype=torch.qint8)
    x = x.float()
    many = flow.log_prob(x, context)
    assert many.isfinite().all()
    for rows in (1, 8):
        few = flow.log_prob(x[:rows], of_rows(context, rows))
        torch.testing.assert_close(few, many[:rows], rtol=0.1, atol=0.5)  # ranges are those of a batch
    assert flow.sample(() if context is not None else 8, context).shape == x[: 64 if context is not None else 8].shape
