"""A run can be killed, taken up again, moved and refused; what it wrote is whole."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pushforward as pf
from pushforward import hub, recipe
from pushforward.cli.main import main
from pushforward.data import ImageSource, TableSource
from pushforward.files import alone_in, replacing, write
from pushforward.models import RectifiedFlow
from pushforward.objectives import Matching, VelocityRegression
from pushforward.recipes import digits
from pushforward.sampling import Sampling
from pushforward.training import Checkpoints, Log
from pushforward.transforms.coupling import halves
from tests.toys import Mine, picture, randomised

ROOT = Path(__file__).parents[1]


def twin(**plan) -> pf.Recipe:
    """The digits' recipe in small, of six steps."""
    made = digits().small()
    return replace(made, train=replace(made.train, **plan))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    pf.train(twin(), folder)
    return folder


def interrupted(folder: Path, step: int) -> None:
    """A run that broke off in the middle of the step after `step`."""

    class Broken(pf.data.Images):
        calls = itertools.count(-1)  # the first fetch is of rows whose operations are counted

        def fetch(self, rows):
            if next(self.calls) == step:
                raise InterruptedError
            return super().fetch(rows)

    train_data = digits().training_data()
    broken = Broken(train_data.images, train_data.labels, train_data.levels, train_data.classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pf.Recipe, "training_data", lambda _: broken)
        with pytest.raises(InterruptedError):
            pf.train(twin(), folder)


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(trained, tmp_path, capsys):
    interrupted(tmp_path, step=5)
    assert checkpoints(tmp_path) == ["step-00000003"]
    pf.train(twin(), tmp_path)
    assert weights(tmp_path) == weights(trained)
    told = [[line["step"] for line in Log(folder).read()] for folder in (tmp_path, trained)]
    assert told[0] == told[1]
    assert checkpoints(tmp_path) == ["step-00000003", "step-00000006"]
    assert "step 6 of 6" in capsys.readouterr().err


@pytest.fixture
def heeded():
    """SIGINT interrupts, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_saves_the_step_it_was_at(trained, tmp_path, monkeypatch, capsys, sent):
    """Ctrl-C and SIGTERM: exit code 130 or 143, a line that says where, no traceback; the handlers are restored."""
    before, fetch, calls = signal.getsignal(sent), pf.data.Images.fetch, itertools.count(-1)

    def interrupting(self, rows):
        if next(calls) == 4:  # while a step runs
            os.kill(os.getpid(), sent)
        return fetch(self, rows)

    monkeypatch.setattr(pf.data.Images, "fetch", interrupting)
    monkeypatch.setattr("pushforward.recipes.RECIPES", {"twin": twin})
    monkeypatch.setattr(sys, "argv", ["pushforward", "train", "twin", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 128 + sent
    assert signal.getsignal(sent) is before
    told = capsys.readouterr().err
    assert f"saved in {tmp_path}; the same command continues" in told
    assert "Traceback" not in told
    step = int(checkpoints(tmp_path)[-1].removeprefix("step-"))
    assert step not in (0, 6)
    assert f"interrupted after step {step} of 6" in told
    pf.train(twin(), tmp_path)
    assert weights(tmp_path) == weights(trained)


def test_an_interrupt_anywhere_else_ends_a_command_without_a_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("pushforward.cli.main.recipes", interrupted)
    monkeypatch.setattr(sys, "argv", ["pushforward", "recipes"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code, capsys.readouterr().err) == (130, "pushforward: interrupted\n")


def of_stripes(place: Path, first: int = 0) -> pf.Recipe:
    """A run on images in a file, whose first grey value is that."""
    images = (torch.arange(64).reshape(1, 8, 8) % 17).repeat(40, 1, 1).byte()
    images[0, 0, 0] = first
    place.parent.mkdir(parents=True, exist_ok=True)
    labels = np.arange(40) % 2
    np.savez(place, x_train=images.numpy(), y_train=labels, x_val=images[:9].numpy(), y_val=labels[:9])
    made = of_model(pf.models.Glow(image=(1, 8, 8), levels=1, transforms=1, width=8, classes=2))
    return replace(made, data=ImageSource(str(place)), codec=pf.codecs.UniformDequantization(256))


def test_the_same_data_at_another_path_are_the_same_recipe_and_others_are_told(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    here = of_stripes(Path("set.npz"))
    pf.train(here, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert "held-out" in pf.evaluate(tmp_path / "run"), "the path leads nowhere from here"
    pf.train(replace(here, data=ImageSource("a/set.npz")), tmp_path / "run")
    pf.train(of_stripes(tmp_path / "b" / "same.npz"), tmp_path / "run")
    moved = of_stripes(tmp_path / "c.npz", first=4)
    with pytest.raises(
        ValueError, match=r"the data in .*c.npz are not those that .*: there are other values in its rows"
    ):
        pf.train(moved, tmp_path / "run")
    of_stripes(tmp_path / "b" / "same.npz", first=3)
    with pytest.raises(ValueError, match=r"the data in .*same.npz are not those that .*run was begun with: there are"):
        pf.train(replace(here, data=ImageSource(str(tmp_path / "b" / "same.npz"))), tmp_path / "run")
    with pytest.raises(ValueError, match=r"the data in .*same.npz are not those that .*--data to evaluate"):
        pf.evaluate(tmp_path / "run")
    assert "held-out, a/set.npz" in pf.evaluate(tmp_path / "run", data="a/set.npz")
    with pytest.raises(ValueError, match=r"another recipe:\n    train.seed: then 0, now 1\n"):
        pf.train(replace(moved, train=replace(moved.train, seed=1)), tmp_path / "run")


def test_a_null_label_that_was_never_learned_is_not_measured_or_used(tmp_path):
    recipe = of_stripes(tmp_path / "set.npz")
    pf.train(recipe, tmp_path / "run")
    assert pf.evaluate(tmp_path / "run").keys() == {"held-out"}
    for ask in (
        lambda run: pf.sample(run, tmp_path / "s.png", sampling=Sampling(guidance=1)),
        lambda run: pf.sample(run, tmp_path / "s.png", sampling=Sampling(label=-1)),
        lambda run: pf.evaluate(run, sampling=Sampling(guidance=1)),
        lambda run: pf.runs.edit(run, tmp_path / "s.png"),
        lambda run: pf.runs.interpolate(run, tmp_path / "s.png"),
        lambda run: pf.runs.inpaint(run, tmp_path / "s.png"),
    ):
        with pytest.raises(ValueError, match="never learned: its objective.condition_dropout is 0"):
            ask(tmp_path / "run")
    dropped = replace(recipe, objective=pf.training.MaximumLikelihood(condition_dropout=0.1))
    pf.train(dropped, tmp_path / "dropped")
    assert "held-out, without the class" in pf.evaluate(tmp_path / "dropped")


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_only_a_flow_of_noisy_images_denoises(tmp_path, sigma):
    pf.train(of_stripes(tmp_path / "set.npz"), tmp_path / "run")
    with pytest.raises(ValueError, match="trained without Gaussian noise.*has not learned the score"):
        pf.runs.denoise(tmp_path / "run", tmp_path / "d.png", sigma=sigma)


def test_images_in_some_of_the_classes_are_classified_by_their_names(tmp_path):
    """Those of a folder, of which the run has one of two; and without labels, by name."""
    recipe = of_stripes(tmp_path / "set.npz")
    pf.train(replace(recipe, model=replace(recipe.model, classes=2)), tmp_path / "run")
    picture = Image.fromarray(np.zeros((8, 8), np.uint8))
    for place in ("some/1", "some/0", "bare"):
        (tmp_path / place).mkdir(parents=True)
        picture.save(tmp_path / place / "x.png")
    assert len(pf.runs.classify(tmp_path / "run", data=str(tmp_path / "some")).labels) == 2
    assert str(pf.runs.classify(tmp_path / "run", data=str(tmp_path / "bare"))) in ("0", "1")
    (tmp_path / "some" / "1").rename(tmp_path / "some" / "zebra")
    with pytest.raises(ValueError, match="among them 'zebra', and the run learned 2: 0, 1"):
        pf.runs.classify(tmp_path / "run", data=str(tmp_path / "some"))


@pytest.mark.filterwarnings("ignore:`torch.jit.script", "ignore:.* samples are not finite")
def test_samples_that_overflow_are_counted_left_out_and_lose_nothing_else(trained, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    features = tmp_path / "mine.pt"
    torch.jit.script(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())).save(features)
    whole = pf.Flow.sample

    def overflowing(share: float):
        def sample(self, *given, **options):
            x = whole(self, *given, **options)
            x[: round(share * len(x))] = torch.inf
            return x

        return sample

    monkeypatch.setattr(pf.Flow, "sample", overflowing(0.25))
    plain = Sampling(denoise="none")
    *_, found = pf.evaluate(run, features=str(features), n=40, sampling=plain).values()
    assert (found.fake, found.overflowed) == (30, 10)
    assert "10 more overflowed and are left out" in str(found)
    assert pf.sample(run, tmp_path / "s.png", n=40, sampling=plain).endswith("10 of them overflowed")
    pf.sample(run, tmp_path / "s.npz", n=40, sampling=plain)
    with np.load(tmp_path / "s.npz") as arrays:
        assert (len(arrays["images"]), len(arrays["labels"]), arrays["overflowed"]) == (30, 30, 10)
    monkeypatch.setattr(pf.Flow, "sample", overflowing(1.0))
    (run / "results.json").unlink()
    with pytest.raises(FloatingPointError, match="40 of 40 samples overflowed"):
        pf.evaluate(run, features=str(features), n=40, sampling=plain)
    assert "held-out" in pf.runs.read_results(run)


def test_a_folder_of_png_files_can_be_read_back_with_its_classes(tmp_path):
    pf.save(pf.codecs.CodedFlow(picture(3), pf.codecs.GaussianNoise(256, 0.1)), tmp_path / "run")
    plain = Sampling(denoise="none")
    pf.sample(tmp_path / "run", tmp_path / "pngs", n=7, png=True, sampling=plain)
    pf.sample(tmp_path / "run", tmp_path / "s.npz", n=7, sampling=plain)
    pngs, arrays = pf.data.find(tmp_path / "pngs"), pf.data.find(tmp_path / "s.npz")
    assert pngs.names == arrays.names == ("0", "1", "2")
    (tmp_path / "run" / "data.json").write_text('{"classes": ["cat", "dog", "owl"]}')
    pf.sample(tmp_path / "run", tmp_path / "dogs.npz", n=2, sampling=replace(plain, label="dog"))
    assert np.load(tmp_path / "dogs.npz")["labels"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="run has no class 'cow'; its classes are cat, dog, owl"):
        pf.sample(tmp_path / "run", tmp_path / "cows.npz", sampling=replace(plain, label="cow"))
    order = torch.tensor([0, 3, 6, 1, 4, 2, 5])
    assert torch.equal(pngs.fetch(range(7))[0], arrays.fetch(order)[0])
    assert pngs.labels.tolist() == arrays.labels[order].tolist()


def test_arguments_are_checked_before_any_work(trained, tmp_path, monkeypatch):
    """No flow is built, and no image is read."""
    for name in ("load_coded", "images_of"):
        for module in ("sampling", "denoising", "editing", "evaluating"):
            room = sys.modules[f"pushforward.runs.{module}"]
            monkeypatch.setattr(room, name, lambda *_, **__: pytest.fail("began"), raising=False)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    refused = {"a.xyz": "does not end as a picture", "folder.png": "in the way", "file/a.png": "in the way"}
    for out, told in refused.items():
        for command in (pf.sample, pf.runs.denoise, pf.runs.edit, pf.runs.interpolate, pf.runs.inpaint):
            with pytest.raises(ValueError, match=told):
                command(trained, tmp_path / out)


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "mps", "xpu", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_what_to_give(device):
    kind = device.partition(":")[0]
    if device != "cuda:99" and getattr(torch, kind, torch.cpu).is_available() and kind != "tpu":
        pytest.skip(f"there is a {device} here")
    with pytest.raises(ValueError, match=f"no device '{device}' here: .* Give cpu, cuda"):
        pf.training.ranks.chosen(device)


def embedded() -> pf.Flow:
    """A flow of two features, given sequences of five numbers, of which a network makes three."""
    flow = pf.models.MAF(features=2, context=3, transforms=1, hidden=(8,)).build()
    pf.fitting.embed(flow, torch.nn.Linear(5, 3), torch.randn(4, 5))
    return flow


CARDS = {  # flows, and the context that the code of their cards is given
    "nothing": (lambda: picture(0), None),
    "classes": (lambda: picture(2), None),
    "a vector": (lambda: pf.models.MAF(features=2, context=3, transforms=1, hidden=(8,)).build(), torch.randn(4, 3)),
    "an embedding": (embedded, torch.randn(4, 5)),
    "open sizes": (lambda: pf.models.STARFlowV(image=(3, 4, 4), patch=2, width=64, depths=(1, 1)).build(), None),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_code_of_a_card_runs(name, tmp_path):
    made, context = CARDS[name]
    flow = made()
    pf.save(flow, tmp_path)
    card = (tmp_path / "README.md").read_text()
    code = "\n".join(line.strip() for line in card.splitlines() if line.startswith("    "))
    names = {"pushforward": pf, "torch": torch, "context": context}
    exec(code.replace('"this folder"', repr(str(tmp_path))), names)
    assert len(names["log_p"]) == (flow.classes or 16 if context is None else len(context))


def test_minimise_takes_a_torch_dataset_by_its_adapter_and_names_it():
    rows, labels = torch.randint(17, (32, 1, 8, 8)), torch.arange(32) % 10
    dataset = torch.utils.data.TensorDataset(rows, labels)
    objective, plan = twin().build(), replace(twin().train, steps=2)
    with pytest.raises(ValueError, match=r"got TensorDataset. Of a torch Dataset make it by data.FromTorch"):
        pf.training.minimise(objective, dataset, plan)
    pf.training.minimise(objective, pf.data.FromTorch(dataset), plan)
    events, context = pf.data.FromTorch([(Image.new("RGB", (4, 3)), 7)]).fetch([0])
    assert (events.shape, context.tolist()) == ((1, 3, 3, 4), [7])
    with pytest.raises(ValueError, match="a generator has no length and index"):
        pf.data.FromTorch(row for row in rows)


def test_a_run_of_so_many_minutes_has_its_steps_fixed_once(tmp_path, monkeypatch):
    """The clock decides their number alone: another run of as many steps has the same weights."""
    recipe = twin(warmup=50)
    assert pf.runs.pace.within(1e-9, recipe.train, recipe.build(), recipe.training_data(), None).steps == 1
    monkeypatch.setattr(pf.runs.pace, "_seconds", lambda steps, *_: 0.1 * steps)
    pf.train(recipe, tmp_path / "timed", minutes=0.04)
    plan = pf.runs.read_recipe(tmp_path / "timed").train
    assert 20 < plan.steps <= 24
    assert plan.warmup == 2
    before = weights(tmp_path / "timed")
    pf.train(recipe, tmp_path / "timed", minutes=5)
    assert weights(tmp_path / "timed") == before
    pf.train(replace(recipe, train=plan), tmp_path / "counted")
    assert weights(tmp_path / "counted") == before
    with pytest.raises(ValueError, match="minutes is a finite number above 0"):
        pf.train(recipe, tmp_path / "none", minutes=0)


def test_a_log_may_be_in_a_folder_that_is_named_by_a_string(tmp_path):
    log, kept = Log(str(tmp_path / "new")), Checkpoints(str(tmp_path / "new"))
    plan = replace(twin().train, log_every=2)
    pf.training.minimise(twin().build(), twin().training_data(), plan, log=log, checkpoints=kept)
    assert [line["step"] for line in log.read()] == [2, 4, 6]
    assert checkpoints(tmp_path / "new") == ["step-00000003", "step-00000006"]


@pytest.mark.slow
def test_kills_leave_no_trace_in_the_weights(tmp_path):
    command = [sys.executable, "-m", "tests.killing", str(tmp_path), "20"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    runs = json.loads(told.stdout.splitlines()[-1])
    assert len(runs) == 20
    assert all(run["same"] for run in runs), runs
    assert all(run["in a checkpoint"] for run in runs[::4]), "a kill missed the checkpoint that was being written"
    assert sum(run["killed"] for run in runs) >= 10, "too few were killed to show anything"


def test_a_finished_run_can_be_given_again_and_longer(trained, tmp_path):
    before = weights(trained)
    pf.train(twin(), trained)
    assert weights(trained) == before
    pf.train(twin(), tmp_path)
    pf.train(twin(steps=8), tmp_path)
    assert checkpoints(tmp_path)[-1] == "step-00000008"


def test_what_is_loaded_is_what_was_trained(tmp_path):
    flow = pf.train(twin(), tmp_path)
    x, labels = pf.codecs.GaussianNoise(17, 0.1).clean(digits().images().images[:5]), torch.arange(5)
    assert torch.equal(pf.load(tmp_path).log_prob(x, labels), flow.log_prob(x, labels))
    state = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in flow.state_dict().items())
    assert not pf.load(tmp_path).training


@pytest.mark.parametrize("harm", ["truncated", "corrupted", "missing"])
def test_an_unsound_checkpoint_is_named_and_the_one_before_it_used(trained, tmp_path, harm):
    pf.train(twin(), tmp_path)
    (tmp_path / "checkpoints" / "step-00000006.unsound").mkdir()  # it is not the first time
    victim = tmp_path / "checkpoints" / "step-00000006" / "__0_0.distcp"
    content = victim.read_bytes()
    if harm == "missing":
        victim.unlink()
    else:
        victim.write_bytes(content[:-100] if harm == "truncated" else content[:500] + b"?" + content[501:])
    with pytest.warns(RuntimeWarning, match=f"{victim.name} is truncated or corrupted; going back"):
        pf.train(twin(), tmp_path)
    assert weights(tmp_path) == weights(trained)
    assert checkpoints(tmp_path) == ["step-00000003", "step-00000006", "step-00000006.unsound"]
    pf.train(twin(steps=12), tmp_path)
    assert checkpoints(tmp_path) == ["step-00000009", "step-00000012"], "it is of no use any more"


def test_a_full_disk_loses_nothing(trained, tmp_path, monkeypatch):
    """The disk is full from the second checkpoint on."""
    flush, full = os.fsync, OSError(errno.ENOSPC, "No space left on device")

    def fsync(handle):
        if (tmp_path / "checkpoints" / "step-00000003").exists():
            raise full
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    told = "cannot write the checkpoint .*No space left.* MB are free there. The last valid one is step-00000003: free"
    with pytest.raises(OSError, match=told):
        pf.train(twin(), tmp_path)
    monkeypatch.undo()
    assert checkpoints(tmp_path) == ["step-00000003"]
    pf.train(twin(), tmp_path)
    assert weights(tmp_path) == weights(trained)


MISHAPS = {  # what happens to the folder of a training, what is told, and what mends it
    "removed": (shutil.rmtree, r"was removed or replaced.* after step \d of 6", None),
    "replaced": (lambda run: (shutil.rmtree(run), run.mkdir()), r"was removed or replaced.* after step \d of 6", None),
    "no log": (
        lambda run: ((run / "log.jsonl").unlink(), (run / "log.jsonl").mkdir()),
        r"cannot write .*log.jsonl, Is a directory; the state after step \d is saved in .*the same command continues",
        lambda run: (run / "log.jsonl").rmdir(),
    ),
}


def happens(monkeypatch, mishap, step: int = 5) -> None:
    """Let it happen while this step of a training is made."""
    fetch, calls = pf.data.Images.fetch, itertools.count(1)

    def fetching(self, rows):
        if len(rows) == 8 and next(calls) == step:
            mishap()
        return fetch(self, rows)

    monkeypatch.setattr(pf.data.Images, "fetch", fetching)


@pytest.mark.parametrize(("mishap", "told", "mend"), MISHAPS.values(), ids=MISHAPS)
def test_what_happens_to_the_folder_of_a_training_loses_no_step(trained, tmp_path, monkeypatch, mishap, told, mend):
    run = tmp_path / "run"
    happens(monkeypatch, lambda: mishap(run))
    with pytest.raises((OSError, RuntimeError), match=told):
        pf.train(twin(log_every=1), run)
    monkeypatch.undo()
    if mend:
        mend(run)
    pf.train(twin(log_every=1), run)
    assert weights(run) == weights(trained)


def test_a_training_whose_folder_another_one_took_writes_nothing_there(tmp_path, monkeypatch):
    with ExitStack() as other:
        taken = lambda: (shutil.rmtree(tmp_path / "run"), other.enter_context(alone_in(tmp_path / "run")))  # noqa: E731
        happens(monkeypatch, taken)
        with pytest.raises(RuntimeError, match="in use by another process"):
            pf.train(twin(log_every=1), tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_results_that_cannot_be_written_are_told_all_the_same(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr(pf.files, "_flush", Mock(side_effect=OSError(errno.EROFS, os.strerror(errno.EROFS))))
    with pytest.warns(RuntimeWarning, match=r"cannot write .*results.json, Read-only.*: these results are not kept"):
        assert "held-out" in "".join(pf.evaluate(tmp_path / "run"))


def test_a_run_of_reflow_has_its_rounds_and_can_be_interrupted_in_the_second(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in torch.randn(60, 2).tolist()))
    objective = Matching(reflows=1)
    plan = {"model": RectifiedFlow, "steps": 6, "batch": 20, "measure_every": 3, "checkpoint_every": 3, "warmup": 0}
    recipe = replace(pf.recipes.table(path, **plan), model=RectifiedFlow(features=2, hidden=(8,)), objective=objective)
    one, two = tmp_path / "one", tmp_path / "two"
    pf.train(recipe, one)
    assert weights(one) != weights(one / "round 1")
    following = VelocityRegression.following
    monkeypatch.setattr(VelocityRegression, "following", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pf.train(recipe, two)
    monkeypatch.setattr(VelocityRegression, "following", following)
    pf.train(recipe, two)
    assert weights(two) == weights(one)


def test_a_folder_in_use_or_not_writable_is_refused(tmp_path):
    with alone_in(tmp_path), pytest.raises(RuntimeError, match="in use by another process"):
        pf.train(twin(), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write into .*Give another folder"):
        pf.train(twin(), tmp_path / "file" / "run")


def test_a_training_that_is_refused_leaves_no_folder(tmp_path):
    (tmp_path / "kept").mkdir()
    for folder in ("new", "kept"):
        with pytest.raises(FileNotFoundError, match="no file or folder gone"):
            pf.train(replace(twin(), data=ImageSource("gone")), tmp_path / folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_another_recipe_is_refused_by_the_field_that_differs(trained):
    told = r"another recipe:\n    train.lr: then 0.005, now 0.1\n    train.seed: then 0, now 1\nGive another"
    with pytest.raises(ValueError, match=told):
        pf.train(twin(lr=0.1, seed=1), trained)


def test_a_recipe_is_saved_whole_and_read_back():
    for made in (make() for make in pf.recipes.RECIPES.values()):
        assert recipe.from_json(recipe.to_json(made), "here") == made


def of_model(model: pf.models.Model) -> pf.Recipe:
    """The twin with another model."""
    return replace(twin(), model=model, objective=pf.training.MaximumLikelihood())


def test_a_model_of_the_user_s_is_named_by_its_module_and_loads_and_resumes(tmp_path):
    flow = pf.train(of_model(Mine((1, 8, 8), steps=4)), tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["model"]["kind"] == "tests.toys:Mine"
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(pf.load(tmp_path).log_prob(x), flow.log_prob(x))
    pf.train(of_model(Mine((1, 8, 8), steps=4)), tmp_path)


def test_what_could_not_be_read_again_is_refused_before_the_first_step(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Local(pf.models.Model):
        build = Mine.build

    @dataclass(frozen=True)
    class LocalPlan(pf.training.Plan):
        pass

    monkeypatch.setattr(Mine, "__module__", "__main__")
    plan = LocalPlan(steps=1)
    for refused, told in (
        (of_model(Local()), "model cannot be saved: .*Local, defined in tests.test_run.*top level of a module"),
        (of_model(Mine()), "model cannot be saved: Mine is defined in the script .*Move it into a file of its own"),
        (replace(twin(), train=plan), "train cannot be saved: .*LocalPlan"),
        (of_model(replace(twin().model, move=torch.ones(2))), "model.move is of Tensor; the fields"),
    ):
        with pytest.raises(ValueError, match=told):
            pf.train(refused, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_may_have_lists_for_tuples(tmp_path):
    listed = replace(twin(), data=TableSource(table(tmp_path), ["a", "b"]), codec=pf.codecs.Identity())
    listed = replace(listed, model=pf.models.NSF(features=2, hidden=[16]), objective=pf.training.MaximumLikelihood())
    for _ in range(2):
        pf.train(listed, tmp_path / "run")


def table(folder: Path) -> str:
    rows = torch.randn(100, 2).tolist()
    (folder / "rows.csv").write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in rows) + "\n")
    return str(folder / "rows.csv")


def assembled() -> pf.Flow:
    """A flow that no model builds: a coupling and a permutation, with its weights in float64."""
    split, move = halves(2), pf.moves.Affine()
    net = pf.networks.MLP(split.kept, move.raw_shape(split.moved), hidden=(8,))
    transform = pf.Chain(pf.transforms.Coupling(net, move, split), pf.transforms.Permutation([1, 0]))
    return pf.Flow(transform, pf.bases.StandardNormal(2), event=(2,)).double()


SAVED = {
    "fitted": lambda: (pf.models.NSF(features=2).build(), pf.models.NSF(features=2)),
    "assembled": lambda: (assembled(), None),
    "given a vector": lambda: (pf.models.MAF(features=2, context=3).build(), None),
    "guided": lambda: (randomised(pf.models.MAF(features=2, context=3).build()).guided(1.0), None),
    "guided away from a vector": lambda: (
        randomised(pf.models.MAF(features=2, context=3).build()).guided(1.0, conditions={"vector": [1.0, 2.0, 3.0]}),
        None,
    ),
    "of images": lambda: (pf.codecs.CodedFlow(picture(), pf.codecs.GaussianNoise(17, 0.1)), None),
}


@pytest.mark.parametrize("kind", SAVED)
def test_any_flow_is_saved_as_a_run(tmp_path, kind):
    given, model = SAVED[kind]()
    pf.save(given, tmp_path / "run", model=model)
    flow, again = getattr(given, "flow", given), pf.load(tmp_path / "run")
    context = torch.randn(5, 3).to(flow.base.like) if "vector" in flow.conditions else None
    context = torch.arange(5) % 3 if flow.classes else context
    x = flow.sample((), context) if context is not None else flow.sample(5)
    assert torch.equal(again.log_prob(x, context), flow.log_prob(x, context))
    assert "not logged" in (tmp_path / "run" / "README.md").read_text()
    with pytest.raises(ValueError, match="holds a run"):
        pf.save(given, tmp_path / "run")
    hub.save_pretrained(tmp_path / "run", tmp_path / "release")
    with pytest.raises(ValueError, match="does not say what data it learned"):
        pf.train(pf.runs.read_recipe(tmp_path / "run"), tmp_path / "run")


def test_a_saved_flow_has_all_commands_given_data(tmp_path):
    pf.save(pf.codecs.CodedFlow(picture(10), pf.codecs.GaussianNoise(17, 0.1)), tmp_path / "run")
    with pytest.raises(ValueError, match="does not say what data it learned.*give --data"):
        pf.evaluate(tmp_path / "run")
    assert pf.runs.classify(tmp_path / "run", data="digits").guesses.shape == (360,)
    pf.runs.denoise(tmp_path / "run", tmp_path / "d.png", data="digits", n=2)
    pf.save(pf.codecs.CodedFlow(picture(0), pf.codecs.GaussianNoise(17, 0.1)), tmp_path / "unlabelled")
    told = pf.runs.edit(tmp_path / "unlabelled", tmp_path / "e.png", data="digits", n=2, label=3)
    assert told["the images have"].count(" of 3") == 2


def test_what_cannot_be_saved_is_named(tmp_path):
    flow = assembled()
    flow.transform.parts[0].net.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"transform.*net has hooks \(_forward_hooks\)"):
        pf.save(flow, tmp_path / "run")
    with pytest.raises(ValueError, match="does not build this flow"):
        pf.save(assembled(), tmp_path / "run", model=pf.models.NSF(features=2))
    flow = assembled()
    flow.transform.parts[0].net.extra = {1j}
    with pytest.raises(ValueError, match="net.extra is of set"):
        pf.save(flow, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s["recipe"]["model"].update(widht=3),
            r"recipe.json: a TarFlow has no field 'widht'; did you mean 'w",
        ),
        (lambda s: s["recipe"]["model"].update(kind="TarFlw"), "this version of pushforward has no 'TarFlw'"),
        (
            lambda s: s["recipe"]["model"].update(kind="nowhere.mine:Flow"),
            "nowhere.mine:Flow cannot be imported.*Install",
        ),
        (lambda s: s["recipe"]["model"].update(kind="os:system"), "os:system is not a dataclass"),
        (lambda s: s["recipe"].pop("codec"), "a Recipe cannot be made of it: .*'codec'"),
        (lambda s: s.update(format=99), "has format 99, written by pushforward .* reads format 4"),
        (lambda s: s.pop("format"), "is not a recipe that pushforward saved, or it is damaged"),
        (lambda s: s.update(recipe=s["recipe"]["train"]), "recipe.json holds a Plan in place of a recipe"),
        (lambda s: s.update(recipe=3), "recipe.json holds a int in place of a recipe"),
    ],
)
def test_a_recipe_that_cannot_be_read_says_why(trained, tmp_path, change, message):
    saved = json.loads((trained / "recipe.json").read_text())
    change(saved)
    (tmp_path / "recipe.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=message):
        pf.load(tmp_path)


def test_a_release_is_a_run_without_its_past(trained, tmp_path):
    hub.save_pretrained(trained, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.safetensors", "recipe.json"]
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(hub.from_pretrained(tmp_path).log_prob(x, 0), pf.load(trained).log_prob(x, 0))
    card = (tmp_path / "README.md").read_text()
    for part in (
        "library_name: pushforward",
        "A TarFlow of digits",
        "GaussianNoise(levels=17",
        "6 steps of 8",
        "Licence",
    ):
        assert part in card


def test_a_release_is_not_copied_onto_itself_or_before_it_is_whole(trained, tmp_path):
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    for same in (trained, trained / ".." / trained.name):
        with pytest.raises(ValueError, match="is the run itself"):
            hub.save_pretrained(trained, same)
    assert before == {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    write(tmp_path / "begun" / "recipe.json", (trained / "recipe.json").read_text())
    with pytest.raises(FileNotFoundError, match="begun has no model.safetensors: its training has not ended"):
        hub.save_pretrained(tmp_path / "begun", tmp_path / "release")
    assert not (tmp_path / "release").exists()


def test_the_hub_is_given_the_release(trained, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    calls = []

    class Api:
        def create_repo(self, name, **options):
            calls.append((name, options))

        def upload_folder(self, **options):
            calls.append(options)
            return "https://address"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda _, **__: trained)
    assert hub.push_to_hub(trained, "owner/name", private=True) == "https://address"
    assert calls[0] == ("owner/name", {"private": True, "exist_ok": True})
    assert calls[1]["allow_patterns"] == list(hub.RELEASED)
    assert hub.from_pretrained("owner/name").classes == 10


def test_a_text_is_written_in_utf_8_into_a_folder_that_is_made(tmp_path):
    write(tmp_path / "new" / "text.txt", "für 漢字")
    assert (tmp_path / "new" / "text.txt").read_bytes() == "für 漢字".encode()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("results.json", pf.runs.read_results),
        ("data.json", pf.runs.data.read_note),
        ("recipe.json", pf.runs.read_recipe),
    ],
)
def test_a_file_of_a_run_that_is_damaged_is_named(name, read, tmp_path):
    for damaged in (b"{", b"\xff"):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / name}")):
            read(tmp_path)


def test_what_replaces_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), replacing(path) as begun:
        _ = begun.write_text("half"), Path("/dev/full").write_text("half")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as begun:
        begun.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_log_is_rewound_to_a_step_and_a_torn_line_dropped(tmp_path):
    log = Log(tmp_path)
    log.rewind(0)
    for step in (1, 2, 3):
        log.write(step, {"loss": 1.0 / step})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in log.read()] == [1, 2, 3]
    log.rewind(2)
    log.write(3, {"loss": 0.0})
    assert log.read() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.0}]


def test_tensorboard_gets_the_losses_of_the_log(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pf.train(twin(log_every=2), tmp_path, boards=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("loss")}
    assert told == pytest.approx({int(line["step"]): line["loss"] for line in Log(tmp_path).read()})


def test_weights_and_biases_gets_the_log_and_the_pictures_and_continues_its_run(tmp_path, monkeypatch):
    begun, told = [], []

    class Run:
        id = "abc"

        def log(self, numbers, step):
            told.append((step, numbers))

        def finish(self):
            told.append((None, {}))

    stand_in = SimpleNamespace(init=lambda **how: begun.append(how) or Run(), Image=lambda pixels: pixels)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    pf.train(twin(log_every=2, measure_every=6), tmp_path / "run", boards=["wandb"], pictures=True)
    losses = {step: numbers["loss"] for step, numbers in told if "loss" in numbers}
    assert losses == {line["step"]: line["loss"] for line in Log(tmp_path / "run").read()}
    pictures = [numbers["samples"] for _, numbers in told if "samples" in numbers]
    assert [(picture.dtype, picture.ndim) for picture in pictures] == [(np.uint8, 3)]
    pf.train(twin(log_every=2, measure_every=6, steps=8), tmp_path / "run", boards=["wandb"])
    assert [how["id"] for how in begun] == [None, "abc"]
    assert told[-1] == (None, {}), "it was finished"
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pushforward\[wandb\]'"):
        Log(tmp_path, ["wandb"])
    for boards in ("wandb", ["WandB"]):
        with pytest.raises(ValueError, match="a list of some of tensorboard, wandb; got"):
            Log(tmp_path, boards)


def test_samples_are_drawn_at_each_evaluation_and_change_nothing(trained, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pf.train(twin(measure_every=4), tmp_path, pictures=True, boards=["tensorboard"])
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["step-00000004.png", "step-00000006.png"]
    with Image.open(tmp_path / "pictures" / names[0]) as picture:
        assert min(picture.size) > 4 * 48
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("samples")] == [4, 6]
    assert weights(tmp_path) == weights(trained)
    with pytest.raises(ValueError, match="give train.measure_every"):
        pf.train(twin(), tmp_path / "none", pictures=True)


def test_held_out_images_are_looked_at_as_often_as_the_plan_says(tmp_path):
    pf.train(twin(measure_every=4), tmp_path)
    assert [line["step"] for line in Log(tmp_path).read() if "held-out bits/dim" in line] == [4, 6]


def test_only_so_many_checkpoints_are_kept(tmp_path):
    pf.train(twin(checkpoint_every=1), tmp_path)
    assert checkpoints(tmp_path) == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize("full_after", [0, 1])
def test_a_flow_is_saved_where_saving_it_failed_before(full_after, tmp_path, monkeypatch):
    """The disk is full after so many files: the error says which one, and the folder holds no run."""
    written, flow, flush = [], picture(3), pf.files._flush

    def full(path: Path) -> None:
        if path.is_file() and len(written) == full_after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.extend([path] * path.is_file())
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(pf.files, "_flush", full)
        with pytest.raises(OSError, match=r"cannot write .*/run/.*No space left"):
            pf.save(flow, tmp_path / "run")
    pf.save(flow, tmp_path / "run")
    x = torch.randn(2, *flow.event)
    assert torch.equal(pf.load(tmp_path / "run").log_prob(x, 0), flow.log_prob(x, 0))
