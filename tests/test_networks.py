"""What every causal network owes: causality, decoders that agree with one pass, and parts that are called."""

from __future__ import annotations

import copy
import inspect
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pushforward import conditions, networks
from pushforward.bases import StandardNormal
from pushforward.conditions import Condition, Label, Vector, drop, read
from pushforward.flow import Flow
from pushforward.guidance import Linear
from pushforward.moves import Affine, Composed, LogisticMixture, Shift
from pushforward.networks import (
    MLP,
    CausalNetwork,
    CausalTransformer,
    GatedAttentionNet,
    Guided,
    LabelEmbedding,
    LabelPrefix,
    LayerOptions,
    Learned,
    MaskedMLP,
    NumberPrefix,
    Positions,
    PrefixTransformer,
    Rotary,
    ScaledRotary,
    TextPrefix,
    VectorEmbedding,
    VectorPrefix,
    VelocityViT,
    ViT,
)
from pushforward.networks import transformer as transformers
from pushforward.networks.layers import GroupedAttention
from pushforward.networks.transformer import Attention, Layer
from pushforward.solve import sequential
from pushforward.transforms import Autoregressive
from tests.kernels import switch

TOKENS, FEATURES, ROWS = 6, 3, 2
# who reads whom: 0 -> 1 -> 2, 3 is read by none and reads none, 4 reads 0 and 2, 5 reads 4
GRAPH = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)
GRAPH[[1, 2, 4, 4, 5], [0, 1, 0, 2, 4]] = True


def transformer(classes: int = 0, positions: Positions | None = None) -> CausalTransformer:
    context_encoder = LabelEmbedding(classes, 8) if classes else None
    return CausalTransformer(
        FEATURES,
        (FEATURES, 2),
        positions=positions or Learned(TOKENS, 8),
        width=8,
        depth=2,
        heads=2,
        context_encoder=context_encoder,
    )


def prefixed(classes: int = 0, **options) -> PrefixTransformer:
    return PrefixTransformer(
        FEATURES,
        (FEATURES, 2),
        positions=ScaledRotary((2, 3), prefix=bool(classes)),
        width=32,
        depth=2,
        options=LayerOptions(head=16, **options),
        prefix=LabelPrefix(classes, 32) if classes else None,
    )


NETWORKS = {
    "transformer": lambda: transformer(),
    "transformer of labels": lambda: transformer(classes=4),
    "transformer of rotary positions and labels": lambda: transformer(classes=4, positions=Rotary(TOKENS)),
    "transformer of any length": lambda: transformer(positions=Rotary(None)),
    "guided by labels": lambda: Guided(transformer(classes=4), Affine(), Linear(0.5, schedule="linear")),
    "guided by attention": lambda: Guided(transformer(), Affine(), Linear(0.5), attention_temperature=0.5),
    "transformer with a first token": lambda: prefixed(qk_norm=True),
    "transformer with a prefix of labels": lambda: prefixed(
        4, norm="rms", key_heads=1, post_norm=True, gated=True, bias=False
    ),
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


UNSERVED = {  # by tensor operations alone
    "kernel": {
        *("transformer of rotary positions and labels", "masked", "masked and residual", "masked of labels"),
        *("transformer of any length", "transformer with a first token", "transformer with a prefix of labels"),
        "masked by a graph",
    },
    "graph": {"transformer of any length", "transformer with a first token", "transformer with a prefix of labels"},
}
DECODERS = [(name, kind) for name in NETWORKS for kind in ("tensors", *UNSERVED) if name not in UNSERVED.get(kind, ())]


@pytest.fixture(params=DECODERS, ids=" by ".join)
def asked(request, allow):
    """A network with random weights, tokens for it, and labels. Without gradients a decoder of this kind serves."""
    name, kind = request.param
    allow(kind)
    net = NETWORKS[name]().double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    context = read({"label": Label(4)}, [2, -1]) if "labels" in name else None
    tokens = torch.randn(ROWS, TOKENS, FEATURES, dtype=torch.float64)
    return net, tokens if net.token else tokens[..., 0], context


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("pieces", [[1] * (TOKENS - 1), [TOKENS - 1], [2, 1, 2]], ids=str)
def test_decoding_equals_one_pass(asked, pieces, gradients):
    net, x, context = asked
    expected = net(x, context)
    with torch.set_grad_enabled(gradients):
        decoder, start = net.start(ROWS, context), 0
        torch.testing.assert_close(decoder.answer, expected[:, :1])
        for n in pieces:
            answers = decoder.read(x[:, start : start + n])
            start += n
            torch.testing.assert_close(answers, expected[:, start - n + 1 : start + 1])
            assert torch.equal(decoder.answer, answers[:, -1:])
            assert decoder.length == start
        if net.tokens is not None:
            with pytest.raises(ValueError, match="reads all but the last"):
                decoder.read(x[:, :1])


def test_every_causal_network_is_tried():
    exported = {kind for kind in vars(networks).values() if inspect.isclass(kind) and issubclass(kind, CausalNetwork)}
    elsewhere = {networks.Resumed, networks.TwoStreams}  # by streams of clips; in tests/test_starflow2.py
    tried = {type(make()) for make in NETWORKS.values()} | elsewhere
    assert {kind for kind in exported if not inspect.isabstract(kind)} == tried


@torch.no_grad()
def test_all_kinds_of_decoder_answer_alike(asked, request):
    """The one that calls the whole network, and the one that `start` chooses."""
    net, x, context = asked
    whole, chosen = net.whole(ROWS, context), net.start(ROWS, context)
    assert (whole.kind, chosen.kind) == ("whole", request.node.callspec.params["asked"][1])
    torch.testing.assert_close(chosen.answer, whole.answer)
    for token in x[:, :-1].split(1, 1):
        torch.testing.assert_close(chosen.read(token), whole.read(token))
    for decoder in (whole, chosen):
        decoder.truncate(1)
    torch.testing.assert_close(chosen.read(-x[:, 1:3]), whole.read(-x[:, 1:3]))


@pytest.mark.parametrize("gradients", [True, False])
def test_truncate_takes_tokens_back(asked, gradients):
    net, x, context = asked
    with torch.set_grad_enabled(gradients):
        decoder = net.start(ROWS, context)
        decoder.read(torch.cat([x[:, :2], -x[:, 2:4]], 1))  # the last two were only tried
        decoder.truncate(2)
        answers = decoder.read(x[:, 2:4])
        kept = answers.clone()
        decoder.truncate(2)
        decoder.read(-x[:, 2:4])
    torch.testing.assert_close(answers, net(x, context)[:, 3:5])
    assert torch.equal(answers, kept), "an answer once given does not change"


def test_answers_depend_on_earlier_tokens_alone(asked, request):
    net, x, context = asked
    name, _ = request.node.callspec.params["asked"]
    jacobian = torch.autograd.functional.jacobian(lambda t: net(t, context).sum(0).flatten(1).abs().sum(1), x)
    depends = jacobian.abs().sum(1).reshape(TOKENS, TOKENS, -1).sum(2) > 0  # of (T, B, T, …)
    allowed = GRAPH if "graph" in name else torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(-1)
    assert not (depends & ~allowed).any()
    assert "one unit" in name or torch.equal(depends, allowed)


def test_a_decoder_started_with_gradients_goes_on_without(asked):
    net, x, context = asked
    decoder = net.start(ROWS, context)
    decoder.read(x[:, :2])
    with torch.no_grad():
        torch.testing.assert_close(decoder.read(x[:, 2:3]), net(x, context)[:, 3:4])


def test_decoders_are_differentiable(asked):
    net, x, context = asked
    x.requires_grad_()
    decoder = net.start(ROWS, context)
    answers = torch.cat([decoder.answer, *(decoder.read(token) for token in x[:, :-1].split(1, 1))], 1)
    weights = torch.randn_like(answers)
    for found, expected in zip(
        *(torch.autograd.grad((raw * weights).sum(), x) for raw in (answers, net(x, context))), strict=True
    ):
        torch.testing.assert_close(found, expected)


def layers(net):
    """The names of its parts, the network itself among them."""
    return [name for name, part in net.named_modules() if not isinstance(part, torch.nn.ModuleList)]


def fired(net, names, run) -> set[str]:
    """Which of its parts are called while it runs."""
    called = set()
    hooks = [net.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name)) for name in names]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return called


@pytest.mark.parametrize("rows", [1, 300])
def test_hooks_fire_in_sampling_as_in_scoring(asked, rows):
    """On every part alone, and on all of them at once."""
    net, x, context = asked
    x = x[:1].repeat(rows, *[1] * (x.dim() - 1))
    context = context and conditions.rows(conditions.each(context, lambda t: t[0]), (rows,))
    step = Autoregressive(net, MOVES[net(x[:1], context and conditions.each(context, lambda t: t[:1])).shape[-1]])
    for names in (layers(net), *([name] for name in layers(net))):
        scoring, sampling = (fired(net, names, partial(door, x, context)) for door in (net, step.inverse))
        assert scoring == sampling
    assert scoring, "the last of its parts is called"


MOVES = {1: Shift(), 2: Affine(), 3: Composed(Shift(), Affine())}  # by the raw parameters that they take


class Wrapper(torch.nn.Module):
    """What adapters are: a layer, and something added to its answer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.delta = layer, torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, *args):
        return self.layer(*args) + self.delta


def wrapped(net, name):
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, Wrapper(net.get_submodule(name)))


def hooked(net, name):
    net.get_submodule(name).register_forward_hook(lambda *args: args[-1] + 0.3)


def hooked_before(net, name):
    net.get_submodule(name).register_forward_pre_hook(lambda _, args: (args[0].sin(), *args[1:]))


def subclassed(net, name):
    layer = net.get_submodule(name)
    kind = type(layer)
    layer.__class__ = type("Shifted", (kind,), {"forward": lambda self, *args: kind.forward(self, *args) + 0.3})


def replaced(net, name):
    layer = net.get_submodule(name)
    forward = layer.forward
    layer.forward = lambda *args: forward(*args) + 0.3


@pytest.mark.parametrize("change", [wrapped, hooked, hooked_before, subclassed, replaced], ids=lambda f: f.__name__)
def test_a_changed_layer_samples_as_it_scores(asked, change, request):
    """Each linear layer in turn; attention, and whole layers of a transformer."""
    net, x, context = asked
    kinds, one = (torch.nn.Linear, Attention, Layer), "one unit" in request.node.name  # which may read nothing
    names = [name for name, part in net.named_modules() if isinstance(part, kinds)]
    raw, pristine = net(x, context), copy.deepcopy(net)
    for name in names:
        net = copy.deepcopy(pristine)
        change(net, name)
        step = Autoregressive(net, MOVES[raw.shape[-1]])
        with torch.no_grad():
            assert one or not torch.allclose(net(x, context), raw), name
            torch.testing.assert_close(step.inverse(step(x, context)[0], context)[0], x)
            assert net.start(ROWS, context).kind != "kernel", name


@pytest.mark.parametrize("kind", UNSERVED)
@torch.no_grad()
def test_which_decoder_serves(kind, allow):
    """No other where layers are hooked, a mode records, or gradients are wanted."""
    allow(kind)
    for name, make in NETWORKS.items():
        net, context = make(), read({"label": Label(4)}, [2, -1]) if "labels" in name else None
        assert net.start(ROWS, context).kind == ("tensors" if name in UNSERVED[kind] else kind), name
        with torch.enable_grad():
            assert net.start(ROWS, context).kind == "tensors", name
        net.register_forward_hook(lambda *_: None)
        assert net.start(ROWS, context).kind == "whole", name
    with FlopCounterMode(display=False):
        assert transformer().start(ROWS).kind == "tensors"


def test_a_network_that_has_a_forward_alone_is_decoded():
    class Sums(CausalNetwork):
        tokens, token = None, (FEATURES,)

        def forward(self, x, context=None):
            return F.pad(x.cumsum(1)[:, :-1], (0, 0, 1, 0))[..., None]

    net, z = Sums(), torch.randn(ROWS, TOKENS, FEATURES, dtype=torch.float64)
    step = Autoregressive(net, Shift())
    assert net.start(ROWS).kind == "whole"
    torch.testing.assert_close(step(step.inverse(z)[0])[0], z)


@torch.no_grad()
def test_rotary_positions_serve_sequences_of_any_length():
    net = CausalTransformer(2, (2, 2), positions=Rotary(None), width=16, depth=2, heads=2).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(3, 50, 2, dtype=torch.float64)
    torch.testing.assert_close(net(x)[:, :7], net(x[:, :7]))
    step = Autoregressive(net, Affine())
    for length in (1, 7, 50):
        torch.testing.assert_close(step(step.inverse(x[:, :length])[0])[0], x[:, :length])
    flow = Flow(step, StandardNormal(None, 2), event=(None, 2))
    assert flow.sample(3, size=(7, 2)).shape == (3, 7, 2)
    known = flow.decode(x[:, :7], known=x[:, :3])
    torch.testing.assert_close(flow.encode(known)[:, 3:], x[:, 3:7])
    with pytest.raises(ValueError, match='"linear" schedule'):
        Guided(net, Affine(), Linear(1.0, schedule="linear"), attention_temperature=0.5)(x)


@pytest.mark.parametrize("mask", [None, torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()])
def test_keys_that_groups_share_may_be_repeated(mask, monkeypatch):
    """As on a GPU in float32, where no kernel shares them: the same values and gradients."""
    attention = GroupedAttention(12, LayerOptions(head=2, key_heads=3), causal=mask is None).double()
    h, found = torch.randn(ROWS, TOKENS, 12, dtype=torch.float64, requires_grad=True), []
    for shared in (True, False):
        monkeypatch.setattr(transformers, "shares_keys", lambda *_, shared=shared: shared)
        value = attention(h, mask=mask)
        found.append([value, *torch.autograd.grad(value.square().sum(), [h, attention.qkv.weight])])
    torch.testing.assert_close(*found)


def test_rotary_attention_depends_on_distances_alone():
    positions, q, k = Rotary(None, 5), torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)

    def product(one: int, other: int) -> torch.Tensor:
        device = torch.device("cpu")
        return (
            positions.rotation(one, one + 1, 4, device)(q) * positions.rotation(other, other + 1, 4, device)(k)
        ).sum()

    torch.testing.assert_close(product(7, 1), product(27, 21))  # one row and one column on, four rows later
    assert not torch.allclose(product(7, 1), product(7, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CausalTransformer(2, (2, 2), positions=Learned(4, 10), width=10, depth=1, heads=3),
        lambda: ViT(2, (2, 2), tokens=4, width=10, depth=1, heads=3),
        lambda: VelocityViT((1, 4, 4), patch=2, width=10, depth=1, heads=3),
        lambda: GatedAttentionNet(1, (1, 2), size=(2, 2), width=10, blocks=1),
    ],
)
def test_heads_that_do_not_share_the_width_are_refused(make):
    with pytest.raises(ValueError, match="share the width equally, and 10 is no multiple of (3|4)"):
        make()


@pytest.mark.parametrize(
    "encoder",
    [
        partial(VectorEmbedding, 2, 4),
        partial(VectorPrefix, 2, 4),
        partial(NumberPrefix, 4, name="vector"),
        partial(TextPrefix, 2, 1, 4, name="vector"),
    ],
)
def test_what_is_null_has_no_part_in_values_and_gradients(encoder):
    """Whatever the value of a null condition is, as one that is missing from the data."""
    encoder, value = encoder(), torch.randn(3, 2)
    value[1] = torch.nan
    value = {NumberPrefix: value[:, 0], TextPrefix: value[..., None]}.get(type(encoder), value)
    given = Condition(value.requires_grad_(), torch.tensor([False, True, False]))
    answers = encoder({"vector": given})
    answers.square().sum().backward()
    assert all(t.isfinite().all() for t in (answers, value.grad, *(weight.grad for weight in encoder.parameters())))


def test_positions_that_are_refused():
    with pytest.raises(ValueError, match="norm='layernorm'"):
        LayerOptions(norm="layernorm")
    with pytest.raises(ValueError, match="gated=True"):
        LayerOptions(silu=True)
    with pytest.raises(ValueError, match="only the first may be None"):
        Rotary(4, None)
    with pytest.raises(ValueError, match="6 features are not a multiple of 4"):
        CausalTransformer(2, (2, 2), positions=Rotary(4, 4), width=6, depth=1)
    with pytest.raises(ValueError, match="reads 6 tokens at most; got 7"):
        transformer()(torch.zeros(1, 7, FEATURES))


@torch.no_grad()
def decoded(net, x, context=None):
    """Its answers token by token, and the kind of decoder that gave them."""
    decoder = net.start(len(x), context)
    answers = [decoder.answer, *(decoder.read(token) for token in x[:, :-1].split(1, 1))]
    return torch.cat(answers, 1), decoder.kind


@pytest.mark.parametrize("better", ["kernel", "graph"])
def test_decoders_in_bfloat16_are_as_near_as_tensor_operations_are(better, allow):
    net = CausalTransformer(3, (3, 2), positions=Learned(TOKENS, 128), width=128, depth=2, heads=2)
    torch.nn.init.normal_(net.answer.weight, std=0.1)
    x = torch.randn(40, TOKENS, 3)
    exact, _ = decoded(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        allow("tensors")
        expected, kind = decoded(net, x)
        assert kind == "tensors"
        allow(better)
        answer, kind = decoded(net, x)
    assert kind == better
    assert 0 < (answer - exact).abs().mean() < 1.5 * (expected - exact).abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_masked_kernel_decodes_blocks_of_rows(monkeypatch, dtype):
    """More rows than a block has: each gets the answers that it gets alone, to the last bit."""
    switch(monkeypatch, on=True)
    net = MaskedMLP(TOKENS, (2,), hidden=(50, 70)).to(dtype)
    torch.nn.init.normal_(net.layers.answer.weight, std=0.3)
    x = torch.randn(150, TOKENS, dtype=dtype)
    decoder, alone = net.start(150), net.start(1)
    answers = decoder.read(x[:, :2])
    assert decoder.kind == "kernel"
    torch.testing.assert_close(answers, net(x)[:, 1:3])
    assert torch.equal(alone.read(x[-1:, :1]), answers[-1:, :1])
    assert torch.equal(alone.read(x[-1:, 1:2]), answers[-1:, 1:])
    for wrong in (x[:1, 2:3], x[:, 2:3].to("meta")):
        with pytest.raises(ValueError, match="there is room for"):
            decoder.read(wrong)


@torch.no_grad()
def test_the_kernel_refuses_tokens_that_do_not_fit(monkeypatch):
    switch(monkeypatch, on=True)
    net, one_for_all = transformer(classes=4), read({"label": Label(4)}, [2])
    decoder, x = net.start(2, one_for_all), torch.randn(2, TOKENS, FEATURES)
    torch.testing.assert_close(decoder.read(x[:, :-1]), net(x, one_for_all)[:, 1:])
    decoder.truncate(2)
    for wrong in (torch.randn(3, 1, FEATURES), torch.randn(2, 1, FEATURES + 1), x[:, :1].to("meta")):
        with pytest.raises(ValueError, match="there is room for"):
            decoder.read(wrong)


def test_attention_temperature_is_a_row_s_own():
    net = transformer().double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, TOKENS, FEATURES, dtype=torch.float64)
    plain, warm = net(x), net(x, attention_temperature=torch.tensor([1.0, 0.3]))
    torch.testing.assert_close(warm[0], plain[0])
    assert not torch.allclose(warm[1], plain[1])


@pytest.mark.parametrize("on", ["both", "scale", "mean"])
def test_the_linear_rule(on):
    net, x, context = transformer(classes=4), torch.randn(2, TOKENS, FEATURES), read({"label": Label(4)}, [1, 3])
    torch.nn.init.normal_(net.answer.weight)
    conditional, null = net(x, context), net(x, drop(context, torch.ones(2, dtype=torch.bool)))
    guided = Guided(net, Affine(), Linear(2.0, on, "linear"))(x, context)
    g = 2 * torch.arange(TOKENS)[:, None, None] / (TOKENS - 1)
    acts = torch.tensor([on != "mean", on != "scale"])  # raw parameters are (log_scale, shift)
    torch.testing.assert_close(guided, torch.where(acts, conditional + g * (conditional - null), conditional))
    for weight in (0.0, 2.0):
        same = Guided(net, Affine(), Linear(weight, on))(x, drop(context, torch.ones(2, dtype=torch.bool)))
        torch.testing.assert_close(same, null)  # nothing to move away from


def test_guidance_is_refused_where_it_is_not_defined():
    with pytest.raises(ValueError, match="not for LogisticMixture"):
        Guided(transformer(), LogisticMixture(), Linear(1.0))
    with pytest.raises(ValueError, match="on='scales'"):
        Linear(1.0, "scales")
    with pytest.raises(ValueError, match="'annealed'"):
        Linear(1.0, schedule="annealed")


def test_units_of_a_masked_network_are_computed_once(monkeypatch):
    """Decoding all tokens multiplies as much as one parallel pass does, without its masked weights."""
    net = MaskedMLP(32, (2,), hidden=(64, 64))
    multiplied = []

    def addmm(bias, weight, v):
        multiplied.append(weight.numel())
        return bias + weight @ v

    monkeypatch.setattr(torch, "addmm", addmm)
    list(sequential(net, Affine(), torch.randn(5, 32)))
    assert sum(multiplied) == sum(int(layer.mask.sum()) for layer in net.layers)


def test_the_last_answer_of_a_narrow_masked_network_depends_on_the_first_feature_and_the_last_before_it():
    net = MaskedMLP(20, (1,), hidden=(5, 5), activation=F.silu)
    torch.nn.init.normal_(net.layers.answer.weight)
    jacobian = torch.autograd.functional.jacobian(lambda t: net(t)[0, :, 0], torch.randn(1, 20))[:, 0]
    assert jacobian[19, 0] != 0
    assert jacobian[19, 18] != 0


def test_graphs_that_are_refused():
    with pytest.raises(ValueError, match=r"feature 1 reads feature 2, .*Permutation"):
        MaskedMLP(3, (1,), graph=torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match="graph of 4 features"):
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
    z, log_det = Autoregressive(net, Affine())(x, read({"vector": Vector(context)}, given) if context else None)
    expected, slopes = theirs(given).call_and_ladj(x)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(log_det, slopes)
