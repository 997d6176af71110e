"""Flows: densities, samples, and all that is made of the two."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.conditions import Condition, Label, read
from pushforward.denoising import Score
from pushforward.guidance import Linear
from pushforward.randomness import Keyed
from pushforward.solve import Tsit5, jacobi
from tests.laws.cases import CASES
from tests.laws.laws import causal_says_the_truth, known_prefixes_are_kept, streams_are_decoded
from tests.toys import picture, plane, randomised, vector

DENSITIES = {
    "unconditional": lambda: (plane(), None),
    "class": lambda: (plane(classes=3), 1),
    "null class": lambda: (plane(classes=3), -1),
    "volume preserving": lambda: (plane(move=pf.moves.Shift()), None),
    "guided by class": lambda: (plane(classes=3).guided(0.7), 2),
    "guided by attention": lambda: (
        plane().guided(0.7, rule=Linear(schedule="linear"), attention_temperature=0.3),
        None,
    ),
    "guided by both": lambda: (plane(classes=3).guided(0.7, rule=Linear(on="mean"), attention_temperature=0.3), 0),
}


@pytest.fixture(params=DENSITIES)
def density(request):
    return DENSITIES[request.param]()


def on_a_grid(flow, context):
    """Points of the plane, and the probability of the cell around each."""
    side = torch.linspace(-20, 20, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        return grid, flow.log_prob(grid, context).exp() * (side[1] - side[0]) ** 2


def test_density_integrates_to_one(density):
    flow, context = density
    assert on_a_grid(flow, context)[1].sum() == pytest.approx(1, abs=1e-4)


def test_samples_and_their_log_probs_agree(density):
    flow, context = density
    x, log_p = flow.sample_and_log_prob(50, context, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_p, flow.log_prob(x, context))
    again = flow.sample(50, context, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
    assert not x.requires_grad


def test_samples_have_the_density(density):
    """The mean of f under p, by samples and on the grid."""
    flow, context = density
    x = flow.sample(40_000, context, generator=torch.Generator().manual_seed(0))
    grid, p = on_a_grid(flow, context)

    def f(t):
        return torch.stack([t.sigmoid()[..., 0], t.sigmoid()[..., 1], (t[..., 0] * t[..., 1]).tanh()]).flatten(1)

    torch.testing.assert_close(f(x).mean(1), (p * f(grid)).sum(1), atol=0.01, rtol=0)  # three standard errors


def test_encode_decode_and_round_trip(density):
    flow, context = density
    x = torch.randn(20, 1, 1, 2, dtype=torch.float64)
    z = flow.encode(x, context)
    torch.testing.assert_close(flow.decode(z, context), x)
    check = flow.check(x, context)
    assert check.round_trip < 1e-10
    assert check.log_det_error < 1e-9
    assert check.finite == 1
    assert "round trip" in str(check)


def test_rsample_has_gradients():
    flow = vector(3, context=2)
    context = torch.randn(4, 2, requires_grad=True)
    x, log_p = randomised(flow).rsample_and_log_prob(5, context)
    assert x.shape == (5, 4, 3)
    assert log_p.shape == (5, 4)
    (x.square().sum() + log_p.sum()).backward()
    assert context.grad.abs().min() > 0
    assert all(p.grad.abs().max() > 0 for name, p in flow.named_parameters() if not name.endswith("null"))
    assert flow.rsample(5, context).requires_grad


@pytest.mark.parametrize(
    ("shape", "context", "expected"),
    [
        ((), 1, ()),
        (4, 1, (4,)),
        ((4,), torch.tensor([0, -1]), (4, 2)),
        ((4, 3), torch.zeros(5, 2, dtype=torch.long), (4, 3, 5, 2)),
        ((0,), 1, (0,)),
    ],
)
def test_sample_shapes_are_torch_s(shape, context, expected):
    flow = picture()
    assert flow.sample(shape, context).shape == (*expected, 1, 8, 8)
    assert flow.sample_and_log_prob(shape, context)[1].shape == expected


def test_each_row_of_a_sample_has_its_own_context():
    flow = plane(classes=2)
    labels = torch.tensor([0, 1, -1])
    x, log_p = flow.sample_and_log_prob((6,), labels)
    torch.testing.assert_close(log_p, torch.stack([flow.log_prob(x[i], labels) for i in range(6)]))


def test_temperature_scales_the_noise():
    flow = picture()
    seeds = (torch.Generator().manual_seed(0) for _ in range(2))
    cold, warm = flow.sample(3, 0, temperature=0.0, generator=next(seeds)), flow.sample(3, 0, generator=next(seeds))
    torch.testing.assert_close(cold, flow.decode(torch.zeros(3, 4, 16), 0))
    assert not torch.allclose(cold, warm)


@pytest.mark.parametrize("kind", [pf.bases.StandardNormal, pf.bases.ObservedNormal])
def test_temperature_multiplies_every_base_s_noise(kind):
    base = kind(2, 3)
    base.observe(torch.full((1, 2, 3), 3.0))
    once, twice = (base.sample(4, temperature=t, generator=torch.Generator().manual_seed(0)) for t in (1.0, 2.0))
    torch.testing.assert_close(twice, 2 * once)


def test_trace_adds_up_to_log_prob():
    flow = picture()
    x, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, -1, -1])
    steps = list(flow.trace(x, labels))
    assert [type(step.transform).__name__ for step in steps] == ["Patchify", "Autoregressive", "Permuted"]
    assert all(step.log_slopes.shape == step.z.shape for step in steps)
    total = flow.base.log_prob(steps[-1].z) + sum(step.log_slopes.flatten(1).sum(1) for step in steps)
    torch.testing.assert_close(total, flow.log_prob(x, labels))


@pytest.mark.parametrize("transforms", [None, (1,)])
def test_a_step_that_is_used_twice_is_guided_like_two(transforms):
    embedding, positions = pf.networks.LabelEmbedding(3, 8), pf.networks.Rotary(None)
    net = pf.networks.CausalTransformer(3, (3, 2), positions=positions, width=8, depth=1, context_encoder=embedding)
    step = randomised(pf.transforms.Autoregressive(net, pf.moves.Affine()))
    tied, apart = (
        pf.Flow(
            pf.Chain(step, pf.transforms.Flip(), other),
            pf.bases.StandardNormal(5, 3),
            event=(5, 3),
            conditions={"label": Label(3)},
        ).guided(2.0, transforms=transforms)
        for other in (step, copy.deepcopy(step))
    )
    x = torch.randn(2, 5, 3)
    assert torch.equal(tied.log_prob(x, 1), apart.log_prob(x, 1))


def test_guidance_of_weight_zero_is_the_flow_itself_and_shares_its_weights():
    flow = picture()
    flow.transform[1].solve = pf.solve.jacobi
    guided = flow.guided(0.0)
    assert guided.transform[1].solve is pf.solve.jacobi
    x, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, -1, -1])
    torch.testing.assert_close(guided.log_prob(x, labels), flow.log_prob(x, labels))
    assert {id(p) for p in guided.parameters()} == {id(p) for p in flow.parameters()}
    strong = flow.guided(2.0)
    assert not torch.allclose(strong.log_prob(x, labels)[:3], flow.log_prob(x, labels)[:3])
    torch.testing.assert_close(strong.log_prob(x, labels)[3:], flow.log_prob(x, labels)[3:])
    with torch.no_grad():
        flow.transform[1].net.answer.bias.add_(1)
    torch.testing.assert_close(guided.log_prob(x, labels), flow.log_prob(x, labels))


def test_denoise_is_tweedie_s_formula():
    """Clean ~ N(0, 1 − sigma²) and noise make x ~ N(0, 1): the posterior mean is (1 − sigma²) x."""
    flow = pf.models.TarFlow(image=(1, 4, 4), patch=2, transforms=2, width=8, depth=1).build()  # fresh: the identity
    x = 5 * torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(flow.denoise(x, 0.6), 0.64 * x)
    torch.testing.assert_close(
        flow.denoise(x, torch.tensor([0.1, 0.6, 0.8]))[1:], torch.stack([0.64 * x[1], 0.36 * x[2]])
    )
    assert flow.denoise(100 * x, 0.1).abs().max() > 1, "denoising never clips"
    with torch.no_grad():
        assert not flow.denoise(x.requires_grad_(), 0.6).requires_grad


def test_classify_is_bayes_rule():
    flow = picture(classes=3)
    x = torch.randn(6, 1, 8, 8)
    joint = torch.stack([flow.log_prob(x, k) for k in range(3)], 1)
    torch.testing.assert_close(flow.class_log_probs(x).exp().sum(1), torch.ones(6))
    assert torch.equal(flow.classify(x), joint.argmax(1))
    prior = torch.tensor([0.1, 0.2, 0.7])
    posterior = (joint + prior.log()).softmax(1)
    torch.testing.assert_close(flow.class_log_probs(x, prior).exp(), posterior)
    assert torch.all(flow.classify(x, torch.tensor([0.0, 0.0, 1.0])) == 2)
    with pytest.raises(ValueError, match="cannot classify|only a flow conditioned on class labels"):
        picture(classes=0).classify(x)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.5]).repeat(500)], ids=["alike", "weighted"])
def test_a_base_that_observes_its_variance(weights):
    base = pf.bases.ObservedNormal(2, 3)
    z = torch.randn(1000, 2, 3) * 2
    for _ in range(200):
        base.observe(z, weights)
    w = torch.ones(1000) if weights is None else weights
    torch.testing.assert_close(base.variance, (w[:, None, None] * z.square()).mean(0))
    expected = torch.distributions.Normal(0.0, base.variance.sqrt()).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(base.log_prob(z), expected)
    draws = base.sample(20_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.var(0), base.variance, rtol=0.05, atol=0)


def test_float64_and_bfloat16_flows_sample_in_the_right_dtype():
    assert plane().sample(2).dtype == torch.float64
    assert picture().bfloat16().sample(2, 0).dtype == torch.float32


def test_samples_that_overflow_are_warned_of():
    flow = picture()
    with torch.no_grad():
        flow.transform[1].net.answer.bias.fill_(200.0)
    with pytest.warns(RuntimeWarning, match="4 of 4 samples are not finite"):
        flow.sample(4, 0)


def test_what_follows_a_known_prefix_is_decoded_token_by_token():
    """Written out for two autoregressive steps: z_t goes back through both, given what each has of earlier tokens."""
    case = CASES["chain/causal"]
    transform, context, x, z = case.build(), case.context(3), case.x(3), case.z(3)
    flow = pf.Flow(transform, pf.bases.StandardNormal(*case.latent), event=case.event, conditions=case.conditions)
    first, second = transform
    for n in (1, 3):
        tokens = x[:, :n]
        for t in range(n, x.shape[1]):
            between = first(tokens, context)[0]  # of t tokens
            y = second.move.inverse(z[:, t : t + 1], second.net.start(3, context).read(between)[:, -1:])[0]
            y = first.move.inverse(y, first.net.start(3, context).read(tokens)[:, -1:])[0]
            tokens = torch.cat([tokens, y], 1)
        torch.testing.assert_close(flow.decode(z, context, known=x[:, :n]), tokens)


def test_a_known_prefix_is_of_the_event_where_latents_have_another_shape():
    patches = pf.transforms.Patchify((1, 2, 2), 1)
    net = pf.networks.CausalTransformer(1, (1, 2), positions=pf.networks.Rotary(None), width=8, depth=1)
    tokens = pf.transforms.InSequence(pf.transforms.Autoregressive(net, pf.moves.Affine()))
    transform = pf.Chain(pf.transforms.Framewise(patches), tokens)
    flow = randomised(pf.Flow(transform, pf.bases.StandardNormal(3, 4, 1), event=(3, 1, 2, 2))).double()
    x = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(flow.decode(flow.encode(x), known=x[:, :1]), x)


@pytest.mark.parametrize("law", [causal_says_the_truth, known_prefixes_are_kept, streams_are_decoded])
def test_a_reversible_chain_of_causal_steps_is_causal(law):
    case = CASES["chain/causal"]
    reversible = replace(case, make=lambda: pf.transforms.Reversible(case.make()))
    assert reversible.make().causal
    law(reversible)


class Wide(StandardNormal):
    """Of deviation 2."""

    def log_prob(self, z, context=None):
        return super().log_prob(z / 2, context) - math.log(2) * z[0].numel()


@pytest.mark.parametrize("name", ["autoregressive/gaussian mixture", "autoregressive/mix-d", "permuted"])
def test_a_subclass_of_the_normal_base_has_its_own_density(name):
    """Some steps compute the density under a standard normal base without z."""
    case = CASES[name]
    flow, x = pf.Flow(case.build(), Wide(*case.latent), event=case.event).double(), case.x(3)
    z, log_det = flow.transform(x)
    torch.testing.assert_close(flow.log_prob(x), flow.base.log_prob(z) + log_det)


class Doubled(pf.transforms.Autoregressive):
    def slopes(self, x, context=None):
        z, log_slopes = super().slopes(x, context)
        return 2 * z, log_slopes + math.log(2)


def test_a_subclass_of_a_step_has_the_density_of_its_own_slopes():
    case = CASES["autoregressive/mix-d"]
    step, x, base = case.build(), case.x(3), StandardNormal(*case.latent)
    step.__class__ = Doubled
    z, log_det = step(x)
    torch.testing.assert_close(step.log_prob(x, base), base.log_prob(z) + log_det)


def test_what_a_hook_changes_of_a_chain_is_in_every_answer():
    case, base = CASES["chain/causal"], StandardNormal(*CASES["chain/causal"].latent)
    chain, x, context = case.build(), case.x(2), case.context(2)
    chain.register_forward_hook(lambda *call: (2 * call[-1][0], call[-1][1] + 1))
    z, log_det = chain(x, context)
    torch.testing.assert_close(chain.encode(x, context), z)
    torch.testing.assert_close(chain.log_prob(x, base, context), base.log_prob(z) + log_det)


@pytest.mark.parametrize(("name", "solve"), [("masked", jacobi), ("continuous", Tsit5())])
def test_another_solver_changes_nothing_else_of_a_step(name, solve):
    class Own(type(CASES[name].make())):
        pass

    step, called = CASES[name].build().eval(), []
    step.__class__ = Own
    step.register_forward_hook(lambda *_: called.append(1))
    solved = pf.transform.solved_by(step, solve)
    assert (type(solved), solved.training, solved.solve) == (Own, False, solve)
    assert step.solve is not solve
    solved(CASES[name].x(1), CASES[name].context(1))
    assert called


def sequence() -> pf.Flow:
    return pf.Flow(pf.transforms.Flip(axis=2), pf.bases.StandardNormal(5, 3), event=(5, 3))


def clips() -> pf.Flow:
    return pf.models.STARFlowV(image=(2, 2, 2), width=32, depths=(1, 1)).build()


def latents() -> pf.Flow:
    return pf.models.STARFlow(image=(2, None, None), width=32, depths=(1, 1)).build()


X = torch.zeros(2, 1, 8, 8)
ERRORS = {
    "wrong event": (
        lambda: picture().log_prob(torch.zeros(2, 3, 8, 8), 0),
        r"\(batch, 1, 8, 8\); x has shape \(2, 3, 8, 8\)",
    ),
    "wrong latent": (lambda: picture().decode(torch.zeros(2, 4, 4), 0), r"\(batch, 4, 16\); z has shape \(2, 4, 4\)"),
    "complex": (lambda: picture().log_prob(X.to(torch.complex64), 0), "Give real and imaginary parts apart"),
    "temperature": (
        lambda: picture().sample(2, 0, temperature=-1.0),
        "temperature is a finite number of at least 0; got -1",
    ),
    "a truth": (lambda: picture().sample(True, 0), "shape is an integer, or a tuple of them; got True"),
    "needless array": (lambda: vector(2).log_prob(torch.zeros(2), np.ones((2, 2))), r"context \(an array of shape"),
    "one feature": (lambda: vector(1).log_prob(X[:, 0, 0, 0]), r"x has shape \(2,\)\. Give x\[:, None\]"),
    "one feature of a context": (lambda: vector(2, context=1).sample(2, np.ones(3)), r"got \(3,\) .* with \[:, None\]"),
    "integers of a context": (
        lambda: vector(2, context=1).sample(2, [2**53 + 1]),
        "the vector holds integers beyond 2.*53, .* Subtract a number near them all",
    ),
    "integers": (lambda: picture().log_prob(X.long(), 0), "x is torch.int64. Give x.double"),
    "no context": (
        lambda: picture().sample(3),
        r"labels 0 … 2, or −1 for the null label\) and was called without a context",
    ),
    "label too great": (
        lambda: picture().log_prob(X, torch.tensor([0, 3])),
        "labels 0 … 2, or −1 for the null label; got 3",
    ),
    "label too small": (lambda: picture().sample(2, -2), "got -2"),
    "real labels": (lambda: picture().log_prob(X, torch.tensor([0.0, 1.0])), "these are torch.float32"),
    "rows": (lambda: picture().log_prob(X, torch.tensor([0, 1, 2])), r"batch shape \(3,\), and x has \(2,\)"),
    "needless context": (lambda: picture(classes=0).log_prob(X, 1), r"unconditional and was given a context \(1\)"),
    "vector size": (lambda: vector(2, context=3).sample(1, torch.zeros(4)), r"\(batch, 3\); got \(4,\)"),
    "vector missing": (lambda: vector(2, context=3).sample(1), "vectors of shape"),
    "guidance of nothing": (lambda: picture(classes=0).guided(1.0), "give attention_temperature other than 1"),
    "ready context of nothing": (
        lambda: picture().log_prob(X, {"vector": Condition(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool))}),
        "takes the conditions label: labels 0 … 2, .* got 'vector'",
    ),
    "needless ready context": (
        lambda: picture(classes=0).log_prob(X, read({"label": Label(3)}, [0, 1])),
        "unconditional and was given a context",
    ),
    "attention temperature without attention": (
        lambda: pf.models.MAF(features=2, context=1).build().guided(1.0, attention_temperature=0.5),
        "attention_temperature=0.5 .* a MaskedMLP has no attention. Leave it out",
    ),
    "guidance of a histogram": (
        lambda: pf.models.ArBG(features=2, context=1).build().guided(1.0),
        "guidance is defined for affine and shift moves, not for Histogram",
    ),
    "guidance of no step": (
        lambda: pf.Flow(
            pf.transforms.Flip(), pf.bases.StandardNormal(2, 1), event=(2, 1), conditions={"label": Label(3)}
        ).guided(1.0),
        "this flow has none",
    ),
    "guided scale of a shift": (
        lambda: picture(move=pf.moves.Shift()).guided(1.0, rule=Linear(on="scale")),
        "a shift has no scale to guide",
    ),
    "generators": (
        lambda: picture().sample(3, 0, generator=Keyed(0, rows=[0])),
        "of 3 rows; the source has the keys of 1",
    ),
    "event of a distribution": (
        lambda: vector(3)().log_prob(torch.zeros(5, 1)),
        r"shape \(3,\); the value has \(5, 1\)",
    ),
    "a prefix out of order": (
        lambda: picture(classes=0).decode(torch.zeros(2, 4, 16), known=X[:, :, :4]),
        "this flow is not causal.*editing.inpaint",
    ),
    **{
        f"a prefix of {name}": (
            lambda shape=shape: sequence().decode(torch.zeros(2, 5, 3), known=torch.zeros(shape)),
            r"of shape \(3,\), one at least, 5 at most.*the batch \(2,\) or none; it is of shape",
        )
        for name, shape in {
            "too many elements": (2, 6, 3),
            "none": (2, 0, 3),
            "another shape": (2, 2, 4),
            "another batch": (3, 2, 3),
        }.items()
    },
    **{
        f"a prefix of {kind} for {name}": (
            lambda call=call, kind=kind: call(torch.zeros(2, 2, 3, dtype=kind)),
            rf"this flow takes real events; \w+ is {kind}. Give ",
        )
        for kind in (torch.int64, torch.bool, torch.complex64)
        for name, call in {
            "decode": lambda known: sequence().decode(torch.zeros(2, 5, 3), known=known),
            "stream": lambda known: pf.Flow(
                pf.transforms.Flip(axis=2), pf.bases.StandardNormal(None, 3), event=(None, 3)
            ).stream(2, size=(3, 3), known=known),
            "continued": lambda known: pf.editing.continued(sequence(), known),
            "infilled": lambda known: pf.editing.infilled(
                sequence(), torch.cat([known, known, known[:, :1]], 1), torch.arange(5) > 3
            ),
            "inpaint": lambda known: pf.editing.inpaint(
                sequence(), torch.cat([known, known, known[:, :1]], 1), torch.ones(3, dtype=torch.bool), 1
            ),
        }.items()
    },
    **{
        f"{door} of {flow.__name__} without a size": (
            lambda call=call, flow=flow, size=size: call(flow(), size),
            "None is any size above 0",
        )
        for flow, size in {clips: (0, 2, 2, 2), latents: (2, 0, 4)}.items()
        for door, call in {
            "log_prob": lambda flow, size: flow.log_prob(torch.zeros(2, *size)),
            "decode": lambda flow, size: flow.decode(torch.zeros(2, *size)),
            "sample": lambda flow, size: flow.sample(2, size=size),
        }.items()
    },
    "a stream of no frames": (lambda: clips().stream(size=(0, 2, 2, 2)), "where None is any size above 0"),
    "an end of open size": (
        lambda: pf.editing.continued(clips(), torch.zeros(2, 1, 2, 2, 2)),
        r"by flow.stream\(…, known",
    ),
    "a flat prefix": (lambda: pf.editing.continued(sequence(), torch.zeros(5)), r"got known tokens \(5,\)"),
    "a distribution of open events": (
        lambda: pf.Flow(pf.transforms.Flip(), pf.bases.StandardNormal(None, 2), event=(None, 2))(),
        r"flow's are \(None, 2\), where None is open",
    ),
    "nothing to initialise from": (lambda: plane().initialize(torch.zeros(0, 1, 1, 2)), "no events to initialise"),
    "a roulette that never ends": (lambda: pf.transforms.Roulette(going_on=1.0), "going_on.* below 1; got 1.0"),
    "nothing to check": (lambda: picture().check(X[:0], 0), "no events to check"),
    "empty chain": (lambda: pf.Chain(), "at least one part"),
    "an inverse of another shape": (
        lambda: pf.Inverse(pf.transforms.Patchify((1, 4, 4), 2)).latent_shape((1, 4, 4)),
        "a Patchify changes the shape of events",
    ),
    "patch": (
        lambda: pf.models.TarFlow(image=(1, 9, 8), patch=4).build(),
        "patches of side 4 do not tile an image of 9 × 8",
    ),
    "patches of images without a side": (
        lambda: pf.models.STARFlow(image=(4, 8, 8), patch=0).build(),
        "of side 0 do not",
    ),
    "patches of no tokens": (lambda: pf.models.TarFlowLM(patch=0, move=pf.moves.Affine()), "patches of 0 do not tile"),
    "patches of velocities": (
        lambda: pf.models.ImageFlowMatching(
            image=(1, 8, 8), net=pf.networks.ViTOptions(patch=0, width=8, depth=1)
        ).build(),
        "patches of 0 × 0 pixels do not divide",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_given_and_what_to_do(name):
    wrong, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        wrong()


BATCHES = {  # of x, of the context, and what they broadcast to
    "one": ((), (), ()),
    "a row": ((5,), (5,), (5,)),
    "one context": ((5,), (), (5,)),
    "one event": ((), (5,), (5,)),
    "a column": ((5, 1), (3,), (5, 3)),
    "one of a batch": ((1,), (5,), (5,)),
    "grid": ((4, 5), (4, 5), (4, 5)),
    "samples": ((7, 5), (5,), (7, 5)),
    "contexts": ((5,), (7, 5), (7, 5)),
    "empty": ((0, 5), (5,), (0, 5)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_batch_shapes_of_events_and_contexts_broadcast(name):
    flow = randomised(vector(3, context=2)).double()
    batch, given, whole = BATCHES[name]
    x, context = torch.randn(*batch, 3).double(), torch.randn(*given, 2).double()
    rows, contexts = x.expand(*whole, 3).reshape(-1, 3), context.expand(*whole, 2).reshape(-1, 2)

    def same(answer, row_by_row):
        torch.testing.assert_close(answer, row_by_row.reshape((*whole, *row_by_row.shape[1:])))

    same(flow.log_prob(x, context), flow.log_prob(rows, contexts))
    same(flow(context).log_prob(x), flow.log_prob(rows, contexts))
    z = flow.encode(x, context)
    same(z, flow.encode(rows, contexts))
    same(flow(context).transform(x), z.reshape(-1, 3, 1))
    same(flow.decode(z, context), rows)
    same(flow.log_prob_and_latent(x, context)[1], z.reshape(-1, 3, 1))
    same(list(flow.trace(x, context))[-1].log_slopes, list(flow.trace(rows, contexts))[-1].log_slopes)
    same(flow.denoise(x, 0.1, context), flow.denoise(rows, 0.1, contexts))
    if 0 not in whole:
        sigma = torch.rand(whole).double()
        same(flow.denoise(x, sigma, context), flow.denoise(rows, sigma.flatten(), contexts))
        assert flow.check(x, context, rows=0).finite == 1
        flow.initialize(x, context)


def test_a_prefix_and_classes_broadcast_too():
    flow, x = picture(), torch.randn(2, 5, 1, 8, 8)
    each = flow.class_log_probs(x)
    assert each.shape == (2, 5, 3)
    assert torch.equal(each[1], flow.class_log_probs(x[1]))
    assert flow.classify(x[0, 0]).shape == ()
    case = CASES["chain/causal"]
    causal = pf.Flow(case.build(), pf.bases.StandardNormal(*case.latent), event=case.event, conditions=case.conditions)
    z, known = case.z(3), case.x(3)[:, :2]
    torch.testing.assert_close(
        causal.decode(z.expand(2, 3, *case.latent), 0, known=known)[1], causal.decode(z, 0, known=known)
    )


def test_batch_shapes_that_do_not_broadcast_are_named():
    flow = vector(3, context=2)
    for ask in (flow.log_prob, flow.encode, flow.trace, flow.check, flow.denoise):
        given = (torch.zeros(5, 3), 0.1) if ask == flow.denoise else (torch.zeros(5, 3),)
        with pytest.raises(ValueError, match=r"context has batch shape \(4,\), and x has \(5,\)"):
            ask(*given, torch.zeros(4, 2))


@pytest.mark.parametrize("draw", ["sample", "rsample", "sample_and_log_prob", "rsample_and_log_prob"])
def test_a_seed_is_answered_by_the_generator_to_give(draw):
    with pytest.raises(
        TypeError, match=rf"^{draw} takes no seed=. Give generator=torch.Generator\(\).manual_seed\(3\)"
    ):
        getattr(picture(), draw)(2, 0, seed=3)


@pytest.mark.parametrize("draw", ["sample", "rsample", "sample_and_log_prob", "rsample_and_log_prob"])
@pytest.mark.parametrize(
    ("given", "meant"), [(3, r"torch.Generator\(\).manual_seed\(3\); got int"), (np.random.default_rng(0), "a torch")]
)
def test_what_is_no_generator_is_answered_by_the_generator_to_give(draw, given, meant):
    with pytest.raises(TypeError, match=f"drawn by generator={meant}"):
        getattr(picture(), draw)(2, 0, generator=given)


@pytest.mark.parametrize("change", [pf.editing.inpaint, pf.editing.vary, pf.editing.continued])
def test_editing_answers_a_seed_too(change):
    with pytest.raises(TypeError, match=f"^{change.__name__} takes no seed=. Give generator="):
        change(picture(), torch.zeros(1), seed=3)


def concrete(kind: type) -> list[type]:
    return [k for sub in kind.__subclasses__() for k in ([sub] if not inspect.isabstract(sub) else []) + concrete(sub)]


BASES = {
    **{k.__name__: partial(k, 2) for k in concrete(pf.bases.Base) if k.__module__ == "pushforward.bases"},
    "Concatenated": lambda: pf.bases.Concatenated(pf.bases.UniformAngle(1), StandardNormal(1)),
    "Concatenated, normal": lambda: pf.bases.Concatenated(StandardNormal(1), StandardNormal(1)),
}


@pytest.mark.parametrize("name", BASES)
def test_every_base_has_no_density_at_infinity_and_none_of_nan(name):
    base = BASES[name]()
    assert base.standard == (name in ("StandardNormal", "Concatenated, normal"))
    for value in (torch.inf, -torch.inf):
        z = torch.tensor([[value, 0.0], [0.0, value], [value, value]])
        assert base.log_prob(z).eq(-torch.inf).all()
    assert base.log_prob(torch.tensor([[torch.nan, 0.0], [0.0, torch.nan]])).isnan().all()


def test_where_no_class_has_a_density_the_prior_is_left():
    flow, x = picture(), torch.full((2, 1, 8, 8), torch.inf)
    torch.testing.assert_close(flow.class_log_probs(x).exp(), torch.full((2, 3), 1 / 3))
    assert flow.classify(x, prior=[0.1, 0.2, 0.7]).tolist() == [2, 2]


def test_infinite_latents_are_infinite_events():
    flow, z = picture(), torch.zeros(2, 4, 16)
    z[1, 2, 3] = torch.inf
    x = flow.decode(z, 0)
    assert x[0].isfinite().all()
    assert x[1].isinf().all()
    for door in (flow.trace, flow.initialize):
        with pytest.raises(ValueError, match="1 of 2 rows of x are not finite, the first is row 1"):
            door(x, 0)


def test_a_context_that_is_not_finite_initialises_nothing():
    flow, x, context = vector(3, context=2), torch.randn(4, 3), torch.randn(4, 2)
    context[2, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 4 rows of vector are not finite, the first is row 2"):
        flow.initialize(x, context)
    null = torch.arange(4) == 2
    flow.initialize(x, Condition(context, null))


def test_empty_batches_and_small_integer_labels():
    flow = picture()
    assert flow.log_prob(X[:0], 0).shape == (0,)
    assert flow.sample(0, 0).shape == (0, 1, 8, 8)
    labels = torch.tensor([2, 0], dtype=torch.uint8)
    torch.testing.assert_close(flow.log_prob(X, labels), flow.log_prob(X, labels.long()))
    with torch.inference_mode():
        assert flow.denoise(X, 0.1, 0).shape == X.shape


def test_flows_of_several_events_are_compiled_in_one_process():
    torch.compiler.reset()
    for features in (2, 3):
        flow, x = vector(features), torch.zeros(4, features)
        compiled = torch.compile(flow.log_prob, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), flow.log_prob(x))


def test_one_row_that_is_not_a_number_leaves_the_others_alone():
    flow, x = picture(), torch.randn(3, 1, 8, 8)
    expected = flow.log_prob(x, 0)
    x[1, 0, 3, 3] = torch.nan
    log_p = flow.log_prob(x, 0)
    assert log_p[1].isnan()
    torch.testing.assert_close(log_p[::2], expected[::2])


def test_contexts_may_be_lists_arrays_and_numbers():
    numpy = pytest.importorskip("numpy")
    label = Label(4)
    assert torch.equal(label.read([1, -1]).value, label.read(numpy.array([1, -1])).value)
    assert label.read(3).null.shape == ()
    log_p = picture().log_prob(X, 1)
    torch.testing.assert_close(log_p, picture().log_prob(X, [1, 1]))


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_denoising_in_chunks_is_denoising(chunk):
    flow, x, labels = picture(), torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, -1, 0])
    sigma = torch.linspace(0.1, 0.5, 5)
    seen = []
    flow.transform[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    expected = torch.cat([flow.denoise(x[i : i + 1], sigma[i], labels[i]) for i in range(5)])
    seen.clear()
    torch.testing.assert_close(flow.denoise(x, sigma, labels, by=Score(chunk)), expected)
    assert max(seen) <= chunk
    assert sum(seen) == 5


def test_a_chunk_has_rows():
    with pytest.raises(ValueError, match="chunk.* got 0"):
        Score(chunk=0)


def test_log_probs_of_a_stream():
    flow, drawn = picture(), []

    def batches():
        for i in range(3):
            drawn.append(i)
            yield torch.full((2, 1, 8, 8), float(i)), i

    stream = flow.log_probs(batches())
    first = next(stream)
    assert drawn == [0], "the next batch is not asked for before its turn"
    assert not first.requires_grad
    log_p = torch.cat([first, *stream])
    plain = pf.models.MAF(features=2, hidden=(8,)).build()
    rows = torch.randn(2, 2)
    for batch in (rows, rows.numpy(), (rows,), [rows], (rows, None)):
        torch.testing.assert_close(next(plain.log_probs([batch])), plain.log_prob(rows))
    x = torch.arange(3.0).repeat_interleave(2)[:, None, None, None].expand(-1, 1, 8, 8)
    torch.testing.assert_close(log_p, flow.log_prob(x, torch.arange(3).repeat_interleave(2)))


REAL = {
    "sigma": lambda flow, x, complex_: flow.denoise(x, complex_, 0),
    "prior": lambda flow, x, complex_: flow.class_log_probs(x, complex_),
    "the array of weights": lambda flow, x, complex_: pf.fit(flow, x, torch.zeros(3).long(), weights=complex_, steps=1),
}


@pytest.mark.parametrize("name", REAL)
def test_imaginary_parts_are_not_dropped(name):
    flow = pf.models.MAF(features=2, classes=3, transforms=1, hidden=(8,)).build()
    for value in (torch.ones(3) + 1j, [1 + 1j] * 3):
        with pytest.raises(ValueError, match=rf"{name} takes real numbers; got torch\.complex.*\.real"):
            REAL[name](flow, torch.randn(3, 2), value)
