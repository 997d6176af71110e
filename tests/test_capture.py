"""Captured functions, on a CPU with tapes in place of CUDA graphs (`tests.tape`)."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pushforward.capture import MOST, Captured

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("tapes")


def test_a_record_is_made_after_the_first_calls_and_replayed():
    runs = []

    def function(x, scale):
        runs.append(1)
        return {"value": x * scale + 1}

    captured = Captured(function, CPU, warmups=2)
    for call in range(1, 6):
        x = torch.full((3,), float(call))
        assert torch.equal(captured(x, 2)["value"], 2 * x + 1)
        assert (captured.why is None) == (call > 2)
    assert len(runs) == 3, "two calls and a recording"


@pytest.mark.parametrize("other", [(torch.ones(4), 2), (torch.ones(3).double(), 2), (torch.ones(3), 3)], ids=str)
def test_each_shape_dtype_and_value_has_a_record_of_its_own(other):
    captured = Captured(lambda x, scale: x * scale, CPU)
    for x, scale in [(torch.ones(3), 2), other] * 3:
        assert torch.equal(captured(x, scale), x * scale)
    assert len(captured._records) == 2


def test_modes_have_records_of_their_own():
    weight = torch.ones(2, 2)
    captured = Captured(lambda x: x @ weight, CPU)
    for _ in range(3):
        assert captured(torch.ones(2, 2)).dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            assert captured(torch.ones(2, 2)).dtype == torch.bfloat16
    assert captured.why is None


def test_results_are_overwritten_by_the_next_call_and_arguments_are_not_kept():
    captured = Captured(lambda x: x + 1, CPU)
    captured(torch.zeros(1))
    x = torch.ones(1)
    kept = captured(x)
    assert kept.item() == 2
    assert captured(torch.full((1,), 5.0)) is kept
    assert kept.item() == 6
    assert x.item() == 1


def test_tensors_changed_in_place_go_on_changing():
    count, weight = torch.zeros(1), torch.ones(1)

    def step():
        count.add_(1)
        return count * weight

    captured = Captured(step, CPU)
    for expected in range(1, 6):
        assert captured().item() == expected
    weight.fill_(10)
    assert captured().item() == 60


def test_what_python_counts_stands_still_in_a_replay():
    """As it does in a graph: else a position that is no tensor would pass here, and fail on a GPU alone."""
    count = [0]

    def step(x):
        count[0] += 1
        return x + count[0]

    captured = Captured(step, CPU)
    assert [captured(torch.zeros(1)).item() for _ in range(5)] == [1, 2, 2, 2, 2]


def test_a_training_step_is_recorded_with_its_gradients():
    weights = [torch.ones(3, requires_grad=True) for _ in range(2)]

    def step(weight, x):
        weight.grad = None
        loss = (weight * x).square().sum()
        loss.backward()
        with torch.no_grad():
            weight.sub_(weight.grad, alpha=0.1)
        return loss.detach()

    captured = Captured(lambda x: step(weights[0], x), CPU)
    for seed in range(5):
        x = torch.randn(3, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(captured(x), step(weights[1], x))
    assert captured.why is None
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x * x.sum().item(), "could not be recorded"),
        (lambda x: x[x > 0].sum(), "could not be recorded"),
        (lambda x: x.requires_grad_() * 2, "require gradients"),
    ],
    ids=["a wait", "a boolean index", "gradients to come"],
)
def test_what_cannot_be_recorded_is_called_and_says_why(function, reason):
    captured = Captured(function, CPU)
    for value in range(1, 4):
        x = torch.full((2,), float(value))
        assert torch.equal(captured(x), function(x.clone()))
    assert reason in captured.why
    assert captured.refused == captured.why


def test_no_record_has_weights_that_autocast_cast_before_it():
    """Their memory would be freed at the end of the block, and replays would read it."""
    weight, x = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2)
    captured = Captured(lambda x: (x @ weight).detach(), CPU)
    with torch.autocast("cpu", torch.bfloat16):
        captured(x)
        x @ weight
        captured(x)
    weight.data.fill_(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert captured(x).eq(6).all()
    assert captured.why is None


def test_the_keys_that_were_used_last_have_records():
    captured = Captured(lambda x, scale: x * scale, CPU)
    for scale in (*range(MOST), 0, *range(MOST, MOST + 9)):
        assert captured(torch.ones(1), scale).item() == scale
    assert len(captured._records) == MOST
    for scale, why in {0: None, 1: "first calls"}.items():  # the first was used again
        captured(torch.ones(1), scale)
        assert captured.why is why or why in captured.why
        assert captured.refused is None


def test_a_function_being_recorded_is_part_of_the_record():
    inner = Captured(lambda x: x + 1, CPU)
    outer = Captured(lambda x: 2 * inner(x), CPU)
    for value in range(4):
        assert outer(torch.full((1,), float(value))).item() == 2 * value + 2
    assert outer.why is None
    assert not inner._records


def test_a_default_device_is_no_recording():
    captured = Captured(lambda x: x + 1, CPU)
    with torch.device("cpu"):
        for _ in range(3):
            captured(torch.ones(1))
    assert captured.why is None
    with torch.device("meta"):
        captured(torch.ones(1, device=CPU))
    assert "a mode records" in captured.why


def test_what_is_recorded_otherwise_is_called(monkeypatch):
    captured = Captured(lambda x: x + 1, CPU)
    for _ in range(2):
        captured(torch.ones(1))
    with FlopCounterMode(display=False):
        captured(torch.ones(1))
        assert "a mode records" in captured.why
    monkeypatch.undo()
    captured = Captured(lambda x: x + 1, CPU)
    captured(torch.ones(1))
    assert captured.why == "functions are captured on cuda; this one runs on cpu"


def test_an_error_of_the_function_is_its_own():
    captured = Captured(lambda x: x @ x, CPU)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            captured(torch.ones(2, 3))
