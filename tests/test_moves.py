"""What every move owes: one table, one law a test."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import FrozenInstanceError, asdict, fields

import pytest
import torch
from torch import Tensor

from pushforward import moves
from pushforward.moves import (
    Affine,
    Categorical,
    CircularSpline,
    Composed,
    Concatenated,
    Elementwise,
    Exp,
    GaussianMixture,
    Histogram,
    LogisticMixture,
    MonotoneNetwork,
    RationalQuadraticSpline,
    Shift,
    Sigmoid,
    SoftClip,
    Tanh,
)
from tests.kernels import switch

MOVES = {
    "affine": Affine(),
    "affine/tanh": Affine(Tanh()),
    "affine/soft-clip": Affine(SoftClip()),
    "affine/sigmoid": Affine(Sigmoid()),
    "affine/jet": Affine(Sigmoid(0, 2)),
    "shift": Shift(),
    "spline": RationalQuadraticSpline(),
    "spline/5 bins": RationalQuadraticSpline(bins=5, bound=3.0),
    "circular spline": CircularSpline(),
    "logistic mixture": LogisticMixture(),
    "gaussian mixture": GaussianMixture(components=3),
    "monotone network": MonotoneNetwork(),
    "histogram": Histogram(bins=16),
    "histogram/knots": Histogram(knots=(-2.5, -1.0, -0.2, 0.5, 3.0)),
    "concatenated": Concatenated(2, RationalQuadraticSpline(bins=5), RationalQuadraticSpline()),
    "flow++": Composed(LogisticMixture(components=4), Affine(Tanh(1.0))),
}
UNBOUNDED = (Affine(), Affine(Sigmoid(0, 2)))  # which overflow at raw parameters of 200, as their docstrings say
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # where the slope is 1; an error grows as the slope falls


KERNELS = {"affine", "affine/tanh", "affine/soft-clip", "spline", "spline/5 bins", "circular spline"}  # which have them


NAMES = [*MOVES, *(f"{name} by kernel" for name in MOVES if name in KERNELS)]
SLOW_TO_COMPILE = ("concatenated", "flow++", "gaussian mixture", "histogram/knots")  # 7 to 25 s each


@pytest.fixture(params=NAMES)
def move(request, monkeypatch) -> Elementwise:
    name, by, _ = request.param.partition(" by ")
    switch(monkeypatch, bool(by))
    torch.manual_seed(0)
    return MOVES[name]


def given(move: Elementwise, n: int, scale: float, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random inputs and raw parameters, as leaves."""
    raw = scale * torch.randn(n, move.params_per_element, dtype=dtype)
    return torch.randn(n, dtype=dtype).mul_(2).requires_grad_(), raw.requires_grad_()


def doors(move: Elementwise):
    return move.forward, move.inverse


def tensors(params) -> list[Tensor]:
    return [params] if isinstance(params, Tensor) else [t for p in params for t in tensors(p)]


def test_every_move_is_in_the_table():
    exported = {kind for kind in vars(moves).values() if inspect.isclass(kind) and issubclass(kind, Elementwise)}
    bounded = {Categorical}  # in test_language.py
    tested = {type(move) for move in MOVES.values()} | bounded
    assert {kind for kind in exported if not inspect.isabstract(kind)} == tested


def test_zero_parameters_are_the_identity(move):
    x = torch.cat([torch.linspace(-1e4, 1e4, 101), torch.linspace(-6, 6, 101)]).double()
    if isinstance(move, Histogram):  # in its tails; at its knots the slope jumps
        knots = move.edges(x)
        y, _ = move.forward(knots, x.new_zeros(len(knots), move.params_per_element))
        torch.testing.assert_close(y, knots, rtol=1e-14, atol=1e-14)
        x = x[move.outside(x)]
    for door in doors(move):
        y, log_slopes = door(x, x.new_zeros(len(x), move.params_per_element))
        torch.testing.assert_close(y, x, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(log_slopes, torch.zeros_like(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("first", [0, 1], ids=["from data", "from latent"])
def test_each_door_undoes_the_other(move, first, dtype):
    x, raw = given(move, 1000, 1.0, dtype)
    there, back = doors(move)[first], doors(move)[1 - first]
    y, log_slopes = there(x, raw)
    again, back_slopes = back(y, raw)
    limit = TOLERANCE[dtype] * (1 + x.abs()) * (1 + (-log_slopes).exp() + log_slopes.exp())
    assert ((again - x).abs() <= limit).all()
    assert ((back_slopes + log_slopes).abs() <= 10 * limit).all()


def test_log_slopes_are_of_an_increasing_derivative(move):
    for door in doors(move):
        x, raw = given(move, 1000, 1.0)
        y, log_slopes = door(x, raw)
        (slopes,) = torch.autograd.grad(y.sum(), x)
        assert torch.all(slopes > 0), "a move is increasing"
        torch.testing.assert_close(slopes.log(), log_slopes, rtol=1e-8, atol=1e-8)


def test_a_point_far_outside_leaves_the_others_as_they_are(move):
    """Mixtures sum logarithms where a point is in a far tail, and else probabilities."""
    x, raw = given(move, 100, 1.0)
    for door in doors(move):
        alone = door(x, raw)
        together = door(torch.cat([x, x.new_tensor([-300.0, 300.0])]), torch.cat([raw, raw[:2]]))
        torch.testing.assert_close([t[:-2] for t in together], [*alone], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_never_falls(move, dtype):
    """A thousand steps and steps of one ulp, over the whole line: equal answers where rounding makes them equal."""
    x = torch.linspace(-12, 12, 1001, dtype=dtype)
    x = torch.stack([x, x.nextafter(x + 1)], 1).flatten()
    raw = given(move, 1, 2.0, dtype)[1].expand(len(x), -1)
    for door in doors(move):
        y, log_slopes = door(x, raw)
        rounding = 4 * torch.finfo(dtype).eps * (1 + y.abs()) * (1 + log_slopes.exp())
        assert (y.diff() >= -rounding[1:]).all()
        assert (y[2::2] > y[:-2:2]).all()


def test_gradients_are_differences(move):
    for door in doors(move):
        assert torch.autograd.gradcheck(door, given(move, 5, 1.0), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("far", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("which", [0, 1], ids=["forward", "inverse"])
def test_finite_with_finite_gradients_far_outside(move, which, far, scale):
    if move in UNBOUNDED:
        scale = min(scale, 10.0)
    x, raw = given(move, 1000, scale, torch.float32)
    y, log_slopes = doors(move)[which](x + far * torch.sign(x), raw)
    (y.sum() + log_slopes.sum()).backward()
    assert all(t.isfinite().all() for t in (y, log_slopes, x.grad, raw.grad))


def test_arithmetic_is_in_at_least_float32(move):
    """Of narrow values too: they are widened before anything else."""
    for given_in, wide in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        raw = torch.zeros(3, move.params_per_element, dtype=given_in)
        assert all(p.dtype == wide for p in tensors(move.params(raw)))
        for door in (move.forward, move.inverse):
            assert all(t.dtype == wide for t in door(torch.zeros(3, dtype=given_in), raw))
    raw = torch.randn(3, 50, move.params_per_element)
    for narrow in (torch.bfloat16, torch.float16):
        x = (5 * torch.randn(3, 50)).to(narrow)
        for door in (move.forward, move.inverse):
            torch.testing.assert_close(door(x, raw), door(x.float(), raw), rtol=1e-4, atol=1e-4)


def test_empty_and_of_any_shape(move):
    alone = () if isinstance(move, Concatenated) else ((),)  # whose elements go by their places in a token
    for shape in (*alone, (0,), (2, 0, 3), (2, 3, 4)):
        x, raw = torch.zeros(shape), torch.zeros(*shape, move.params_per_element)
        assert all(t.shape == shape for door in doors(move) for t in door(x, raw))


@pytest.mark.parametrize(
    "move",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_TO_COMPILE)) for name in MOVES],  # without kernels
    indirect=True,
)
def test_compiles_to_what_it_is(move):
    for door in doors(move):
        torch.compiler.reset()
        answers = []
        for run in (door, torch.compile(door, fullgraph=True, backend="aot_eager")):
            torch.manual_seed(0)
            x, raw = given(move, 64, 1.0)
            y, log_slopes = run(x, raw)
            (y.square().sum() + log_slopes.sum()).backward()
            answers.append((y, log_slopes, x.grad, raw.grad))
        for eager, compiled in zip(*answers, strict=True):
            torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-9)


def test_is_a_configuration(move):
    """What a model's page holds: it prints, compares, hashes, becomes JSON and cannot be changed."""
    assert eval(repr(move), vars(moves)) == move
    assert hash(move) == hash(type(move)(**{field.name: getattr(move, field.name) for field in fields(move)}))
    json.dumps(asdict(move))
    with pytest.raises(FrozenInstanceError):
        move.bins = 3


@pytest.mark.parametrize(
    ("bound", "limits"),
    [(Tanh(2.0), (-2, 2)), (SoftClip(3.0), (-3, 3)), (Sigmoid(0.5, 1.5), (-0.405465, 0.693147)), (Exp(), (-1e9, 1e9))],
    ids=repr,
)
def test_bounds_are_reached_and_not_passed(bound, limits):
    log_scale = bound(torch.tensor([-1e9, 0.0, 1e9]))
    torch.testing.assert_close(log_scale.aminmax(), torch.return_types.aminmax(map(torch.tensor, map(float, limits))))
    assert log_scale[1] == 0


@pytest.mark.parametrize("knots", [(), (-2.5, -1.0, -0.2, 0.5, 3.0)])
def test_a_histogram_has_the_density_that_its_bins_say(knots):
    torch.manual_seed(0)
    move, x = Histogram(bins=16, knots=knots), torch.linspace(-9, 9, 100_001).double()
    raw = 2 * torch.randn(move.params_per_element).double()
    edges, mass = move.edges(x), move.params(raw).exp()
    density = move.log_density(x, raw.expand(len(x), -1)).exp()
    found = torch.zeros_like(mass).index_add(0, torch.bucketize(x, edges), density) * (x[1] - x[0])
    torch.testing.assert_close(found, mass, rtol=0, atol=2e-3)  # a sum at steps of 2e-4
    y, log_slopes = move.forward(x, raw.expand(len(x), -1))
    torch.testing.assert_close(log_slopes - 0.5 * (y.square() + math.log(2 * math.pi)), density.log())
    inside = density[(x > edges[1]) & (x < edges[2])]
    torch.testing.assert_close(inside, inside[:1].expand_as(inside))


@pytest.mark.parametrize("kind", [Affine, RationalQuadraticSpline])
def test_a_subclass_moves_by_its_own_parameters_however_many_elements(kind):
    """So kernels, which serve many elements, are for the moves that they know."""

    class Halved(kind):
        def params(self, raw):
            return super().params(raw / 2)

    raw = torch.randn(5000, kind().params_per_element, dtype=torch.float64)
    torch.testing.assert_close(Halved().forward(raw[:, 0], raw), kind().forward(raw[:, 0], raw / 2))


WRONG = [
    *((Histogram, knots) for knots in ({"bins": 0}, *({"knots": k} for k in ((-1.0,), (-1.0, 2.0, 1.0), (0.5, 1.0))))),
    *((RationalQuadraticSpline, sizes) for sizes in ({"bins": 0}, {"bound": -1.0}, {"contrast": 1.0})),
    (CircularSpline, {"contrast": 0.5}),
    (MonotoneNetwork, {"units": 0}),
    *((MonotoneNetwork, {"contrast": contrast}) for contrast in (1.0, math.inf)),
    (RationalQuadraticSpline, {"contrast": math.inf}),
    *((mixture, {"components": 0}) for mixture in (LogisticMixture, GaussianMixture)),
    (Categorical, {"cells": 0}),
    *((bound, {"limit": limit}) for bound in (Tanh, SoftClip) for limit in (0.0, -1.0, math.inf)),
    *((Sigmoid, ends) for ends in ({"least": -1.0}, {"most": 0.0})),
    (Affine, {"soft_clip": 0.0}),
]


@pytest.mark.parametrize(("kind", "sizes"), WRONG)
def test_sizes_of_which_no_map_increases_are_refused(kind, sizes):
    (name,) = sizes
    with pytest.raises(ValueError, match=f"^{name} is a finite number|got.*{name}="):
        kind(**sizes)
