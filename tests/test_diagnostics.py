"""What a check tells of a transform, and that transforms and moves diagnose themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from pushforward.diagnostics import check, is_exact
from pushforward.moves import Affine, Composed, Concatenated, Elementwise, RationalQuadraticSpline, Shift
from pushforward.networks import MLP, ContractiveMLP, MaskedMLP
from pushforward.transform import Chain, Diagnosis, Inverse, Transform
from pushforward.transforms import (
    LU,
    ActNorm,
    Autoregressive,
    Coupling,
    Masked,
    Matrix,
    MultiScale,
    Permutation,
    Permuted,
    Residual,
    Reversible,
    Rotation,
    Roulette,
    Squeeze,
    alternating,
    halves,
)

SPLINE = RationalQuadraticSpline(bins=4, bound=2.0)
X = torch.tensor([[0.0, 1.0, 1.5, 9.0], [0.5, 1.0, -9.0, 9.0]])  # one and two elements beyond the bounds


def coupling(move: Elementwise = SPLINE) -> Coupling:
    split = halves(4)
    return Coupling(MLP(split.kept, move.raw_shape(split.moved), hidden=(8,)), move, split)


def autoregressive(move: Elementwise = SPLINE) -> Autoregressive:
    return Autoregressive(MaskedMLP(4, (move.params_per_element,), hidden=(8,)), move)


STEPS = {
    "autoregressive": (autoregressive, "Autoregressive", 3 / 8),
    "coupling": (coupling, "Coupling", 3 / 4),
    "in another order": (lambda: Permuted(Permutation([2, 3, 0, 1]), coupling()), "Coupling", 0.0),
    "inverse": (lambda: Inverse(coupling()), "Coupling", 3 / 4),
    "inverse in another order": (lambda: Inverse(Permuted(Permutation([2, 3, 0, 1]), coupling())), "Coupling", 0.0),
    "concatenated": (lambda: autoregressive(Concatenated(2, Affine(), SPLINE)), "Autoregressive", 3 / 4),
    "composed": (lambda: autoregressive(Composed(SPLINE, Affine())), "Autoregressive", 3 / 8),
    "affine": (lambda: coupling(Affine()), "Coupling", math.nan),
    "shift": (lambda: coupling(Shift()), "Coupling", math.nan),
    "masked": (lambda: Masked(alternating(4), Permuted(Permutation([1, 0]), ActNorm(2))), "ActNorm", math.nan),
    "reversible": (lambda: Reversible(Chain(coupling())), "Coupling", 3 / 4),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore:elements lie outside")
def test_each_step_says_what_lies_outside_its_bounds(name):
    make, kind, outside = STEPS[name]
    transform = make()
    for within in (transform, Chain(transform), Chain(Chain(transform))):
        (step,) = check(within, X).steps
        assert step.name.split()[-1] == kind
        assert step.outside == pytest.approx(outside, nan_ok=True)


@pytest.mark.parametrize("linear", [LU(4, seed=0), Matrix(torch.eye(4)), Rotation(4)], ids=repr)
def test_linear_maps_have_condition_numbers(linear):
    for parameter in linear.double().parameters():
        torch.nn.init.normal_(parameter)
    (step,) = check(linear, X.double()).steps
    (inverted,) = check(Inverse(linear), X.double()).steps
    condition = torch.linalg.cond(linear.matrix()).item()
    assert [step.condition, inverted.condition] == pytest.approx([condition] * 2)
    assert step.greatest - step.least == pytest.approx(math.log(condition), abs=1e-9)
    assert (inverted.least, inverted.greatest) == pytest.approx((-step.greatest, -step.least))


def test_what_moves_nothing_is_not_a_step():
    image = torch.randn(3, 1, 4, 4)
    assert check(MultiScale((1, 4, 4), [Squeeze(), Squeeze()]), image).steps == ()
    assert check(Permutation([1, 0, 3, 2]), X).steps == ()


def test_a_new_transform_and_a_new_move_bring_their_own_diagnosis():
    class Doubled(Transform):
        def forward(self, x, context=None):
            return 2 * x, torch.full((len(x),), 4 * math.log(2))

        def inverse(self, z, context=None):
            return z / 2, torch.full((len(z),), -4 * math.log(2))

        def diagnose(self, x, z, context=None):
            return Diagnosis("Doubled", (z / x).log(), condition=1.0)

    @dataclass(frozen=True)
    class Clipped(Shift):
        def outside(self, x):
            return x > 5

    with pytest.warns(RuntimeWarning, match=r"outside the bounds of splines, or .*: 75.0% in step 1 Coupling\. Call"):
        first, second = check(Chain(Doubled(), coupling(Clipped())), X.abs() + 1).steps
    assert (first.name, second.name) == ("0 Doubled", "1 Coupling")
    assert [first.least, first.greatest, first.condition] == pytest.approx([math.log(2), math.log(2), 1.0])
    assert second.outside == 0.75


def test_a_flow_is_exact_where_every_part_is():
    exact, estimated = (Residual(ContractiveMLP(4), **log_det) for log_det in ({}, {"log_det": Roulette(seed=0)}))
    assert is_exact(Chain(exact, LU(4)))
    assert not is_exact(Chain(LU(4), Inverse(Chain(estimated))))
