"""Flows of nflows, read by `load_nflows`, have the densities and the inverse that nflows gives them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.conditions import drop
from pushforward.interop.nflows.moves import ScaleShift, SoftmaxSpline

nflows = pytest.importorskip("nflows", reason="nflows is not installed")
from nflows import transforms  # noqa: E402
from nflows.distributions import StandardNormal  # noqa: E402
from nflows.flows import Flow, MaskedAutoregressiveFlow  # noqa: E402
from nflows.nn.nets import ResidualNet  # noqa: E402

FEATURES, CONTEXT, HIDDEN, ROWS = 5, 3, 16, 64
BOUND = 3.0
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}  # of densities in nats, and of events; absolute and relative


def flow_of(*parts: nn.Module) -> Flow:
    return Flow(transforms.CompositeTransform(parts), StandardNormal([FEATURES]))


def masked_spline(context: int | None = None, **options) -> nn.Module:
    return transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        FEATURES, HIDDEN, context, num_bins=6, tails="linear", tail_bound=BOUND, **options
    )


def coupling_spline(mask: list[int], context: int | None = None) -> nn.Module:
    def net(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, HIDDEN, context, num_blocks=2)

    return transforms.PiecewiseRationalQuadraticCouplingTransform(
        mask, net, num_bins=8, tails="linear", tail_bound=BOUND
    )


def affine(context: int | None = None, **options) -> nn.Module:
    return transforms.MaskedAffineAutoregressiveTransform(FEATURES, HIDDEN, context, **options)


FLOWS: dict[str, Callable[[], Flow]] = {
    "maf": lambda: MaskedAutoregressiveFlow(FEATURES, HIDDEN, num_layers=3, num_blocks_per_layer=2),
    "maf of feed-forward networks with random masks and permutations": lambda: MaskedAutoregressiveFlow(
        FEATURES,
        HIDDEN,
        num_layers=2,
        num_blocks_per_layer=2,
        use_residual_blocks=False,
        use_random_masks=True,
        use_random_permutations=True,
        batch_norm_between_layers=True,
    ),
    "maf, conditional": lambda: flow_of(affine(CONTEXT), transforms.ReversePermutation(FEATURES), affine(CONTEXT)),
    "maf of feed-forward networks, conditional": lambda: flow_of(affine(CONTEXT, use_residual_blocks=False)),
    "iaf": lambda: flow_of(transforms.InverseTransform(affine())),
    "one transform": lambda: Flow(affine(), StandardNormal([FEATURES])),
    "spline couplings": lambda: flow_of(
        transforms.RandomPermutation(FEATURES),
        transforms.LULinear(FEATURES, identity_init=False),
        coupling_spline([1, -1, 1, -1, 1]),
        transforms.ActNorm(FEATURES),
        coupling_spline([-1, 1, -1, 1, -1]),
    ),
    "spline couplings, conditional": lambda: flow_of(
        coupling_spline([1, 1, 0, 0, 0], CONTEXT), coupling_spline([0, 0, 1, 1, 1], CONTEXT)
    ),
    "masked splines": lambda: flow_of(
        masked_spline(), transforms.CompositeTransform([transforms.ReversePermutation(FEATURES), masked_spline()])
    ),
    "masked splines, conditional": lambda: flow_of(masked_spline(CONTEXT), masked_spline(CONTEXT)),
}


def trained(name: str, dtype: torch.dtype = torch.float64) -> Flow:
    """The flow with weights that are far from those it starts with, in evaluation."""
    torch.manual_seed(0)
    flow = FLOWS[name]().to(dtype).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for part in flow.modules():
            if isinstance(part, transforms.BatchNorm):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
            if isinstance(part, transforms.ActNorm):
                part.initialized.fill_(True)
    return flow


def loaded(theirs: Flow) -> pf.Flow:
    return pf.interop.load_nflows(theirs.state_dict(), tail_bound=BOUND)


def rows(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Events, some of them beyond the splines' bounds, and contexts where there are any."""
    x = 1.5 * torch.randn(ROWS, FEATURES, dtype=dtype)
    return x, torch.randn(ROWS, CONTEXT, dtype=dtype) if "conditional" in name else None


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", FLOWS)
def test_both_directions_agree(name, dtype):
    theirs = trained(name, dtype)
    ours = loaded(theirs)
    x, context = rows(name, dtype)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.triangular_solve is deprecated")
        torch.testing.assert_close(ours.log_prob(x, context), theirs.log_prob(x, context), **near)
        torch.testing.assert_close(ours.encode(x, context), theirs.transform_to_noise(x, context), **near)
        z = torch.randn(ROWS, FEATURES, dtype=dtype)
        torch.testing.assert_close(ours.decode(z, context), theirs._transform.inverse(z, context)[0], **near)


@pytest.mark.parametrize("name", FLOWS)
def test_a_loaded_flow_learns(name):
    """Weights get gradients, masked ones none; what nflows initialised from data is not initialised anew."""
    flow = loaded(trained(name))
    x, context = rows(name, torch.float64)
    assert flow.initialized is None or flow.initialized
    flow.log_prob(x, context).sum().backward()
    for parameter_name, parameter in flow.named_parameters():
        assert parameter.grad is not None, parameter_name
    for part in flow.modules():
        if hasattr(part, "pattern"):
            assert not part.weight.grad[~part.pattern].any()


def test_a_null_context_is_a_vector_of_zeros():
    flow = loaded(trained("spline couplings, conditional"))
    x, context = rows("conditional", torch.float64)
    null = drop(flow.context(context), torch.ones(ROWS, dtype=torch.bool))
    torch.testing.assert_close(flow.log_prob(x, null), flow.log_prob(x, torch.zeros_like(context)))


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if not key.startswith(name)}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "masked splines",
            lambda state: without(state, "_transform._transforms.0.autoregressive_net.final"),
            "no _trans",
        ),
        (
            "spline couplings",
            lambda state: without(state, "_transform._transforms.1."),
            r"_transforms\.1 has no entries",
        ),
        ("maf", lambda state: state | {"_embedding_net.0.weight": torch.ones(2)}, r"_embedding_net\.0\.weight"),
        ("maf", lambda state: without(state, "_transform."), "not the state dict of an nflows Flow"),
        ("maf", lambda state: state | {"_transform._transforms.6._scale": torch.ones(2)}, r"_transforms\.6\._scale"),
        ("maf", lambda state: state | {"_transform._transforms.0._permutation": torch.arange(4)}, "features of size"),
    ],
)
def test_what_is_missing_or_unknown_is_named(name, change, told):
    with pytest.raises(ValueError, match=told):
        pf.interop.load_nflows(change(trained(name).state_dict()), tail_bound=BOUND)


def test_what_a_state_dict_does_not_say_is_asked_for():
    with pytest.raises(ValueError, match="give tail_bound="):
        pf.interop.load_nflows(trained("masked splines").state_dict())


def test_other_splines_are_refused():
    part = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(FEATURES, HIDDEN, num_bins=6)
    with pytest.raises(ValueError, match="has 19"):
        pf.interop.load_nflows(flow_of(part).state_dict(), tail_bound=BOUND)


@pytest.mark.parametrize(
    "move", [ScaleShift(), SoftmaxSpline(bins=5, bound=BOUND, divisor=2.0)], ids=lambda move: type(move).__name__
)
def test_the_moves_slopes_are_their_derivatives(move):
    x = 2 * torch.randn(ROWS, dtype=torch.float64, requires_grad=True)
    raw = torch.randn(ROWS, move.params_per_element, dtype=torch.float64)
    y, log_slopes = move.forward(x, raw)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slopes, slopes.log())
    back, log_slopes_back = move.inverse(y, raw)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_slopes_back, -log_slopes)
