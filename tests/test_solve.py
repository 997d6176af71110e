"""Inverse solvers: each keeps the guarantee it states."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn import functional as F

from pushforward import conditions
from pushforward.conditions import Label, read
from pushforward.guidance import Linear
from pushforward.moves import Affine, Shift
from pushforward.networks import (
    CausalNetwork,
    CausalTransformer,
    Decoder,
    Guided,
    LabelEmbedding,
    Learned,
    MaskedMLP,
)
from pushforward.solve import Autotuned, blockwise_jacobi, jacobi, sequential
from tests.kernels import switch
from tests.laws.cases import CASES, TOKENS
from tests.toys import picture


def test_jacobi_after_k_sweeps_has_the_first_k_tokens():
    step = CASES["autoregressive/affine"].build()
    x = z = CASES["autoregressive/affine"].z(5)
    expected = torch.cat([token for token, _ in sequential(step.net, step.move, z)], 1)
    for sweeps in range(1, TOKENS + 1):
        x = step.move.inverse(z, step.net(x))[0]
        torch.testing.assert_close(x[:, :sweeps], expected[:, :sweeps])
    torch.testing.assert_close(solved(jacobi, step.net, step.move, z)[0], expected)


def test_jacobi_stops_early_and_then_has_converged():
    step, case = CASES["autoregressive/affine"].build(), CASES["autoregressive/affine"]
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.mul_(0.1)  # weak dependence on earlier tokens: fewer sweeps than tokens
    reads, z = counted(step.net), case.z(5)
    x, _ = solved(partial(jacobi, tolerance=1e-3), step.net, step.move, z)
    assert len(reads) < TOKENS - 1
    exact, _ = solved(jacobi, step.net, step.move, z)
    torch.testing.assert_close(x, exact, atol=1e-3, rtol=0)


def test_jacobi_survives_overflow_on_the_way():
    step, case = CASES["autoregressive/affine"].build(torch.float32), CASES["autoregressive/affine"]
    with torch.no_grad():
        for parameter in step.net.answer.parameters():
            parameter.mul_(60)
        z = case.z(200, torch.float32)
        first = step.move.inverse(z, step.net(z))[0]
        second = step.move.inverse(z, step.net(first.nan_to_num()))[0]
    (x, _), (expected, _) = (solved(solver, step.net, step.move, z) for solver in (jacobi, sequential))
    assert not (first.isfinite().all() and second.isfinite().all()), "nothing overflowed: the test shows nothing"
    finite = expected.isfinite().flatten(1).all(1)
    assert finite.any()
    torch.testing.assert_close(x[finite], expected[finite], rtol=1e-2, atol=1e-2)
    assert torch.equal(x.isfinite().flatten(1).all(1), finite)


def test_tokens_are_streamed():
    step, case = CASES["autoregressive/labels"].build(), CASES["autoregressive/labels"]
    stream = sequential(step.net, step.move, case.z(3), case.context(3))
    shapes = [tuple(x.shape) for x, _ in stream]
    assert shapes == [(3, 1, 2)] * TOKENS


def test_partial_gives_a_tolerance():
    """A solver is a function, so `partial` binds its settings."""
    case = CASES["autoregressive/affine"]
    step = case.build()
    step.solve = partial(jacobi, tolerance=1e-12)
    x = case.x(2)
    with torch.no_grad():
        torch.testing.assert_close(step.inverse(step(x)[0])[0], x)


def test_a_recorded_step_is_replayed_from_token_to_token(net, tapes, monkeypatch):
    """Two runs of Python, one to warm up and one to record, for all tokens that attend to as much memory."""
    del tapes
    switch(monkeypatch, on=False)
    z, context, runs = torch.randn(3, 13, 2, dtype=torch.float64), read({"label": Label(3)}, [0, 2, -1]), []

    class Counted(Affine):
        def inverse(self, y, raw):
            runs.append(1)
            return super().inverse(y, raw)

    x, log_slopes = solved(sequential, net, Counted(), z, context)
    assert len(runs) == 3, "the first token's, too"
    expected = solved(jacobi, net, Affine(), z, context)
    torch.testing.assert_close(x, expected[0])
    torch.testing.assert_close(log_slopes, expected[1])


def counted(net):
    """A list that grows by one whenever a decoder of the network reads."""
    start, reads = net.start, []

    def counting(*args, **options):
        decoder = start(*args, **options)
        inner = decoder.read

        def read(x):
            reads.append(x.shape[1])
            return inner(x)

        decoder.read = read
        return decoder

    net.start = counting
    return reads


SOLVERS = {
    "blockwise of 1": partial(blockwise_jacobi, size=1),
    "blockwise of 3": partial(blockwise_jacobi, size=3),
    "blockwise of 8": blockwise_jacobi,
    "warm of 3": partial(blockwise_jacobi, size=3, warm=True),
    "jacobi": jacobi,
}


def solved(solver, net, move, z, context=None):
    with torch.no_grad():
        x, log_slopes = zip(*solver(net, move, z, context), strict=True)
    return torch.cat(x, 1), torch.cat(log_slopes, 1)


@pytest.fixture(params=["tensors", "kernel", "graph"])
def net(request, allow):
    """A transformer of 13 tokens, decoded by tensor operations, by the kernel or by recorded steps."""
    allow(request.param)
    net = CausalTransformer(
        2, (2, 2), positions=Learned(13, 8), width=8, depth=2, heads=2, context_encoder=LabelEmbedding(3, 8)
    ).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("tokens", [1, 2, 13])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_answers_as_sequential(net, solver, tokens, guided):
    net = Guided(net, Affine(), Linear(0.5)) if guided else net
    z, context = torch.randn(3, tokens, 2, dtype=torch.float64), read({"label": Label(3)}, [0, 2, -1])
    expected = solved(sequential, net, Affine(), z, context)
    reads = counted(net)
    for mine, right in zip(solved(SOLVERS[solver], net, Affine(), z, context), expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-12)
    assert len(reads) <= max(tokens - 1, 0)


@pytest.mark.parametrize("lost", [0, 5, 12])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_row_that_overflows_is_lost_alone(net, solver, lost):
    z, context = torch.randn(3, 13, 2, dtype=torch.float64), read({"label": Label(3)}, [0, 2, -1])
    expected = solved(sequential, net, Affine(), z, context)
    broken = z.clone()
    broken[1, lost] = torch.inf
    for mine, right in zip(solved(SOLVERS[solver], net, Affine(), broken, context), expected, strict=True):
        torch.testing.assert_close(mine[[0, 2]], right[[0, 2]], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mine[1, :lost], right[1, :lost], rtol=1e-12, atol=1e-12)
        assert mine[1, lost + 1 :].isnan().all()


@pytest.mark.parametrize("net", ["graph"], indirect=True)
@pytest.mark.parametrize("solver", ["blockwise of 3", "jacobi"])
def test_sweeps_are_recorded_once_and_replayed(net, solver):
    """Python runs for the guesses, to warm up and to record; a sweep more than is needed changes nothing."""
    z, context, runs = torch.randn(3, 13, 2, dtype=torch.float64), read({"label": Label(3)}, [0, 2, -1]), []

    class Counted(Affine):
        def inverse(self, y, raw):
            runs.append(1)
            return super().inverse(y, raw)

    solved(SOLVERS[solver], net, Counted(), z, context)
    assert len(runs) == (5 if solver == "blockwise of 3" else 3), "with guesses for the tokens that enter"


@pytest.mark.parametrize("net", ["kernel"], indirect=True)
def test_the_kernel_gives_a_row_the_same_bits_alone_and_in_a_batch(net):
    """Token by token, and in sweeps."""
    z, context = torch.randn(5, 13, 2), read({"label": Label(3)}, [0, 2, -1, 1, 1])
    net = net.float()
    expected, _ = solved(sequential, net, Affine(), z, context)
    assert torch.equal(solved(partial(blockwise_jacobi, size=5, tolerance=0.0), net, Affine(), z, context)[0], expected)
    alone = conditions.each(context, lambda t: t[2:3])
    assert torch.equal(solved(sequential, net, Affine(), z[2:3], alone)[0], expected[2:3])


@pytest.mark.parametrize("solver", SOLVERS)
def test_tokens_may_be_single_features(solver):
    """As those of a vector are, (batch, token)."""
    net, z = MaskedMLP(13, (2,), hidden=(13,)).double(), torch.randn(3, 13, dtype=torch.float64)
    expected, _ = solved(sequential, net, Affine(), z)
    torch.testing.assert_close(solved(SOLVERS[solver], net, Affine(), z)[0], expected)


class Echo(CausalNetwork):
    """A token is shifted by `gain` times the one `back` places before the first of its group of `group`."""

    tokens, token = 64, (1,)

    def __init__(self, gain: float, group: int = 1):
        super().__init__()
        self.gain, self.group = torch.nn.Parameter(torch.tensor(gain)), group

    def forward(self, x, context=None):
        return self.echo(x[:, :-1], 0)

    def echo(self, x, first):
        """The answers for tokens from `first` on."""
        padded = F.pad(x, (0, 0, 1, 0))
        return self.gain * padded[:, torch.arange(first, padded.shape[1]) // self.group * self.group][..., None]

    def start(self, rows, context=None):
        return EchoDecoder(self, rows)


class EchoDecoder(Decoder):
    kind = "echo"

    def __init__(self, net, rows):
        super().__init__(torch.zeros(rows, 1, 1, 1), net.tokens)
        self.net, self.x = net, torch.zeros(rows, 0, 1)

    def _read(self, x):
        self.x = torch.cat([self.x[:, : self.length], x], 1)
        return self.net.echo(self.x, self.length + 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_small_change_that_grows_is_not_taken_for_the_end(solver):
    """Each token is four times the one before it: a sweep changes little at first, and the last token by 4^29."""
    z = torch.zeros(1, 30, 1)
    z[0, 0] = 1e-9
    expected, _ = solved(sequential, Echo(4.0), Shift(), z)
    assert expected[0, -1] > 1e8
    torch.testing.assert_close(solved(SOLVERS[solver], Echo(4.0), Shift(), z)[0], expected)


PICKED = {
    "sequential": Echo(1.0),  # every token hangs on the one before
    "blockwise of 8": Echo(1.0, group=8),  # eight at a time are independent, given those before
    "jacobi": Echo(1e-9),  # all nearly are
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_row_that_overflows_delays_no_other(solver):
    """It is left out once it has overflowed, the others are solved as without it, and it ends not finite."""
    net, z = Echo(1e-3), torch.randn(3, 40, 1)
    reads = counted(net)
    expected, _ = solved(SOLVERS[solver], net, Shift(), z)
    without = len(reads)
    for lost in (0, 5, 38):
        reads.clear()
        broken = z.clone()
        broken[1, lost] = torch.inf
        x, log_slopes = solved(SOLVERS[solver], net, Shift(), broken)
        assert len(reads) <= without + 1
        assert torch.equal(x[[0, 2]], expected[[0, 2]])
        assert torch.equal(x[1, :lost], expected[1, :lost])
        assert not x[1, lost:].isfinite().any()
        assert log_slopes[[0, 2]].isfinite().all()


def test_a_solver_may_be_left_between_sweeps():
    net = Echo(1.0)
    reads = counted(net)
    with torch.no_grad():
        for solver in SOLVERS.values():
            reads.clear()
            stream = solver(net, Shift(), torch.randn(2, 64, 1))
            next(stream)
            stream.close()
            assert len(reads) <= 1


@pytest.fixture
def costs(monkeypatch):
    """A clock that counts what a machine would take: each read, and a little for each token."""
    spent = [0.0]
    module = sys.modules["pushforward.solve.autotuned"]
    monkeypatch.setattr(module, "perf_counter", lambda: spent[0])
    monkeypatch.setattr(module, "LARGE", 0)
    read = EchoDecoder._read

    def counting(decoder, x):
        spent[0] += 1 + x.shape[1] / 20
        return read(decoder, x)

    monkeypatch.setattr(EchoDecoder, "_read", counting)
    return spent


@pytest.mark.parametrize("name", PICKED)
def test_autotuned_picks_the_fastest_and_notes_it(name, costs):
    net, z, autotuned = PICKED[name], torch.randn(1, 64, 1), Autotuned()
    first = solved(autotuned, net, Shift(), z)[0]
    assert autotuned.notes == {"network 0, 1 rows, cpu": name}
    assert torch.equal(first, solved(sequential, net, Shift(), z)[0]), "the first answer is sequential's"
    spent, again = costs[0], Autotuned(json.loads(json.dumps(autotuned.notes)))
    torch.testing.assert_close(solved(again, net, Shift(), z)[0], first)
    assert costs[0] - spent <= {"sequential": 67, "blockwise of 8": 16 * 1.5, "jacobi": 3 * 4.5}[name]


@pytest.mark.parametrize("name", PICKED)
def test_trials_take_no_more_than_four_times_the_sampling(name, costs):
    """A solver that has lost is stopped after the sweep in which it has, also where a row has overflowed."""
    for z in (torch.randn(1, 64, 1), torch.full((1, 64, 1), torch.inf)):
        start = costs[0]
        solved(sequential, PICKED[name], Shift(), z)
        middle = costs[0]
        solved(Autotuned(), PICKED[name], Shift(), z)
        assert costs[0] - middle <= 4 * (middle - start)


@pytest.mark.usefixtures("costs")
def test_autotuned_keeps_to_its_notes():
    net, other, z, autotuned = Echo(1.0), Echo(1e-9), torch.randn(1, 64, 1), Autotuned()
    assert len(list(autotuned(net, Shift(), z))) == 64, "sequential, for the gradients"
    assert not autotuned.notes
    for each in (net, other):
        solved(autotuned, each, Shift(), z)
    assert [*autotuned.notes.values()] == ["sequential", "jacobi"], "each network has its own"
    autotuned.notes["network 0, 1 rows, cpu"] = "jacobi"
    reads = counted(net)
    solved(autotuned, net, Shift(), z)
    assert reads[0] == 63, "all tokens at once"


def test_decode_and_sample_take_a_solver():
    flow, z, labels = picture(), torch.randn(4, 4, 16), torch.tensor([0, 1, 2, -1])
    asked = []

    def noted(*args):
        asked.append(1)
        return sequential(*args)

    with torch.no_grad():
        torch.testing.assert_close(flow.decode(z, labels, solve=noted), flow.decode(z, labels))
        assert len(asked) == 2
        flow.guided(0.5).sample((2,), labels, solve=noted)
    assert len(asked) == 4
    assert all(step.solve is sequential for step in flow.modules() if hasattr(step, "solve")), (
        "the flow itself is as it was"
    )


def _sweep(rank: int, folder: str) -> None:
    """One of two processes, whose rows settle at different speeds; it writes how often its decoder read."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = Echo([1e-9, 1.0][rank])
    reads = counted(net)
    z = torch.randn(1, 20, 1)
    torch.testing.assert_close(solved(jacobi, net, Shift(), z)[0], solved(sequential, net, Shift(), z)[0])
    Path(folder, f"calls{rank}").write_text(str(len(reads) - 19))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_sweep_in_step(tmp_path):
    """All ranks take part in every call of a sharded network, so none may stop before the others."""
    torch.multiprocessing.spawn(_sweep, (str(tmp_path),), nprocs=2)
    assert [(tmp_path / f"calls{rank}").read_text() for rank in range(2)] == ["19", "19"]
