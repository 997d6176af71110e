"""What every transform owes: functions of a case that fail by assertion. A case may be excused, with its reason."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from pushforward import conditions
from pushforward.bases import StandardLogistic, StandardNormal
from pushforward.conditions import Context
from pushforward.diagnostics import jacobian_log_det
from pushforward.flow import Flow
from pushforward.models import Parts
from pushforward.recipe import plain, revived
from pushforward.transform import Chain, Transform, Triangular
from tests.laws.cases import TOLERANCE, Case, from_data

N = 3  # rows of a batch


def close(a: Tensor, b: Tensor, tolerance: float | None = None) -> bool:
    tolerance = TOLERANCE[min(a.dtype, b.dtype, key=lambda d: d.itemsize)] if tolerance is None else tolerance
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance * (1 + b.abs())).all())


def row(context: Context | None, i: int) -> Context | None:
    return context and conditions.each(context, lambda t: t[i : i + 1])


def doors(transform, case: Case, n: int = N, dtype: torch.dtype = torch.float64):
    """(door, an input of its own shape) for both doors."""
    return (transform, case.x(n, dtype)), (transform.inverse, case.z(n, dtype))


def round_trip(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    x, z = case.x(N), case.z(N)
    assert close(transform.inverse(transform(x, context)[0], context)[0], x)
    assert close(transform(transform.inverse(z, context)[0], context)[0], z)


def log_dets_cancel(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    z, log_det = transform(case.x(N), context)
    assert close(log_det, -transform.inverse(z, context)[1])


def log_det_is_autograd(case: Case) -> None:
    transform, context, x = case.build(), case.context(N), case.x(N)
    _, log_det = transform(x, context)
    for i in range(N):
        assert close(log_det[i], jacobian_log_det(transform, x, context, row=i))


def log_prob_is_that_of_the_latent(case: Case) -> None:
    """For a normal base, for which some transforms compute no latent, and for another."""
    transform, context, x = case.build(), case.context(N), case.x(N)
    z, log_det = transform(x, context)
    for base in (StandardNormal(*case.latent), StandardLogistic(*case.latent)):
        assert close(transform.log_prob(x, base, context), base.log_prob(z) + log_det, 1e-12)


def shapes_and_dtypes(case: Case) -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        transform, context = case.build(dtype), case.context(N)
        wide = torch.promote_types(dtype, torch.float32)
        for (door, given), shape in zip(doors(transform, case, N, dtype), (case.latent, case.event), strict=True):
            value, log_det = door(given, context)
            assert (value.shape, log_det.shape) == ((N, *shape), (N,))
            assert (value.dtype, log_det.dtype) == (wide, wide)
            assert value.isfinite().all()
            assert log_det.isfinite().all()


def autocast_leaves_the_flow_in_float32(case: Case) -> None:
    """Networks may be narrow under autocast; what is no network has the same bits."""
    transform, context = case.build(torch.float32), case.context(N)
    weighted = [part for part in transform.modules() if [*part.parameters()]]
    has_network = any(type(part).__module__.startswith("pushforward.networks") for part in weighted)
    for door, given in doors(transform, case, N, torch.float32):
        with torch.autocast("cpu", torch.bfloat16):
            value, log_det = door(given, context)
        assert (value.dtype, log_det.dtype) == (torch.float32, torch.float32)
        if not has_network:
            assert all(torch.equal(a, b) for a, b in zip((value, log_det), door(given, context), strict=True))


def float32_agrees_with_float64(case: Case) -> None:
    context = case.context(N)
    wide = doors(case.build(torch.float64), case, N, torch.float64)
    narrow = doors(case.build(torch.float32), case, N, torch.float32)
    for (door, given), (door32, given32) in zip(wide, narrow, strict=True):
        for a, b in zip(door(given, context), door32(given32, context), strict=True):
            assert close(b.double(), a, TOLERANCE[torch.float32])


def batch_is_its_samples(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    for door, given in doors(transform, case):
        value, log_det = door(given, context)
        for i in range(N):
            one, one_log_det = door(given[i : i + 1], row(context, i))
            assert close(one[0], value[i])
            assert close(one_log_det[0], log_det[i])


def empty_batches(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    context = context and conditions.each(context, lambda t: t[:0])
    for (door, given), shape in zip(doors(transform, case, 0), (case.latent, case.event), strict=True):
        value, log_det = door(given, context)
        assert (value.shape, log_det.shape) == ((0, *shape), (0,))


def pure(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    state = copy.deepcopy(transform.state_dict())
    with torch.no_grad():
        for door, given in doors(transform, case):
            before = given.clone()
            first, second = door(given, context), door(given, context)
            assert torch.equal(given, before)
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(state[name], value) for name, value in transform.state_dict().items())


def either_direction_first(case: Case) -> None:
    used, context = case.build(), case.context(N)
    used(case.x(N), context)
    used(case.x(N + 2), case.context(N + 2))
    expected = used.inverse(case.z(N), context)
    assert all(close(a, b) for a, b in zip(case.build().inverse(case.z(N), context), expected, strict=True))


def gradients(case: Case) -> None:
    for which in (0, 1):
        transform, context = case.build(), case.context(N)
        door, given = doors(transform, case)[which]
        given.requires_grad_()
        value, log_det = door(given, context)
        weights = torch.linspace(0.5, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
        ((value * weights).sum() + log_det.sum()).backward()
        for name, leaf in [("input", given), *transform.named_parameters()]:
            assert leaf.grad is not None, name
            assert leaf.grad.isfinite().all(), name
            assert leaf.grad.abs().max() > 0, name


def totals(case: Case):
    """For both doors a scalar function of the input, an input, and a random direction."""
    transform, context = case.build(), case.context(N)
    for door, given in doors(transform, case):

        def total(t: Tensor, door=door) -> Tensor:
            value, log_det = door(t, context)
            return value.square().sum() + log_det.sum()

        yield total, given, torch.randn(given.shape, dtype=given.dtype, generator=torch.Generator().manual_seed(3))


def gradients_are_differences(case: Case) -> None:
    """Along a random direction of the input, through both doors."""
    step = 1e-5
    for total, given, direction in totals(case):
        (gradient,) = torch.autograd.grad(total(leaf := given.clone().requires_grad_()), leaf)
        difference = (total(given + step * direction) - total(given - step * direction)) / (2 * step)
        assert close((gradient * direction).sum(), difference, 1e-6)


def second_derivatives_are_differences(case: Case) -> None:
    """Of the input: the derivative of the gradient along a random direction, through both doors."""
    step = 1e-5
    for total, given, direction in totals(case):
        low, middle, high = ((given + sign * step * direction).requires_grad_() for sign in (-1, 0, 1))
        before, gradient, after = (
            torch.autograd.grad(total(leaf), leaf, create_graph=True)[0] for leaf in (low, middle, high)
        )
        (found,) = torch.autograd.grad((gradient * direction).sum(), middle)
        assert close(found, (after - before) / (2 * step), 1e-5)


def frozen_weights_leave_other_gradients_alone(case: Case) -> None:
    """Where every other weight is frozen, the gradients of the others are what they were."""
    transform, context, found = case.build(), case.context(N), []
    frozen = [*transform.parameters()][::2]
    for trained in (True, False):
        for weight in frozen:
            weight.requires_grad_(trained)
        x = case.x(N).requires_grad_()
        z, log_det = transform(x, context)
        wanted = [x, *[*transform.parameters()][1::2]]
        found.append(torch.autograd.grad(z.square().sum() + log_det.sum(), wanted, materialize_grads=True))
    assert all(close(a, b) for a, b in zip(*found, strict=True))


def state_dict(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    weights = {name for name, _ in transform.named_parameters()}
    assert set(transform.state_dict()) == weights | from_data(transform), (
        "stores more than weights and what is initialised from data"
    )
    fresh = case.make().double()
    fresh.load_state_dict(transform.state_dict())
    for (door, given), (other, _) in zip(doors(transform, case), doors(fresh, case), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(door(given, context), other(given, context), strict=True))


def flow_of(case: Case, transform: Transform) -> Flow:
    """With open axes where the case has them, in float64."""
    base, event = StandardNormal(*(case.open or case.latent)), case.open or case.event
    return Flow(transform, base, event=event, conditions=case.conditions).double()


def context_matters(case: Case) -> None:
    transform = case.build()
    flow = flow_of(case, transform)
    if not case.conditions:
        with pytest.raises(ValueError, match="unconditional"):
            flow.log_prob(case.x(N), torch.zeros(N))
        return
    with pytest.raises(ValueError, match="without a context"):
        flow.log_prob(case.x(N))
    with pytest.raises(ValueError, match="context has batch shape"):
        flow.log_prob(case.x(N), case.context(N + 1))
    context, other = case.context(N, seed=0), case.context(N, seed=1)
    null = conditions.drop(context, torch.ones(N, dtype=torch.bool))
    for door, given in doors(transform, case):
        value = door(given, context)[0]
        assert not close(value[:-1], door(given, other)[0][:-1])
        assert not close(value[:-1], door(given, null)[0][:-1])
        assert close(value[-1], door(given, other)[0][-1])  # the null row has no context left to matter
    assert close(transform.inverse(transform(case.x(N), null)[0], null)[0], case.x(N))


def slopes_add_up(case: Case) -> None:
    transform, context, x = case.build(), case.context(N), case.x(N)
    for part in transform if isinstance(transform, Chain) else (transform,):
        z, log_det = part(x, context)
        if isinstance(part, Triangular):
            again, log_slopes = part.slopes(x, context)
            assert torch.equal(again, z)
            assert log_slopes.shape == z.shape
            assert close(log_slopes.flatten(1).sum(1), log_det)
        x = z


def causal_says_the_truth(case: Case) -> None:
    """Where a transform calls itself causal, both doors give the first elements without regard to later ones."""
    transform, context = case.build(), case.context(N)
    if not transform.causal:
        return
    for door, given in doors(transform, case):
        for n in range(1, given.shape[1]):
            other = torch.cat([given[:, :n], given[:, n:] + 0.5], 1)
            assert close(door(other, context)[0][:, :n], door(given, context)[0][:, :n])


def known_prefixes_are_kept(case: Case) -> None:
    """`decode(z, known=…)` gives the prefix as it is, and what follows has the latents of z; where z comes in order."""
    transform, context, x, z = case.build(), case.context(N), case.x(N), case.z(N)
    flow = flow_of(case, transform)
    if not transform.causal:
        with pytest.raises(ValueError, match="this flow is not causal"):
            flow.decode(z, context, known=x[:, :1])
        return
    for n in range(1, x.shape[1]):
        decoded = flow.decode(z, context, known=x[:, :n])
        assert torch.equal(decoded[:, :n], x[:, :n])
        assert close(flow.encode(decoded, context)[:, n:], z[:, n:])


def streams_are_decoded(case: Case) -> None:
    """The parts that `stream` gives are those that `decode` gives; after a known prefix too, where sizes are open."""
    transform, context, z = case.build(), case.context(N), case.z(N)
    whole = transform.decode(z, context)
    assert close(torch.cat([*transform.stream(z.split(1, 1), context)], 1), whole)
    if case.open is None or case.open[0] is not None:
        return
    for n in range(1, z.shape[1]):
        rest = [*transform.stream(z[:, n:].split(1, 1), context, whole[:, :n])]
        assert close(torch.cat(rest, 1), whole[:, n:])


def events_have_the_size_that_is_asked_for(case: Case) -> None:
    """A flow with open axes draws and scores events of any size; another refuses a size that is not its own."""
    transform, context = case.build(), case.context(N)
    flow, shape = flow_of(case, transform), N if context is None else ()
    if case.open is None:
        with pytest.raises(ValueError, match="give size="):
            flow.sample(shape, context, size=(*case.event, 1))
        return
    for size in (2, 5):
        event = tuple(size if axis is None else axis for axis in case.open)
        x = flow.sample(shape, context, size=event)
        assert x.shape == (N, *event)
        assert close(flow.decode(flow.encode(x, context), context), x)
        z, log_det = transform(x, context)
        assert close(flow.log_prob(x, context), flow.base.log_prob(z) + log_det)
        with torch.enable_grad():
            assert close(log_det[0], jacobian_log_det(transform, x, context, row=0))
    with pytest.raises(ValueError, match="give size="):
        flow.sample(shape, context)


def compiles(case: Case, backend: str = "aot_eager", dtype: torch.dtype = torch.float64) -> None:
    """Forward with its gradients. (Inverse is `compiles_back`.)"""
    transform, context = case.build(dtype), case.context(N)
    torch.compiler.reset()
    answers = []
    for door in (transform, torch.compile(transform, fullgraph=True, backend=backend)):
        x = case.x(N, dtype).requires_grad_()
        z, log_det = door(x, context)
        (z.square().sum() + log_det.sum()).backward()
        answers.append((z, log_det, x.grad))
    assert all(close(a, b) for a, b in zip(*answers, strict=True))


def compiles_back(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    torch.compiler.reset()
    compiled = torch.compile(transform.inverse, fullgraph=True, backend="aot_eager")
    answers = zip(compiled(case.z(N), context), transform.inverse(case.z(N), context), strict=True)
    assert all(close(a, b) for a, b in answers)


def stays_on_its_device(case: Case) -> None:
    """On the meta device, where anything made on another device is refused."""
    transform, context = case.build(torch.float32).to("meta"), case.context(N)
    context = context and conditions.each(context, lambda t: t.to("meta"))
    with torch.no_grad():
        for door, given in doors(transform, case, N, torch.float32):
            value, log_det = door(given.to("meta"), context)
            assert value.is_meta
            assert log_det.is_meta


def builds_on_the_meta_device(case: Case) -> None:
    transform, context = case.build(torch.float32), case.context(N)
    with torch.device("meta"):
        meta = case.make()
    assert all(tensor.is_meta for tensor in (*meta.parameters(), *meta.buffers()))
    meta = meta.to_empty(device="cpu")
    meta.load_state_dict(transform.state_dict())
    for (door, given), (other, _) in zip(*(doors(t, case, N, torch.float32) for t in (transform, meta)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(door(given, context), other(given, context), strict=True))


def copies_and_prints(case: Case) -> None:
    """A copy prints and answers alike, and what is done to it is not done to the original."""
    transform, context = case.build(), case.context(N)
    assert type(transform).__name__ in repr(transform)
    assert " at 0x" not in repr(transform), "prints an address in memory"
    twin = copy.deepcopy(transform)
    assert repr(twin) == repr(transform)
    for (door, given), (other, _) in zip(doors(transform, case), doors(twin, case), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(door(given, context), other(given, context), strict=True))
    state, kept = ([*module.parameters(), *module.buffers()] for module in (twin, transform))
    before = [tensor.clone() for tensor in kept]
    with torch.no_grad():
        for tensor in state:
            tensor.zero_()
    assert len(state) == len(kept)
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True)), "a copy shares its memory"


def made_again_part_by_part(case: Case) -> None:
    """A flow that is described as plain data, saved and made again answers with the same bits."""
    transform, context = case.build(), case.context(N)
    described = Parts.of(flow_of(case, transform))
    assert revived(plain(described, "")) == described
    again = described.build().train(transform.training)
    again.load_state_dict(flow_of(case, transform).state_dict())
    for (door, given), (other, _) in zip(doors(transform, case), doors(again.transform, case), strict=True):
        answers = []
        for each in (door, other):
            torch.manual_seed(0)  # for log-dets that are estimated
            answers.append(each(given, context))
        assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def no_grad_agrees(case: Case) -> None:
    transform, context = case.build(), case.context(N)
    for door, given in doors(transform, case):
        with_gradients = door(given, context)
        with torch.no_grad():
            without = door(given, context)
        assert all(close(a, b) for a, b in zip(with_gradients, without, strict=True))


def the_wider_dtype_wins(case: Case) -> None:
    """Of the weights' and the events'; both doors, with gradients and without."""
    for weights, events in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        transform, context = case.build(weights), case.context(N)
        has_weights = any(t.is_floating_point() for t in (*transform.parameters(), *transform.buffers()))
        for door, given in doors(transform, case, N, events):
            for grad in (True, False):
                with torch.set_grad_enabled(grad):
                    value, log_det = door(given, context)
                wide = torch.float64 if has_weights else events
                assert (value.dtype, log_det.dtype) == (wide, wide)


def shape_of_latents(case: Case) -> None:
    assert tuple(case.make().latent_shape(case.event)) == case.latent


LAWS = (
    round_trip,
    log_dets_cancel,
    log_det_is_autograd,
    log_prob_is_that_of_the_latent,
    shapes_and_dtypes,
    autocast_leaves_the_flow_in_float32,
    float32_agrees_with_float64,
    batch_is_its_samples,
    empty_batches,
    pure,
    either_direction_first,
    gradients,
    frozen_weights_leave_other_gradients_alone,
    gradients_are_differences,
    second_derivatives_are_differences,
    state_dict,
    context_matters,
    slopes_add_up,
    causal_says_the_truth,
    known_prefixes_are_kept,
    streams_are_decoded,
    events_have_the_size_that_is_asked_for,
    compiles,
    compiles_back,
    stays_on_its_device,
    builds_on_the_meta_device,
    copies_and_prints,
    made_again_part_by_part,
    no_grad_agrees,
    shape_of_latents,
    the_wider_dtype_wins,
)

GRADIENT_FREE = (
    round_trip,
    log_dets_cancel,
    shapes_and_dtypes,
    autocast_leaves_the_flow_in_float32,
    float32_agrees_with_float64,
    batch_is_its_samples,
    pure,
    either_direction_first,
    state_dict,
    context_matters,
    slopes_add_up,
    known_prefixes_are_kept,
    streams_are_decoded,
    events_have_the_size_that_is_asked_for,
)
