"""Processes that hold shares of the weights compute what one process does, and their runs go on in any number."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

import pushforward as pf
from pushforward.objectives import Matching
from pushforward.training import Likelihood, Plan
from pushforward.training.checkpoint import WEIGHTS
from pushforward.training.sharding import full, shard
from tests import test_models as models
from tests.sharded import CASES, FIRST, LABELS, RUN, X, trained

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of torch has no gloo")
ROOT = Path(__file__).parents[1]
HYBRID = {"hybrid": FIRST, "hybrid documents": "documents"}
QUICK = [name for name in CASES if name not in (*HYBRID, "compiled")]


class Scaled(pf.Transform):
    """z = s x, of one number s."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x, context=None):
        return x * self.scale, self.scale.abs().log() * x[0].numel() * x.new_ones(len(x))

    def inverse(self, z, context=None):
        return z / self.scale, -self.scale.abs().log() * z[0].numel() * z.new_ones(len(z))


def together(processes: int, folder: Path, *names: str) -> None:
    """Train these cases in so many processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*torchrun, "-m", "tests.sharded", str(folder), *names]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def same(name: str, found: tuple, expected: tuple) -> None:
    """The losses of all steps that both made, and the final densities, per element."""
    (lines, log_prob), (others, other_log_prob) = found, expected
    steps = {line["step"] for line in lines} & {line["step"] for line in others}
    losses = [[line["loss"] for line in log if line["step"] in steps] for log in (lines, others)]
    tolerance = CASES[name].tolerance
    assert losses[0] == pytest.approx(losses[1], rel=max(tolerance, 3e-7), nan_ok=True)  # losses are float32
    torch.testing.assert_close(log_prob / 64, other_log_prob / 64, rtol=0, atol=tolerance)


def unfinished(run: Path) -> Path:
    """The run as it was after three steps of five."""
    (newest,) = run.glob("checkpoints/step-00000005")
    shutil.rmtree(newest)
    (run / WEIGHTS).unlink()
    return run


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple]:
    """What one process makes of each case."""
    return {name: trained(CASES[name]) for name in QUICK}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What two processes make of each case."""
    folder = tmp_path_factory.mktemp("two")
    together(2, folder, *QUICK)
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_that_shard_weights_compute_what_one_does(name, alone, two):
    same(name, torch.load(two / f"{name}.pt"), alone[name])


def test_what_two_processes_began_one_continues(alone, two, tmp_path):
    run = Path(shutil.copytree(two / RUN, tmp_path / RUN))
    same(FIRST, trained(CASES[FIRST], unfinished(run)), alone[FIRST])
    assert len(list(run.glob("checkpoints/step-00000003/*_0.distcp"))) == 2, "each process wrote its share"


def test_the_weights_of_a_sharded_run_are_plain(alone, two):
    from safetensors.torch import load_file

    flow = CASES[FIRST].model.build().double()
    flow.load_state_dict(load_file(two / RUN / WEIGHTS))
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(X, LABELS), alone[FIRST][1], rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 2)])
def test_a_sharded_run_is_continued_by_any_number_of_processes(before, after, alone, tmp_path):
    together(before, tmp_path, FIRST)
    unfinished(tmp_path / RUN)
    together(after, tmp_path, FIRST)
    same(FIRST, torch.load(tmp_path / f"{FIRST}.pt"), alone[FIRST])


@pytest.mark.slow
def test_two_groups_of_two_processes_compute_what_one_process_does(alone, tmp_path):
    together(4, tmp_path, *HYBRID)
    for name, like in HYBRID.items():
        same(name, torch.load(tmp_path / f"{name}.pt"), alone[like])


@pytest.mark.slow
def test_sharded_layers_that_are_compiled_compute_the_same(alone, tmp_path):
    together(2, tmp_path, "compiled")
    same("compiled", torch.load(tmp_path / "compiled.pt"), alone[FIRST])


@pytest.fixture
def one_process(tmp_path):
    """A mesh of this process alone, which holds all shares."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")  # networks return views, which nothing changes in place
@pytest.mark.parametrize("name", models.FIRST)
def test_every_model_computes_the_same_when_it_is_sharded(name, one_process):
    """Its loss, and the sum of its gradients."""
    model, found = models.FIRST[name], []
    for sharded in (False, True):
        torch.manual_seed(0)
        objective = Likelihood(model.build())
        x = 0.1 + 0.8 * torch.rand(3, *[axis or 2 for axis in objective.flow.event])
        if sharded:
            shard(objective, one_process)
        loss, _ = objective(x, models.context_of(model, 3))
        loss.backward()
        gradients = [p.grad for p in objective.parameters() if p.grad is not None]
        found.append((loss.item(), sum(full(gradient).double().abs().sum().item() for gradient in gradients)))
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_what_cannot_be_sharded_is_refused():
    with pytest.raises(ValueError, match="parallel='sharded' gathers them when networks are called"):
        Plan(steps=1, parallel="sharded", reversible=True)
    with pytest.raises(ValueError, match="weights are replicated, sharded or hybrid; got parallel='fsdp'"):
        Plan(steps=1, parallel="fsdp")  # pyright: ignore[reportArgumentType]
    chain = pf.models.NICE(features=2).build().transform
    transforms = {"are one weight": pf.Chain(chain, chain), "is one number": pf.Chain(chain, Scaled())}
    for told, transform in transforms.items():
        flow = pf.Flow(transform, pf.bases.StandardNormal(2), event=(2,))
        with pytest.raises(ValueError, match=f"{told}, which cannot be sharded. Give parallel='replicated'"):
            shard(Likelihood(flow), None)
    twice = pf.models.RectifiedFlow(features=2).build()
    with pytest.raises(ValueError, match="sharded in one round; this objective has 2"):
        shard(Matching(reflows=1).build(twice, pf.codecs.Identity()), None)
