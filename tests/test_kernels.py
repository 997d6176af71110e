"""Kernels compute what tensor operations compute, in values and in gradients of every kind."""

import math
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pushforward import kernels
from pushforward.conditions import Vector, read
from pushforward.kernels import build, elementwise, masked, perceptron
from pushforward.moves import Affine, CircularSpline, Elementwise, Move, RationalQuadraticSpline, SoftClip, Tanh
from pushforward.networks import MLP, CausalTransformer, Learned, MaskedMLP, VectorEmbedding
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


def transformer() -> CausalTransformer:
    net = CausalTransformer(3, (3, 2), positions=Learned(5, 8), width=8, depth=2, heads=2)
    nn.init.normal_(net.answer.weight)
    return net


NETWORKS = {
    "perceptron": (lambda: MLP(5, (2,), hidden=(16, 16)), (5,)),
    "masked": (lambda: MaskedMLP(5, (2,), hidden=(16, 16)), (5,)),
    "transformer": (transformer, (5, 3)),
}


def decoded(net: nn.Module, x: Tensor) -> Tensor:
    """The answers, by a decoder if the network has one."""
    if isinstance(net, MLP):
        return net(x)
    return net.start(len(x)).read(x[:, :4])  # pyright: ignore[reportCallIssue]


def moved_alike(move: Elementwise, x: Tensor) -> Tensor:
    """Every element by raw parameters that are the element."""
    raw = x[..., None].expand(*x.shape, move.params_per_element)
    return move.forward(x, raw)[0]


def doors() -> dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]]:
    """Functions of one tensor that kernels compute, and the shape of a row."""
    made = {name: (make().requires_grad_(False), shape) for name, (make, shape) in NETWORKS.items()}
    found = {f"{name}, decoded": (partial(decoded, net), shape) for name, (net, shape) in made.items()}
    found["masked"] = (made["masked"][0], (5,))
    for name in ("affine/tanh", "spline"):
        found[name] = (partial(moved_alike, MOVES[name]), (5,))
    return found


DOORS = doors()


class Asked(Exception):  # noqa: N818 - not an error
    """A kernel was about to serve."""


@pytest.fixture
def telling(monkeypatch) -> None:
    """A kernel that is about to serve raises Asked."""

    def tell(*_: object) -> None:
        raise Asked

    switch(monkeypatch, on=True)
    for module in (elementwise, perceptron, masked, kernels.transformer):
        monkeypatch.setattr(module, "library", tell)


def exported(door, x):
    class Door(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return door(x)

    program = torch.export.export(
        Door(), (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=2)}}, strict=False
    )
    return program.module()(torch.cat([x, x]))[: len(x)]


class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Intercept(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def within(mode):
    def record(door, x):
        with mode():
            return door(x)

    return record


RECORDERS = {
    "nothing": lambda door, x: door(x),
    "jit.trace": lambda door, x: torch.jit.trace(door, x, check_trace=False)(x),
    "make_fx": lambda door, x: make_fx(door)(x)(x),
    "export": exported,
    "compile": lambda door, x: torch.compile(door, backend="eager")(x),
    "counter of operations": within(partial(FlopCounterMode, display=False)),
    "dispatch mode": within(Watch),
    "function mode": within(Intercept),
    "vmap": lambda door, x: torch.vmap(lambda row: door(row[None])[0])(x),
    "functionalize": lambda door, x: torch.func.functionalize(door)(x),
}
# decoders write in place, in buffers for as many rows as there were when they were recorded
DECODED = ["masked, decoded", "transformer, decoded"]
UNRECORDABLE = {*product(DECODED, ["export", "vmap", "functionalize"]), ("transformer, decoded", "jit.trace")}


@torch.no_grad()
@pytest.mark.usefixtures("telling")
@pytest.mark.filterwarnings("ignore")  # what recorders warn of themselves
@pytest.mark.parametrize(("door", "recorder"), sorted(set(product(DOORS, RECORDERS)) - UNRECORDABLE))
def test_no_kernel_serves_where_operations_are_recorded(door, recorder):
    function, shape = DOORS[door]
    x = torch.randn(4, *shape)
    if recorder == "nothing":
        with pytest.raises(Asked):
            function(x)
        return
    try:
        RECORDERS[recorder](lambda x: function(x), x)
    except Asked:
        pytest.fail("a kernel would have served")


def hooked(register):
    def change(layer: nn.Module):
        return getattr(layer, register)(lambda *_: None)

    return change


def hooked_all(register):
    return lambda _: getattr(nn.modules.module, register)(lambda *_: None)


class Twice(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input)


def replaced(layer):
    layer.forward = lambda x: 2 * type(layer).forward(layer, x)


def subclassed(layer):
    layer.__class__ = type("Twice", (type(layer),), {"forward": lambda self, x: 2 * super(type(self), self).forward(x)})


def parametrised(layer):
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())


CHANGES = {
    "forward hook": hooked("register_forward_hook"),
    "forward pre-hook": hooked("register_forward_pre_hook"),
    "backward hook": hooked("register_full_backward_hook"),
    "backward pre-hook": hooked("register_full_backward_pre_hook"),
    "global forward hook": hooked_all("register_module_forward_hook"),
    "global forward pre-hook": hooked_all("register_module_forward_pre_hook"),
    "global backward hook": hooked_all("register_module_full_backward_hook"),
    "replaced forward": replaced,
    "subclass": subclassed,
    "parametrised": parametrised,
    "compiled": lambda layer: layer.compile(backend="eager"),
}


@torch.no_grad()
@pytest.mark.usefixtures("telling")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_kernel_serves_for_layers_that_are_changed_or_watched(name, change):
    make, shape = NETWORKS[name]
    net, x = make(), torch.randn(4, *shape)
    with pytest.raises(Asked):
        decoded(net, x)
    layer = net.layers[1].mlp[1] if name == "transformer" else net.layers.maps[1]
    handle = CHANGES[change](layer)
    try:
        decoded(net, x)
    finally:
        if handle is not None:
            handle.remove()


@pytest.mark.usefixtures("telling")
def test_another_gelu_or_size_is_not_the_kernel_s():
    for change in (
        lambda net: setattr(net.layers[0].mlp[2], "approximate", "tanh"),
        lambda net: (
            setattr(net.layers[0].mlp, "1", nn.Linear(8, 16)),
            setattr(net.layers[0].mlp, "3", nn.Linear(16, 8)),
        ),
        lambda net: setattr(net.answer, "bias", None),
    ):
        net = transformer()
        change(net)
        with torch.no_grad():
            decoded(net, torch.randn(4, 5, 3))


@pytest.mark.parametrize("name", ["masked", "perceptron", "spline, forward", "affine/tanh, inverse"])
def test_gradients_that_are_recorded_are_made_of_tensor_operations(both, name):
    """By a mode that is entered after the pass, and row by row."""
    case = CASES[name]
    case.to(torch.float64)

    def run():
        leaves = case.leaves(4, torch.float64)
        values = case.door(*leaves)[0]
        given = torch.randn(3, *values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        every = torch.autograd.grad(values, leaves, given, is_grads_batched=True, retain_graph=True)
        with Watch():
            return *every, *torch.autograd.grad(values, leaves, given[0])

    for ours, tensors in both(run):
        torch.testing.assert_close(ours, tensors, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elementary_functions_are_within_two_units_in_the_last_place(monkeypatch, dtype):
    """The exponential and the hyperbolic tangent, by what an affine move makes of its log-scale."""
    switch(monkeypatch, on=True)
    log_scale = torch.cat(
        [torch.linspace(-80, 80, 100_001, dtype=dtype), torch.tensor([-math.inf, math.inf, math.nan], dtype=dtype)]
    )
    raw = torch.stack([log_scale, torch.zeros_like(log_scale)], -1)
    values, _ = Affine().inverse(torch.ones_like(log_scale), raw)
    exact = log_scale.double().exp()
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(values[:-3].double(), exact[:-3], rtol=max(tolerance, 4e-16), atol=0)
    torch.testing.assert_close(values[-3:].double(), exact[-3:], equal_nan=True)
    _, bounded = Affine(Tanh()).inverse(torch.ones_like(log_scale), raw)
    torch.testing.assert_close(bounded[:-3], Tanh()(log_scale)[:-3], rtol=0, atol=2 * tolerance)


@pytest.fixture
def fresh(monkeypatch):
    """Kernels are on; nothing is loaded or warned of yet, nor afterwards."""
    monkeypatch.setattr(build, "enabled", True)

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
    monkeypatch.setattr(build, "enabled", False)
    assert build.library("affine") is None


@pytest.mark.usefixtures("fresh")
def test_a_compile_is_told_of(monkeypatch, tmp_path, capfd):
    switch(monkeypatch, on=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-O0"])  # compiled fast
    for told in (1, 0):  # the second time it is there
        build._loaded.cache_clear()
        assert build.library("affine") is not None
        assert capfd.readouterr().err.count("compiling affine.cpp") == told


@pytest.mark.usefixtures("fresh")
def test_what_is_built_ahead_is_not_built_on_first_use(monkeypatch, tmp_path, capfd):
    """One line on stderr for each kernel, which says how to build all ahead."""
    switch(monkeypatch, on=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-O0"])  # compiled fast
    build._loaded.cache_clear()
    found = build.build()
    assert sorted(found) == sorted(NAMES)
    assert all(path is not None and path.is_relative_to(tmp_path) for path in found.values())
    told = capfd.readouterr().err.splitlines()
    assert len(told) == len(NAMES)
    assert all("`pushforward build` compiles all ahead" in line for line in told)
    build._loaded.cache_clear()
    assert all(build.library(name) is not None for name in NAMES)
    assert capfd.readouterr().err == ""


def test_building_where_kernels_are_switched_off_says_so(monkeypatch):
    monkeypatch.setattr(build, "enabled", False)
    with pytest.raises(RuntimeError, match="switched off by PUSHFORWARD_KERNELS=0"):
        build.build()


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environment_switches_kernels_off(value, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_KERNELS", value)
    assert runpy.run_path(build.__file__)["enabled"] == (value == "1")
