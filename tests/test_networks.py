"""What every causal network owes: causality, and a cache that changes nothing."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from pushforward.conditions import Context, Labels, Vector
from pushforward.moves import Affine, LogisticMixture
from pushforward.networks import (
    MLP,
    CausalTransformer,
    Guided,
    LabelEmbedding,
    LinearRule,
    MaskedMLP,
    VectorEmbedding,
)
from pushforward.solve import sequential
from pushforward.transforms import Autoregressive
from tests.kernels import switch

TOKENS, FEATURES, ROWS = 6, 3, 2
# who reads whom: 0 -> 1 -> 2, 3 is read by none and reads none, 4 reads 0 and 2, 5 reads 4
GRAPH = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)
GRAPH[[1, 2, 4, 4, 5], [0, 1, 0, 2, 4]] = True


def transformer(classes: int = 0) -> CausalTransformer:
    context_encoder = LabelEmbedding(classes, 8) if classes else None
    return CausalTransformer(
        FEATURES, (FEATURES, 2), tokens=TOKENS, width=8, depth=2, heads=2, context_encoder=context_encoder
    )


NETWORKS = {
    "transformer": lambda: transformer(),
    "transformer of labels": lambda: transformer(classes=4),
    "guided by labels": lambda: Guided(transformer(classes=4), Affine(), LinearRule(0.5, schedule="linear")),
    "guided by attention": lambda: Guided(transformer(), Affine(), LinearRule(0.5), attention_temperature=0.5),
    "masked": lambda: MaskedMLP(TOKENS, (2,), hidden=(12, 8), activation=F.silu),
    "masked by rectifiers": lambda: MaskedMLP(TOKENS, (2,), hidden=(50, 70)),
    "masked by residual rectifiers of labels": lambda: MaskedMLP(
        TOKENS, (3,), hidden=(30, 30), residual=True, context_encoder=LabelEmbedding(4, 30)
    ),
    "masked of one unit": lambda: MaskedMLP(TOKENS, (1,), hidden=(1,)),
    "masked and residual": lambda: MaskedMLP(TOKENS, (3,), hidden=(9, 9), residual=True, activation=F.silu),
    "masked of labels": lambda: MaskedMLP(
        TOKENS, (2,), hidden=(12, 8), activation=F.silu, context_encoder=LabelEmbedding(4, 12)
    ),
    "masked by a graph": lambda: MaskedMLP(TOKENS, (2,), graph=GRAPH, activation=F.silu),
}


@pytest.fixture(params=product(NETWORKS, ("tensors", "kernel")), ids=" by ".join)
def asked(request, monkeypatch):
    """A network with random weights, tokens for it, and labels. Without gradients its kernel may read for it."""
    name, reader = request.param
    switch(monkeypatch, reader == "kernel")
    net = NETWORKS[name]().double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    context = Labels(4)([2, -1]) if "labels" in name else None
    tokens = torch.randn(ROWS, TOKENS, FEATURES, dtype=torch.float64)
    return net, tokens[..., 0] if isinstance(net, MaskedMLP) else tokens, context


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("pieces", [[1] * TOKENS, [TOKENS], [0, 2, 1, 3]], ids=str)
def test_cached_equals_parallel(asked, pieces, gradients):
    net, x, context = asked
    expected = net(x, context)
    with torch.set_grad_enabled(gradients):
        cache, start = net.start(context), 0
        for n in pieces:
            answer = net(x[:, start : start + n], context, cache)[:, : n + 1]
            known = expected[:, start : start + n + 1]
            torch.testing.assert_close(answer[:, : known.shape[1]], known)
            start += n
            assert cache.length == start


@pytest.mark.parametrize("gradients", [True, False])
def test_truncate_takes_tokens_back(asked, gradients):
    net, x, context = asked
    with torch.set_grad_enabled(gradients):
        cache = net.start(context)
        net(torch.cat([x[:, :2], -x[:, 2:4]], 1), context, cache)  # the last two were only tried
        cache.truncate(2)
        answer = net(x[:, 2:4], context, cache)
        kept = answer.clone()
        cache.truncate(2)
        net(-x[:, 2:4], context, cache)
    torch.testing.assert_close(answer, net(x, context)[:, 2:5])
    assert torch.equal(answer, kept), "an answer once given does not change"


def test_answers_depend_on_earlier_tokens_alone(asked, request):
    net, x, context = asked
    name, _ = request.node.callspec.params["asked"]
    jacobian = torch.autograd.functional.jacobian(lambda t: net(t, context).sum(0).flatten(1).abs().sum(1), x)
    depends = jacobian.abs().sum(1).reshape(TOKENS, TOKENS, -1).sum(2) > 0  # of (T, B, T, …)
    allowed = GRAPH if "graph" in name else torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(-1)
    assert not (depends & ~allowed).any()
    assert "one unit" in name or torch.equal(depends, allowed)


def test_a_cache_started_with_gradients_goes_on_without(asked):
    net, x, context = asked
    cache = net.start(context)
    net(x[:, :2], context, cache)
    with torch.no_grad():
        torch.testing.assert_close(net(x[:, 2:3], context, cache), net(x, context)[:, 2:4])


@torch.no_grad()
def fed(net, x, context=None):
    """Its answers through a cache, token by token, and whether the kernel gave them."""
    cache = net.start(context)
    answers = [net(token, context, cache)[:, -1:] for token in (x[:, :0], *x[:, :-1].split(1, 1))]
    return torch.cat(answers, 1), cache.kernel is not None


def test_the_kernel_in_bfloat16_is_as_near_as_tensor_operations_are(monkeypatch):
    net = CausalTransformer(3, (3, 2), tokens=TOKENS, width=128, depth=2, heads=2)
    torch.nn.init.normal_(net.answer.weight, std=0.1)
    x = torch.randn(40, TOKENS, 3)
    exact, _ = fed(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        switch(monkeypatch, on=False)
        expected, by_kernel = fed(net, x)
        assert not by_kernel
        switch(monkeypatch, on=True)
        answer, by_kernel = fed(net, x)
    assert by_kernel
    assert 0 < (answer - exact).abs().mean() < 1.5 * (expected - exact).abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_masked_kernel_decodes_blocks_of_rows(monkeypatch, dtype):
    """More rows than a block has: they are answered for as alone, to the last bit."""
    switch(monkeypatch, on=True)
    net = MaskedMLP(TOKENS, (2,), hidden=(50, 70)).to(dtype)
    torch.nn.init.normal_(net.layers.answer.weight, std=0.3)
    x = torch.randn(150, TOKENS, dtype=dtype)
    cache, alone = net.start(), net.start()
    answer = net(x[:, :2], cache=cache)
    assert cache.kernel is not None
    torch.testing.assert_close(answer, net(x)[:, :3])
    assert torch.equal(net(x[-1:, :1], cache=alone), answer[-1:, :2])
    assert torch.equal(net(x[-1:, 1:2], cache=alone), answer[-1:, 1:])
    for wrong in (x[:1, 2:], x, x[:, 2:].to("meta")):
        with pytest.raises(ValueError, match="there is room for"):
            net(wrong, cache=cache)


def wrapped(net):
    net.layers[0].mlp[1] = torch.nn.Sequential(net.layers[0].mlp[1])


def hooked(net):
    net.layers[1].register_forward_hook(lambda *_: None)


@torch.no_grad()
def test_the_kernel_reads_nothing_that_is_not_there(monkeypatch):
    switch(monkeypatch, on=True)
    net = transformer(classes=4)
    cache, one_for_all = net.start(), Labels(4)([2])
    x = torch.randn(2, TOKENS, FEATURES)
    torch.testing.assert_close(net(x, one_for_all, cache)[:, :TOKENS], net(x, one_for_all))
    for wrong in (x[:, :1], torch.randn(3, 0, FEATURES), torch.randn(2, 0, FEATURES + 1)):
        with pytest.raises(ValueError, match="there is room for"):
            net(wrong, one_for_all, cache)


@pytest.mark.parametrize("change", [wrapped, hooked], ids=lambda change: change.__name__)
def test_the_kernel_stands_back_where_layers_are_not_as_built(change, monkeypatch):
    switch(monkeypatch, on=True)
    net, x = transformer().double(), torch.randn(2, TOKENS, FEATURES, dtype=torch.float64)
    torch.nn.init.normal_(net.answer.weight)
    assert fed(net, x)[1]
    change(net)
    answer, by_kernel = fed(net, x)
    assert not by_kernel
    torch.testing.assert_close(answer, net(x))


def test_attention_temperature_is_a_row_s_own():
    net = transformer().double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, null = torch.randn(2, TOKENS, FEATURES, dtype=torch.float64), torch.ones(2, dtype=torch.bool)
    plain, warm = net(x), net(x, Context(null=null, attention_temperature=torch.tensor([1.0, 0.3])))
    torch.testing.assert_close(warm[0], plain[0])
    assert not torch.allclose(warm[1], plain[1])


@pytest.mark.parametrize("on", ["both", "scale", "mean"])
def test_the_linear_rule(on):
    net, x, context = transformer(classes=4), torch.randn(2, TOKENS, FEATURES), Labels(4)([1, 3])
    torch.nn.init.normal_(net.answer.weight)
    conditional, null = net(x, context), net(x, context.drop(torch.ones(2, dtype=torch.bool)))
    guided = Guided(net, Affine(), LinearRule(2.0, on, "linear"))(x, context)
    g = 2 * torch.arange(TOKENS)[:, None, None] / (TOKENS - 1)
    acts = torch.tensor([on != "mean", on != "scale"])  # raw numbers are (log_scale, shift)
    torch.testing.assert_close(guided, torch.where(acts, conditional + g * (conditional - null), conditional))
    for weight in (0.0, 2.0):
        same = Guided(net, Affine(), LinearRule(weight, on))(x, context.drop(torch.ones(2, dtype=torch.bool)))
        torch.testing.assert_close(same, null)  # nothing to move away from


def test_guidance_is_refused_where_it_is_not_defined():
    with pytest.raises(TypeError, match="not for LogisticMixture"):
        Guided(transformer(), LogisticMixture(), LinearRule(1.0))
    with pytest.raises(ValueError, match="on='scales'"):
        LinearRule(1.0, "scales")
    with pytest.raises(ValueError, match="'annealed'"):
        LinearRule(1.0, schedule="annealed")


def test_units_of_a_masked_network_are_computed_once(monkeypatch):
    """The whole way back multiplies as much as one parallel pass does, without its masked weights."""
    net = MaskedMLP(32, (2,), hidden=(64, 64))
    multiplied = []

    def addmm(bias, weight, v):
        multiplied.append(weight.numel())
        return bias + weight @ v

    monkeypatch.setattr(torch, "addmm", addmm)
    list(sequential(net, Affine(), torch.randn(5, 32)))
    assert sum(multiplied) == sum(int(layer.mask.sum()) for layer in net.layers)


def test_a_narrow_masked_network_reads_the_first_number_and_the_last():
    net = MaskedMLP(20, (1,), hidden=(5, 5), activation=F.silu)
    torch.nn.init.normal_(net.layers.answer.weight)
    jacobian = torch.autograd.functional.jacobian(lambda t: net(t)[0, :, 0], torch.randn(1, 20))[:, 0]
    assert jacobian[19, 0] != 0
    assert jacobian[19, 18] != 0


def test_graphs_that_are_refused():
    with pytest.raises(ValueError, match=r"number 1 reads number 2, .*Permutation"):
        MaskedMLP(3, (1,), graph=torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match="graph of 4 numbers"):
        MaskedMLP(4, (1,), graph=torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"hidden=\(8, 9\)"):
        MLP(4, (1,), hidden=(8, 9), residual=True)


@pytest.mark.parametrize("context", [0, 3])
def test_a_masked_step_agrees_with_zuko(context):
    """Equal masks and, on the same weights, equal latents and log-dets. zuko deals its sets out to units in turn."""
    zuko = pytest.importorskip("zuko", reason="zuko, a peer to agree with, is not installed")
    features, hidden = 5, (20, 40)

    def move(log_scale, shift):
        return torch.distributions.AffineTransform(-shift * torch.exp(-log_scale), torch.exp(-log_scale))

    theirs = zuko.flows.MaskedAutoregressiveTransform(
        features, context, univariate=move, shapes=((), ()), hidden_features=hidden
    )
    context_encoder = VectorEmbedding(context, hidden[0]) if context else None
    net = MaskedMLP(features, (2,), hidden=hidden, context_encoder=context_encoder)
    sets = features if context else features - 1
    inner = torch.arange(features)
    for ours, other in zip(net.layers, [layer for layer in theirs.hyper if hasattr(layer, "mask")], strict=True):
        units = len(other.weight)
        outer = (torch.arange(units) % sets).argsort(stable=True) if units in hidden else torch.arange(units)
        assert torch.equal(ours.mask, other.mask[outer][:, inner].float())
        ours.weight.data, ours.bias.data = other.weight.data[outer][:, inner], other.bias.data[outer]
        if context and len(inner) == features:
            context_encoder.linear.weight.data = other.weight.data[outer][:, features:]
            torch.nn.init.zeros_(context_encoder.linear.bias)
        inner = outer
    x, given = torch.randn(7, features), torch.randn(7, context) if context else None
    z, log_det = Autoregressive(net, Affine())(x, Vector(context)(given) if context else None)
    expected, slopes = theirs(given).call_and_ladj(x)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(log_det, slopes)
