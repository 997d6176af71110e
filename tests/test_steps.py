"""A step waits for nothing, is the same when it is captured, and is not taken where it would do harm."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import pushforward as pf
from pushforward.codecs import Identity
from pushforward.data import Arrays, Document, Documents, Order
from pushforward.models import IAF, MAF, NICE, NSF, CircularNSF, Glow, RealNVP, STARFlow2
from pushforward.moves import mixture
from pushforward.recipes import RECIPES
from pushforward.training import Likelihood, Log, Plan, ReverseKL, minimise
from pushforward.training.loop import _batches
from pushforward.training.state import State
from pushforward.training.step import WARMUPS, Step
from tests.kernels import switch
from tests.tape import NoWaits

ROWS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
COUNTS = torch.cat([ROWS[:, :3], (3 * ROWS[:, 3:]).round()], 1)
LABELS = torch.arange(64) % 3
COUNTED = [
    pf.transforms.Interval(),
    pf.transforms.Interval(),
    pf.transforms.Interval(),
    pf.transforms.Integers(-20, 20),
]


def vectors(kind, x=ROWS, context=None, codec=Identity(), **options):
    return lambda: (Likelihood(kind(features=4, **options).build(), codec), Arrays(x, context))


def recipe(name: str):
    def made():
        small = RECIPES[name]().small()
        if isinstance(small.model, STARFlow2):
            return small.build(), documents(small)
        objective, classes = small.build(), getattr(small.model, "classes", 0)
        event = tuple(axis or 2 for axis in objective.flow.event)
        shape = event[:1] if isinstance(small.codec, pf.codecs.TokenCodebook) else small.codec.data_shape(event)
        generator = torch.Generator().manual_seed(0)
        data = torch.randint(objective.codec.levels, (32, *shape), dtype=torch.uint8, generator=generator)
        text = getattr(small.model, "text", None)
        context = torch.randn(32, *text) if text else torch.arange(32) % classes if classes else None
        return objective, Arrays(data, context)

    return made


def documents(recipe) -> Documents:
    """Of a text and an image, in either order."""
    image = torch.zeros(recipe.model.image, dtype=torch.uint8)
    return Documents([Document([[1, 2, 3], image]), Document([image, [4, 5]])] * 16)


def reverse(kind):
    return lambda: (
        ReverseKL(kind(features=4).build(), lambda x: -0.5 * x.square().sum(1)),
        Arrays(torch.empty(32, 0)),
    )


IMAGES = [name for name in RECIPES if name != "table"]
REPEATED = [name for name in IMAGES if name != "digits" and not name.startswith("mnist_")]  # models of others
CASES = {
    **{name: recipe(name) for name in IMAGES},
    "NICE": vectors(NICE),
    "RealNVP": vectors(RealNVP),
    "MAF given labels": vectors(MAF, context=LABELS, classes=3),
    "MAF of integers": vectors(MAF, COUNTS, codec=pf.codecs.ColumnDequantization((3,)), supports=COUNTED),
    "NSF": vectors(NSF),
    "circular NSF": vectors(CircularNSF, ROWS.clamp(-3, 3)),
    "Glow": vectors(Glow),
    "reverse KL": reverse(IAF),
}


@pytest.fixture
def on_a_device(monkeypatch):
    """Nothing is copied to the host or from it."""
    for name in ("tolist", "cpu", "numpy", "item"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("a tensor was copied to the host"))
    for name in ("tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, lambda *_, **__: pytest.fail("a tensor was made on the host"))


@pytest.mark.parametrize("name", CASES)
def test_a_step_waits_for_nothing(name, request):
    torch.manual_seed(0)
    objective, data = CASES[name]()
    plan = Plan(steps=2, batch=8, precision="float32", on_nonfinite="skip", skip_above=100.0)
    state = State(objective, plan)
    step, batches = Step(objective, state, plan), list(_batches(data, state, plan))
    request.getfixturevalue("on_a_device")
    with NoWaits():
        for batch in batches:
            step(batch)


@pytest.mark.usefixtures("tapes")
@pytest.mark.parametrize("name", [name for name in CASES if name not in REPEATED])
def test_captured_steps_are_those_that_are_not(name, monkeypatch):
    """Weights, averages and buffers, bit for bit, in the same operations; some steps are skipped."""
    switch(monkeypatch, on=False)
    monkeypatch.setattr(mixture, "readable", lambda _: False)  # as on a device that captures
    ends = []
    for captured in (True, False):
        torch.manual_seed(0)
        objective, data = CASES[name]()
        plan = Plan(steps=WARMUPS + 3, batch=8, precision="float32", captured=captured, accumulate=2, average_decay=0.5)
        plan = replace(plan, skip_above=0.05, warmup=2, max_skipped=100)
        state = State(objective, plan)
        step = Step(objective, state, plan)
        for batch in _batches(data, state, plan):
            values = step(batch).values
        ends.append([*state.tensors().values(), values])
        assert captured == (step.why is None)
    assert all(torch.equal(*pair) for pair in zip(*ends, strict=True))
    assert state.skipped[1] > 0


SKIPPING = Plan(steps=6, batch=8, precision="float32", log_every=1, on_nonfinite="skip", max_skipped=2)


class Poisoned(Likelihood):
    """Its loss is NaN for batches that hold one of these rows."""

    def __init__(self, flow, bad):
        super().__init__(flow)
        self.bad = bad

    def forward(self, data, context=None, generator=None, weights=None):
        loss, logs = super().forward(data, context, generator, weights)
        wrong = (data[:, None] == self.bad).all(2).any()
        return torch.where(wrong, math.nan, loss), logs


def poisoned(*steps: int) -> tuple[Poisoned, Arrays]:
    torch.manual_seed(0)
    order = Order(64, seed=0)
    bad = ROWS[[order[8 * step : 8 * step + 1].item() for step in steps]]
    return Poisoned(NICE(features=4).build(), bad), Arrays(ROWS)


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_a_step_that_is_not_finite_is_skipped_and_its_rows_are_logged(tmp_path):
    objective, data = poisoned(1, 3)
    average = minimise(objective, data, SKIPPING, log=Log(tmp_path))
    assert weights(objective).isfinite().all()
    assert weights(average).isfinite().all()
    lines = Log(tmp_path).read()
    assert [line["step"] for line in lines if "skipped" in line] == [2, 4]
    assert [line["skipped"] for line in lines if "skipped" in line] == [1, 2]
    assert lines[1]["skipped rows"] == Order(64, seed=0)[8:16].tolist()


def test_a_step_that_is_skipped_changes_nothing():
    """Weights, moments, the average, and what the base has observed."""
    objective, data = poisoned(2)
    state = State(objective, SKIPPING)
    step = Step(objective, state, SKIPPING)
    for batch in _batches(data, state, SKIPPING):
        before = {name: tensor.clone() for name, tensor in state.tensors().items() if name != "skipped"}
        values = step.values(step(batch))
        assert values.taken == (batch.step != 2)
        changed = [name for name, tensor in before.items() if not torch.equal(tensor, state.tensors()[name])]
        assert bool(changed) == values.taken, changed


def test_training_stops_after_so_many_skipped_steps_in_a_row():
    objective, data = poisoned(1, 3, 4, 5)
    with pytest.raises(FloatingPointError, match="^step 4: loss nan.* skipped so far: 3, where 2 in a row"):
        minimise(objective, data, SKIPPING)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_stop_leaves_the_weights_of_the_step_before(checkpointed):
    """Though the steps after it have been launched when its values are read."""
    objective, data = poisoned(2)
    plan = replace(SKIPPING, on_nonfinite="stop", checkpoint_every=1 if checkpointed else 100)
    with pytest.raises(FloatingPointError, match="^step 2: loss nan"):
        minimise(objective, data, plan)
    stopped = weights(objective)
    before, data = poisoned()
    minimise(before, data, replace(plan, steps=2))
    assert torch.equal(weights(before), stopped)


def test_steps_of_large_gradients_are_skipped_after_warm_up(tmp_path):
    objective, data = poisoned()
    plan = Plan(steps=5, batch=8, precision="float32", log_every=1, warmup=2, skip_above=1e-6, max_skipped=10)
    minimise(objective, data, plan, log=Log(tmp_path))
    assert [line["step"] for line in Log(tmp_path).read() if "skipped" in line] == [3, 4, 5]
    with pytest.raises(FloatingPointError, match="above skip_above=1e-06; steps skipped so far: 1"):
        minimise(objective, data, replace(plan, max_skipped=1))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_float32_is_float32_unless_tf32_is_asked_for(precision):
    """And torch's global flags are afterwards what they were."""
    flags, seen = (torch.backends.cuda.matmul, torch.backends.cudnn), []
    before = [flag.allow_tf32 for flag in flags]

    class Looking(Likelihood):
        def forward(self, *given):
            seen.append([flag.allow_tf32 for flag in flags])
            return super().forward(*given)

    minimise(Looking(NICE(features=4).build()), Arrays(ROWS), Plan(steps=2, batch=8, precision=precision))
    assert seen == [[precision == "tf32"] * 2] * 2
    assert [flag.allow_tf32 for flag in flags] == before
