"""What a move of a whole token owes, and what the two mixtures of TarFlowLM are."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pushforward import moves
from pushforward.moves import Elementwise, Gaussians, Mix1, MixD, Move
from pushforward.networks import MaskedMLP

FEATURES = 3
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # where slopes are 1; an error grows as they fall


def mix1() -> Mix1:
    return Mix1(MaskedMLP(FEATURES, (12,), hidden=(8, 8), context_encoder=nn.Identity()), width=8, components=4)


def mixd() -> MixD:
    return MixD(Gaussians(components=6, features=FEATURES))


MOVES = {"mix-1": mix1, "mix-d": mixd}


@pytest.fixture(params=MOVES)
def move(request) -> Move:
    torch.manual_seed(0)
    move = MOVES[request.param]().double()
    with torch.no_grad():
        for parameter in move.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return move


def given(move: Move, n: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, FEATURES, dtype=dtype).requires_grad_()
    return x, (scale * torch.randn(n, *move.raw_shape(FEATURES), dtype=dtype)).requires_grad_()


def log_normal(t: Tensor) -> Tensor:
    return -0.5 * (t.square() + math.log(2 * math.pi))


def test_every_move_of_a_token_is_in_the_table():
    exported = {kind for kind in vars(moves).values() if inspect.isclass(kind) and issubclass(kind, Move)}
    whole = {kind for kind in exported if not inspect.isabstract(kind) and not issubclass(kind, Elementwise)}
    others = {moves.Tempered}  # of another move: in test_language.py
    assert whole == {type(make()) for make in MOVES.values()} | others


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("first", [0, 1], ids=["from data", "from latent"])
@pytest.mark.parametrize("grad", [False, True])
def test_each_door_undoes_the_other(move, first, dtype, grad):
    """An error of one feature is multiplied by the slope of the next ones: hence the product of both."""
    doors = (move.to(dtype).forward, move.inverse)
    x, raw = given(move, 200, dtype)
    with torch.set_grad_enabled(grad):
        y, log_slopes = doors[first](x, raw)
        again, back_slopes = doors[1 - first](y, raw)
    worst = log_slopes.abs().sum(-1, keepdim=True).exp()
    assert ((again - x).abs() <= TOLERANCE[dtype] * (1 + x.abs()) * worst).all()
    assert ((back_slopes + log_slopes).abs() <= 10 * TOLERANCE[dtype] * (1 + x.abs()) * worst).all()


def test_log_slopes_are_those_of_a_triangular_jacobian(move):
    for door in (move.forward, move.inverse):
        x, raw = given(move, 20)
        y, log_slopes = door(x, raw)
        jacobian = torch.stack([torch.autograd.grad(y_i.sum(), x, retain_graph=True)[0] for y_i in y.unbind(-1)], -2)
        assert jacobian.triu(1).abs().max() == 0
        slopes = jacobian.diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(slopes.log(), log_slopes, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("i", range(FEATURES))
def test_a_feature_after_those_before_it_moves_as_in_the_whole(move, i):
    x, raw = given(move, 50)
    y, log_slopes = move.forward(x, raw)
    forward, inverse = move.after(x[..., :i], raw)
    here = slice(i, i + 1)
    torch.testing.assert_close(forward(x[..., here]), (y[..., here], log_slopes[..., here]))
    torch.testing.assert_close(inverse(y[..., here]), (x[..., here], -log_slopes[..., here]))


def test_a_point_far_outside_leaves_the_others_as_they_are(move):
    x, raw = given(move, 50)
    for door in (move.forward, move.inverse):
        together = door(torch.cat([x, torch.full_like(x[:1], 100.0)]), torch.cat([raw, raw[:1]]))
        torch.testing.assert_close([t[:-1] for t in together], [*door(x, raw)], rtol=1e-9, atol=1e-9)


def test_the_log_density_without_distribution_functions_is_that_of_the_map(move):
    x, raw = given(move, 200)
    y, log_slopes = move.forward(x, raw)
    found, expected = move.log_density(x, raw), log_normal(y) + log_slopes
    torch.testing.assert_close(found.flatten(1).sum(1) if found.dim() > 1 else found, expected.sum(-1))
    both = [torch.autograd.grad(value.sum(), (x, raw)) for value in (found, expected)]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("far", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_finite_with_finite_gradients_far_outside(move, far, scale):
    x, raw = given(move.float(), 100, torch.float32, scale)
    for door in (move.forward, move.inverse):
        x.grad = raw.grad = None
        y, log_slopes = door(x + far * torch.sign(x), raw)
        (y.sum() + log_slopes.sum()).backward()
        assert all(t.isfinite().all() for t in (y, log_slopes, x.grad, raw.grad))
    assert move.log_density(x + far, raw).isfinite().all()


def test_arithmetic_is_in_at_least_float32_and_batches_have_any_shape(move):
    for given_in, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        move = move.to(given_in)
        for batch in ((), (0,), (2, 0), (2, 3, 4)):
            x = torch.zeros(*batch, FEATURES, dtype=given_in)
            raw = torch.zeros(*batch, *move.raw_shape(FEATURES), dtype=given_in)
            for door in (move.forward, move.inverse):
                assert all((t.shape, t.dtype) == (x.shape, wide) for t in door(x, raw))
            assert move.log_density(x, raw).dtype == wide


def test_the_density_of_mix_d_is_that_of_the_mixture():
    torch.manual_seed(0)
    move = mixd().double()
    with torch.no_grad():
        move.gaussians.log_scale.add_(0.3 * torch.randn_like(move.gaussians.log_scale))
    x, raw = given(move, 50)
    mean, scale = move.gaussians.mean, move.gaussians.log_scale.exp()
    components = torch.distributions.Independent(torch.distributions.Normal(mean, scale.expand_as(mean)), 1)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=raw), components)
    torch.testing.assert_close(move.log_density(x, raw), mixture.log_prob(x), rtol=1e-12, atol=1e-12)
    y, log_slopes = move.forward(x, raw)
    torch.testing.assert_close((log_normal(y) + log_slopes).sum(-1), mixture.log_prob(x), rtol=1e-9, atol=1e-9)


def test_narrow_components_give_the_cross_entropy_of_the_network():
    """The bound log p(x) − log q(x | k) of a token k with x ~ N(mean_k, scale²), as the scale goes to 0."""
    torch.manual_seed(0)
    gaussians = Gaussians(components=27, features=5).double()
    nn.init.constant_(gaussians.log_scale, math.log(1e-3))
    tokens, logits = torch.randint(27, (500,)), 3 * torch.randn(500, 27).double()
    noise = torch.randn(500, 5).double()
    x = gaussians.mean[tokens] + gaussians.log_scale.exp()[tokens] * noise
    log_q = (log_normal(noise) - gaussians.log_scale[tokens]).sum(-1)
    expected = cross_entropy(logits, tokens, reduction="none")
    assert (log_q - MixD(gaussians).log_density(x, logits) - expected).abs().max() < 1e-6


def test_narrow_components_are_found_again():
    """The distribution function is nearly a staircase, and y lies on its steps."""
    torch.manual_seed(0)
    move = MixD(Gaussians(components=27, features=2, scale=1e-2)).double()
    y, raw = torch.randn(1000, 2).double(), torch.randn(1000, 27).double()
    x, log_slopes = move.inverse(y, raw)
    again, back_slopes = move.forward(x, raw)
    torch.testing.assert_close(again, y, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(back_slopes, -log_slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", MOVES)
def test_densities_integrate_to_one(name):
    torch.manual_seed(0)
    net = MaskedMLP(2, (12,), hidden=(8, 8), context_encoder=nn.Identity())
    nn.init.normal_(net.layers.answer.weight, std=0.3)
    move = Mix1(net, width=8, components=4) if name == "mix-1" else MixD(Gaussians(components=6, features=2))
    axis = torch.linspace(-8, 8, 321)
    x = torch.cartesian_prod(axis, axis)
    raw = torch.randn(move.raw_shape(2)).expand(len(x), -1)
    density = move.log_density(x, raw)
    density = density.flatten(1).sum(1) if density.dim() > 1 else density
    assert abs(density.exp().sum().item() * 0.05**2 - 1) < 1e-4


def test_what_gaussians_are_not_is_refused():
    with pytest.raises(ValueError, match="3 features, and a token has 4"):
        mixd().raw_shape(4)
    for scale in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="scale is a finite number above 0 and below 1; got"):
            Gaussians(components=6, features=FEATURES, scale=scale)
