"""What records or counts operations sees all of them, in every model; a recorded flow takes batches of any size."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pushforward import models, solve
from pushforward.flow import Flow
from pushforward.kernels import serving
from pushforward.models import Model
from pushforward.models.tarflowlm import Mix1Options, MixDOptions
from pushforward.moves import Affine
from tests.test_models import FIRST, SOLVED, context_of
from tests.toys import randomised


def given(flow: Flow, model: Model, rows: int) -> tuple[Tensor, ...]:
    x = 0.9 * torch.rand(rows, *flow.event, generator=torch.Generator().manual_seed(rows)) + 0.05
    context = context_of(model, rows)
    return (x,) if context is None else (x, context)


class Scored(nn.Module):
    def __init__(self, flow: Flow):
        super().__init__()
        self.flow = flow

    def forward(self, *given: Tensor) -> Tensor:
        return self.flow.log_prob(*given)


class Decoded(Scored):
    def forward(self, *given: Tensor) -> Tensor:
        return self.flow.decode(*given)


@pytest.fixture
def eager(monkeypatch):
    """Kernels serve for any amount of work, where they may."""
    monkeypatch.setattr(serving, "LEAST", dict.fromkeys(serving.LEAST, 0))


def traced(flow: Flow, *args: Tensor):
    return torch.jit.trace(Scored(flow), args, check_trace=False)


def made_fx(flow: Flow, *args: Tensor):
    return make_fx(lambda *args: flow.log_prob(*args))(*args)


def counted(flow: Flow, *_: Tensor):
    def score(*args: Tensor) -> Tensor:
        with FlopCounterMode(display=False) as counter:
            log_p = flow.log_prob(*args)
        assert counter.get_total_flops() > 0
        return log_p

    return score


@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore")  # what recorders warn of themselves
@pytest.mark.parametrize(
    ("name", "recorder"),
    [
        pytest.param(name, recorder, marks=[pytest.mark.slow] * (recorder is made_fx and name in SOLVED))
        for name in FIRST
        for recorder in (traced, made_fx, counted)
    ],
)
def test_what_is_recorded_is_what_is_computed(name, recorder):
    model = FIRST[name]
    flow = randomised(model.build(), 0.1).double().requires_grad_(False)
    args = given(flow, model, 64)
    if recorder is traced and name in SOLVED:  # a trace would keep the steps of its own rows
        with pytest.raises(RuntimeError, match="Do not trace or export the flow"):
            recorder(flow, *args)
        return
    again = recorder(flow, *args)
    others = args if recorder is made_fx else given(flow, model, 7)  # make_fx records sizes as numbers
    torch.testing.assert_close(again(*others), flow.log_prob(*others), check_dtype=False, rtol=1e-6, atol=1e-6)


DEPLOYED = ("VectorRealNVP", "MAF", "NSF", "ImageGlow", "TarFlow")
SLOW_TO_EXPORT = (("TarFlow", Decoded), ("ImageGlow", Decoded))  # 10 to 30 s each


@pytest.mark.filterwarnings("ignore")  # torch.export's own
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] * ((name, kind) in SLOW_TO_EXPORT))
        for name in DEPLOYED
        for kind in (Scored, Decoded)
    ],
)
def test_an_exported_flow_takes_batches_of_any_size(name, kind):
    """Exported with a free batch dimension, saved, loaded, compared."""
    model = FIRST[name]
    if name in ("VectorRealNVP", "TarFlow"):  # with a context too
        model = FIRST[name].__class__(**{**vars(model), "classes": 3})
    flow = randomised(model.build(), 0.1).requires_grad_(False)

    def rows(n: int) -> tuple[Tensor, ...]:
        x, *context = given(flow, model, n)
        return (x, *context) if kind is Scored else (flow.encode(x, *context), *context)

    batch = torch.export.Dim("batch", min=1, max=2**20)
    shapes = (tuple({0: batch} for _ in rows(2)),)
    with torch.no_grad():
        program, file = torch.export.export(kind(flow), rows(5), dynamic_shapes=shapes, strict=False), io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for n in (1, 2, 64, 300):
        torch.testing.assert_close(loaded(*rows(n)), kind(flow)(*rows(n)), rtol=1e-4, atol=1e-4)


AT_ONCE = ("NICE", "VectorRealNVP", "MAF", "ITARFlow", "TarFlow", "AutoregressiveLM")  # traced in 1 or 2 s each
GENERATED = ("MAF", "NSF", "VectorFlowPlusPlus", "TarFlow")  # by a C++ compiler, in a minute or more


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *(pytest.param(name, "aot_eager", marks=[pytest.mark.slow] * (name not in AT_ONCE)) for name in FIRST),
        *(pytest.param(name, "inductor", marks=pytest.mark.slow) for name in GENERATED),
    ],
)
def test_compiled_flows_give_the_same_log_p_and_gradients(name, backend):
    """Without a break, but for the solvers of continuous flows, which are not compiled."""
    torch.compiler.reset()
    flow = randomised(FIRST[name].build(), 0.1).double()
    x, *context = given(flow, FIRST[name], 6)
    answers, learned = [], [parameter for parameter in flow.parameters() if parameter.requires_grad]
    for score in (flow.log_prob, torch.compile(flow.log_prob, fullgraph=name not in SOLVED, backend=backend)):
        leaf = x.double().requires_grad_()
        log_p = score(leaf, *context)
        answers.append((log_p, *torch.autograd.grad(log_p.sum(), [leaf, *learned], materialize_grads=True)))
    torch.testing.assert_close(*answers)


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("NICE", "IAF")))
        for name in ("NICE", "VectorRealNVP", "MAF", "IAF", "NSF", "CircularNSF", "TarFlow", "Jet", "AutoregressiveLM")
    ],
)
def test_compiled_flows_draw_the_same(name):
    torch.compiler.reset()
    flow, answers = randomised(FIRST[name].build(), 0.1), []
    _, *context = given(flow, FIRST[name], 2)
    draw = flow.rsample_and_log_prob
    for each in (draw, torch.compile(draw, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        answers.append(each((3,), *context))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)


SEARCHED = {  # flows whose decoding is a loop
    "fixed point": lambda: models.ResidualFlow(features=2, transforms=1, hidden=(8,), limit=0.3).build(),
    "fixed steps": lambda: models.FlowMatching(features=2, hidden=(8,)).build().solved_by(solve.RK4(2)),
    "jumps": lambda: models.FlowMap(features=2, hidden=(8,)).build().solved_by(solve.Jumps(2)),
}


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("name", SEARCHED)
def test_loops_are_exported_and_traced_with_as_many_steps_as_other_rows_need(name):
    decoded = Decoded(randomised(SEARCHED[name](), 0.3).requires_grad_(False))
    easy, z = torch.zeros(3, 2), 3 * torch.randn(7, 2, generator=torch.Generator().manual_seed(1))
    batch = torch.export.Dim("batch", min=1, max=2**20)
    with torch.no_grad():
        exported = torch.export.export(decoded, (easy,), dynamic_shapes=(({0: batch},),), strict=False).module()
        traced = torch.jit.trace(decoded, (easy,), check_trace=False)
    for again in (exported, traced):
        torch.testing.assert_close(again(z), decoded(z), rtol=1e-5, atol=1e-5)


def test_steps_that_are_chosen_by_values_are_not_exported():
    flow = models.FlowMatching(features=2, hidden=(8,)).build().requires_grad_(False)
    with torch.no_grad(), pytest.raises(RuntimeError, match="Do not trace or export the flow; trace flow.solved_by"):
        torch.export.export(Decoded(flow), (torch.zeros(3, 2),), strict=False)


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("kind", [{"move": Mix1Options(2, (8,))}, {"move": Affine(), "first": MixDOptions(3)}])
def test_searches_of_all_features_are_traced_and_not_exported(kind):
    flow = models.TarFlowLM(tokens=2, features=1, width=8, depths=(1,), **kind).build()
    decoded = Decoded(randomised(flow, 0.3).requires_grad_(False))
    z, others = torch.zeros(3, 2, 1), torch.randn(7, 2, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="Record it by torch.jit.trace"):
            torch.export.export(decoded, (z,), strict=False)
        traced = torch.jit.trace(decoded, (z,), check_trace=False)
    torch.testing.assert_close(traced(others), decoded(others), rtol=1e-5, atol=1e-5)


def pushed(f, x: Tensor, tangent: Tensor) -> Tensor:
    return torch.func.jvp(f, (x,), (tangent,))[1]


def dual(f, x: Tensor, tangent: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, tangent))).tangent


@pytest.mark.filterwarnings("ignore")  # torch's own, of a search under vmap
@pytest.mark.parametrize(
    ("name", "door"),
    [
        pytest.param(name, door, marks=[pytest.mark.slow] * ((name, door) == ("TarFlowLM", "decode")))  # many searches
        for name in FIRST
        for door in ("log_prob", "decode")
    ],
)
def test_torch_func_and_forward_mode_give_the_derivatives_of_autograd(name, door):
    """Where no weight requires gradients, too; and what cannot be mapped says so."""
    torch.manual_seed(0)
    model = FIRST[name]
    flow = model.build().double().requires_grad_(False)
    for parameter in (parameter for part, parameter in flow.named_parameters() if "answer" in part):
        nn.init.normal_(parameter, std=0.1)
    x, *context = given(flow, model, 2)
    at = x.double() if door == "log_prob" else flow.encode(x.double(), *context)
    if name in SOLVED:
        with pytest.raises(RuntimeError, match="vmap hides them"):
            torch.func.vmap(getattr(flow, door))(at, *context)
        flow = flow.solved_by(solve.RK4(16))
    f, tangent = lambda x: getattr(flow, door)(x, *context), torch.randn_like(at)
    leaf, weights = at.clone().requires_grad_(), torch.randn_like(f(at))
    (expected,) = torch.autograd.grad((weights * f(leaf)).sum(), leaf)
    torch.testing.assert_close(torch.func.grad(lambda x: (weights * f(x)).sum())(at), expected)
    for way in (pushed, dual):
        torch.testing.assert_close((weights * way(f, at, tangent)).sum(), (expected * tangent).sum())
    torch.testing.assert_close(torch.func.vmap(getattr(flow, door))(at, *context), f(at))


def test_steps_that_are_chosen_by_values_are_constants_in_forward_mode():
    flow = models.FlowMatching(features=2, context=1, hidden=(8,)).build().requires_grad_(False)
    flow = randomised(flow.double(), 0.5).solved_by(solve.Dopri5(rtol=1e-3, atol=1e-3))
    z, context, tangent = torch.randn(5, 2).double(), torch.randn(5, 1).double(), torch.ones(5, 1).double()
    leaf = context.clone().requires_grad_()
    (expected,) = torch.autograd.grad(flow.decode(z, leaf).sum(), leaf)
    torch.testing.assert_close(pushed(lambda c: flow.decode(z, c), context, tangent).sum(), expected.sum())


class Elements(TorchDispatchMode):
    """Counts the elements that operations make."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.total += sum(t.numel() for t in torch.utils._pytree.tree_leaves(made) if isinstance(t, Tensor))
        return made


def built(make) -> int:
    with Elements() as counter:
        make()
    return counter.total


def stepped(make) -> int:
    flow = make()
    with FlopCounterMode(display=False) as counter:
        flow.log_prob(torch.zeros(2, *flow.event)).sum().backward()
    return counter.get_total_flops()


def sampled(make) -> int:
    flow = make()
    with FlopCounterMode(display=False) as counter:
        flow.sample(2)
    return counter.get_total_flops()


WIDE = {
    **{name: getattr(models, name) for name in ("NICE", "RealNVP", "FlowPlusPlus", "MAF", "IAF", "CircularNSF")},
    "Glow": models.Glow,
    "NSF": models.NSF,
    "autoregressive NSF": lambda **options: models.NSF(autoregressive=True, **options),
}


@pytest.mark.parametrize("cost", [built, stepped, sampled])
@pytest.mark.parametrize("name", WIDE)
def test_no_cost_grows_with_the_cube_of_the_features(name, cost):
    """Of building a flow, of a step of training, and of a sample: at most with the square."""
    few, many = (
        cost(lambda n=n: WIDE[name](features=n, hidden=(64, 64), transforms=2).build()) for n in (64, 256)
    )  # four times as many: 16 times the cost is the square, 64 times the cube
    assert many < 24 * few
