"""Kernels compute what tensor operations compute, in values and in gradients of every kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from pushforward.conditions import Vector, read
from pushforward.kernels import build
from pushforward.moves import Affine, CircularSpline, Move, RationalQuadraticSpline, SoftClip, Tanh
from pushforward.networks import MLP, MaskedMLP, VectorEmbedding
from tests.kernels import NAMES, switch

CONDITIONS = {"vector": Vector(4)}
Values = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """(first, second) -> values: x and raw parameters of a move, or features and a context of a network."""

    door: Callable[[Tensor, Tensor], Values]
    features: int
    second: int  # raw parameters of an element, or features of the context
    weights: nn.Module | None = None

    def leaves(self, rows: int, dtype: torch.dtype) -> list[Tensor]:
        """Random ones; the second is not contiguous."""
        torch.manual_seed(0)
        x = 2 * torch.randn(rows, self.features, dtype=dtype)
        shape = (rows, self.second) if self.weights else (rows, self.features, self.second)
        second = torch.randn(*shape[:-1], 3 + self.second, dtype=dtype)[..., 2:-1]
        return [x.requires_grad_(), second.requires_grad_()]

    def parameters(self) -> list[Tensor]:
        return list(self.weights.parameters()) if self.weights else []

    def to(self, dtype: torch.dtype) -> None:
        if self.weights:
            self.weights.to(dtype)


def moved(move, direction: str) -> Case:
    assert isinstance(move, Move)
    return Case(lambda x, raw: getattr(move, direction)(x, raw), 3, move.params_per_element)


def network(make, *shape, hidden=(20, 33), **choices) -> Case:
    torch.manual_seed(0)
    net = make(*shape, hidden=hidden, context_encoder=VectorEmbedding(4, hidden[0]), **choices)
    for weights in net.parameters():
        nn.init.normal_(weights, std=0.3)
    return Case(lambda x, vector: (net(x, read(CONDITIONS, vector)),), shape[0], 4, net)


MOVES = {
    "affine": Affine(),
    "affine/tanh": Affine(Tanh()),
    "affine/soft-clip": Affine(SoftClip()),
    "spline": RationalQuadraticSpline(),
    "spline/5 bins": RationalQuadraticSpline(bins=5),
    "circular spline": CircularSpline(),
}
CASES = {
    f"{name}, {direction}": moved(move, direction)
    for name, move in MOVES.items()
    for direction in ("forward", "inverse")
} | {
    "perceptron": network(MLP, 5, (4, 2)),
    "perceptron/residual": network(MLP, 17, (3,), hidden=(40, 40), residual=True),
    "masked": network(MaskedMLP, 9, (2,), hidden=(40, 20, 33)),
    "masked/wide": network(MaskedMLP, 70, (3,), hidden=(64, 64)),
    "masked/residual": network(MaskedMLP, 5, (3,), hidden=(20, 20), residual=True),
}
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-3}  # splines are ill-conditioned where they are flat


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture
def both(monkeypatch):
    """Calls a function once with kernels and once without."""

    def run(function):
        answers = []
        for on in (True, False):
            switch(monkeypatch, on)
            answers.append(function())
        return zip(*answers, strict=True)

    return run


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [0, 1, 5, 70, 1100])
def test_values_and_gradients(both, case, rows, dtype):
    """On one thread and on several, with gradients and without."""
    case.to(dtype)

    def run():
        leaves = case.leaves(rows, dtype)
        values = case.door(*leaves)
        with torch.no_grad():
            alone = case.door(*leaves)
        generator = torch.Generator().manual_seed(1)
        given = [torch.randn(v.shape, dtype=dtype, generator=generator) for v in values]
        found = torch.autograd.grad(values, [*leaves, *case.parameters()], given)
        return *values, *alone, *(gradient / max(1, rows) for gradient in found)

    for ours, tensors in both(run):
        torch.testing.assert_close(ours, tensors, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_only_some_gradients(both, case):
    """Of either leaf alone, and of the weights alone."""
    case.to(torch.float64)

    def run():
        found = []
        for kept in range(2):
            leaves = case.leaves(7, torch.float64)
            leaves[1 - kept].requires_grad_(False)
            found += torch.autograd.grad(sum(v.sum() for v in case.door(*leaves)), leaves[kept])
        if case.weights:
            values = case.door(*(leaf.detach() for leaf in case.leaves(7, torch.float64)))
            found += torch.autograd.grad(sum(v.sum() for v in values), case.parameters())
        return found

    for ours, tensors in both(run):
        torch.testing.assert_close(ours, tensors, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", [name for name in CASES if "wide" not in name], indirect=True)
def test_gradients_of_gradients(both, case):
    case.to(torch.float64)

    def run():
        leaves = case.leaves(1, torch.float64)
        door = lambda x, second, *_: case.door(x, second)  # noqa: E731
        return (torch.autograd.gradgradcheck(door, (*leaves, *case.parameters()[-1:]), atol=1e-5, rtol=1e-3),)

    assert all(all(answers) for answers in both(run))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's forward mode uses it
def test_every_way_of_differentiating(both, case):
    """Row by row, forward mode, and without gradients."""
    case.to(torch.float64)

    def run():
        x, second = (leaf.detach() for leaf in case.leaves(6, torch.float64))
        door = lambda x, second: case.door(x, second)[0]  # noqa: E731
        row = lambda x, second: door(x[None], second[None])[0]  # noqa: E731
        _, tangent = torch.func.jvp(door, (x, second), (x, second))
        with torch.autograd.forward_ad.dual_level():
            dual = door(torch.autograd.forward_ad.make_dual(x, x), second)
            partial = torch.autograd.forward_ad.unpack_dual(dual).tangent
        return torch.vmap(torch.func.jacrev(row))(x, second), tangent, partial, door(x, second)

    for ours, tensors in both(run):
        torch.testing.assert_close(ours, tensors, rtol=1e-12, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused(both, case):
    """Kernels leave them to tensor operations, which refuse them."""
    case.to(torch.float32)

    def run():
        x, second = case.leaves(5, torch.float32)
        for wrong in ((x[:, 1:], second), (x, second[..., 1:]), (x, second[:4])):
            with pytest.raises((RuntimeError, ValueError)):
                case.door(*wrong)
        return ()

    assert not list(both(run))


def test_nan_is_not_hidden(both, case):
    case.to(torch.float32)

    def run():
        x, second = (leaf.detach() for leaf in case.leaves(3, torch.float32))
        x[1] = math.nan
        return [v[1].isnan().any() for v in case.door(x, second)][:1]

    assert all(all(answers) for answers in both(run))


@pytest.mark.parametrize("change", ["hook", "kind"])
def test_changed_layers_are_called(both, change):
    """A layer that has a hook, and a layer of another class in its place."""
    calls = []

    class Twice(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            calls.append(1)
            return 2 * super().forward(input)

    net = MLP(5, (4,), hidden=(16, 16))
    if change == "hook":
        net.layers.maps[1].register_forward_hook(lambda *_: calls.append(1))
    else:
        net.layers.maps[1] = Twice(16, 16)
    assert not list(both(lambda: (net(torch.zeros(3, 5)), ())[1]))
    assert len(calls) == 2


@pytest.fixture
def fresh():
    """Nothing is loaded or warned of yet, nor afterwards."""

    def forget() -> None:
        build._loaded.cache_clear()
        build._compiler.cache_clear()
        build.warned.clear()

    forget()
    yield
    forget()


@pytest.mark.usefixtures("fresh")
def test_one_warning_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="no-such-compiler") as warned:
        assert [build.library(name) for name in NAMES] == [None] * len(NAMES)
    assert len(warned) == 1


@pytest.mark.usefixtures("fresh")
def test_a_kernel_that_does_not_build_is_warned_of(monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho no such flag >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.warns(UserWarning, match="no such flag"):
        assert [build.library(name) for name in NAMES] == [None] * len(NAMES)
    assert len(build.warned) == 1


@pytest.mark.usefixtures("fresh")
def test_kernels_that_are_switched_off_are_not_warned_of(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PUSHFORWARD_KERNELS", "0")
    assert build.library("affine") is None
