"""The loop: it learns, it is a function of its seed, and it stops at what is not finite."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from safetensors.torch import load_file

import pushforward as pf
from pushforward.codecs import (
    FrozenAutoencoder,
    GaussianNoise,
    TokenCodebook,
    TrainedAutoencoder,
    UniformDequantization,
)
from pushforward.data import Arrays, Order, digits
from pushforward.data.data import listed
from pushforward.models.tarflowlm import MixDOptions
from pushforward.randomness import Keyed
from pushforward.training import Average, Checkpoints, Likelihood, Look, Plan, State, begin, minimise
from pushforward.training.prepare import initialize
from tests.toys import picture


def model(**options):
    torch.manual_seed(0)
    return pf.models.TarFlow(image=(1, 8, 8), patch=4, transforms=2, width=16, depth=1, classes=10, **options).build()


@pytest.mark.parametrize("move", [pf.moves.Affine(), pf.moves.Shift()], ids=["affine", "shift"])
def test_it_learns(move, capsys):
    flow, data = model(move=move), digits("train")
    objective = Likelihood(flow, UniformDequantization(17), condition_dropout=0.1)
    held_out = digits("test").images, digits("test").labels

    def bits(flow):
        with torch.no_grad():
            return Likelihood(flow, UniformDequantization(17))(*held_out, Keyed(0, rows=range(360)))[1][
                "bits/dim"
            ].item()

    before = bits(flow)
    average = minimise(objective, data, Plan(batch=64, steps=60, lr=1e-2, warmup=10))
    assert bits(flow) < before - 0.7
    assert bits(average) < before - 0.5
    minimise(
        Likelihood(average, UniformDequantization(17)), data, Plan(batch=64, steps=1)
    )  # an average can be trained on
    told = capsys.readouterr()
    assert "step 60 of 60: training " in told.err
    assert not told.out
    if isinstance(move, pf.moves.Shift):
        assert flow.base.variance.min() < 0.5, "the base's variance was observed"


def test_the_same_seed_gives_the_same_weights():
    def weights(seed):
        flow = model()
        minimise(
            Likelihood(flow, GaussianNoise(17, 0.1), condition_dropout=0.5),
            digits("train"),
            Plan(batch=8, steps=3, seed=seed),
        )
        return torch.cat([p.flatten() for p in flow.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_it_is_adamw_with_a_schedule_a_clipped_gradient_and_keyed_noise():
    """Three steps, written out."""
    plan = Plan(steps=3, batch=4, lr=3e-2, warmup=2, weight_decay=0.5, clip=0.3, seed=5, precision="float32")
    data = digits("train")
    order = Order(len(data), seed=5)
    ours, theirs = model().double(), model().double()
    minimise(Likelihood(ours, UniformDequantization(17), condition_dropout=0.5), data, plan)

    objective = Likelihood(theirs, UniformDequantization(17), condition_dropout=0.5)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=1.0, betas=plan.betas, weight_decay=plan.weight_decay)
    clipped = 0
    for step in range(3):
        images, labels = data.fetch(order[4 * step : 4 * step + 4])
        optimiser.param_groups[0]["lr"] = plan.lr_at(step)
        optimiser.zero_grad()
        objective(images, labels, Keyed(5, step, rows=range(4)))[0].backward()
        clipped += torch.nn.utils.clip_grad_norm_(theirs.parameters(), plan.clip) > plan.clip
        optimiser.step()
    assert clipped, "nothing was clipped: the test shows less than it says"
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_trained_flow_is_invertible():
    flow = minimise(Likelihood(model(), GaussianNoise(17, 0.1)), digits("train"), Plan(batch=64, steps=60, lr=1e-2))
    x, labels = GaussianNoise(17, 0.1).clean(digits("test").images), digits("test").labels
    assert flow.check(x, labels, rows=0).round_trip < 1e-4
    assert flow.double().check(x.double(), labels, rows=0).round_trip < 1e-10


def test_a_row_s_noise_does_not_depend_on_the_rows_beside_it():
    """So that processes which number their rows alike can share a batch."""
    objective, data = Likelihood(model(), UniformDequantization(17), condition_dropout=0.5), digits("train")
    images, labels, noise = data.images[:6], data.labels[:6], Keyed(0, rows=range(6))

    def loss(part):
        return objective(images[part], labels[part], noise[part])[0]

    torch.testing.assert_close(loss(slice(6)), (loss(slice(3)) + loss(slice(3, 6))) / 2)


def test_labels_are_dropped_at_the_given_rate():
    seen = []
    objective = Likelihood(picture(classes=10), UniformDequantization(17), condition_dropout=0.25)
    objective.flow.transform[0].register_forward_pre_hook(lambda _, args: seen.append(args[1]["label"].null))
    objective(torch.zeros(4000, 1, 8, 8, dtype=torch.uint8), torch.zeros(4000, dtype=torch.long))
    assert seen[0].float().mean() == pytest.approx(0.25, abs=0.03)


def test_what_is_not_finite_stops_before_the_weights_and_is_named(tmp_path):
    """The step, the module, the rows; and the last good checkpoint is left."""
    flow, data = model(), digits("train")
    plan = Plan(steps=4, batch=8, checkpoint_every=1)

    class Overflowing(Likelihood):
        def forward(self, *given):
            if len(list(tmp_path.glob("checkpoints/step-*"))) == 2:
                torch.nn.init.constant_(self.flow.transform[1].net.answer.bias, -200.0)  # exp(200) overflows float32
            return super().forward(*given)

    with pytest.raises(FloatingPointError) as stopped:
        minimise(Overflowing(flow, UniformDequantization(17)), data, plan, checkpoints=Checkpoints(tmp_path))
    rows = Order(len(data), seed=0)[16:24].tolist()
    assert str(stopped.value).startswith("step 2: loss inf")
    assert "the first not to be finite was the output of flow.transform.parts.1. The weights " in str(stopped.value)
    assert f"{listed(rows)} of the data" in str(stopped.value)

    whole = minimise(Likelihood(model(), UniformDequantization(17)), data, plan)
    again = minimise(Likelihood(model(), UniformDequantization(17)), data, plan, checkpoints=Checkpoints(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_is_named():
    class Steep(Likelihood):
        def forward(self, *given):
            loss, logs = super().forward(*given)
            return loss + (self.flow.transform[1].net.answer.bias[:1] * 0).sqrt().sum(), logs

    with pytest.raises(FloatingPointError, match="was the gradient of flow.transform.parts.1.net.answer.bias"):
        minimise(Steep(model(), UniformDequantization(17)), digits("train"), Plan(steps=1, batch=8))


def test_the_schedule():
    plan = Plan(steps=1000, lr=1.0, warmup=100)
    rates = [plan.lr_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[99:]))


def test_the_average_follows():
    module = torch.nn.Linear(2, 2)
    average = Average(module, decay=0.5)
    start = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    taken = torch.tensor(True)
    average.update(torch.tensor(average.share_at(0)), ~taken)
    torch.testing.assert_close(average.module.weight, start)
    average.update(torch.tensor(average.share_at(0)), taken)
    torch.testing.assert_close(average.module.weight, start + 0.9)  # early on it forgets its start faster
    for step in range(1, 50):
        average.update(torch.tensor(average.share_at(step)), taken)
    torch.testing.assert_close(average.module.weight, module.weight)
    assert average.module.weight.grad is None


def test_weights_reach_the_variances_that_a_base_observes():
    flow = pf.models.TarFlow(image=(1, 2, 2), patch=1, transforms=1, width=8, depth=1, move=pf.moves.Shift()).build()
    x, weights = torch.randn(6, 1, 2, 2), torch.arange(6) / 2.5
    z = flow.encode(x)
    minimise(Likelihood(flow), Arrays(x, weights=weights), Plan(steps=1, batch=6, precision="float32"))
    expected = 0.9 + 0.1 * (weights[:, None, None] * z.square()).mean(0)
    torch.testing.assert_close(flow.base.variance, expected)


IMAGES = torch.arange(8 * 64).reshape(8, 1, 8, 8) % 17
IN_LATENTS = {"image": (1, 4, 4), "patch": 2, "transforms": 1, "width": 16, "depth": 1}
LEARNED_CODECS = {
    "autoencoder": lambda: (
        pf.models.TarFlow(**IN_LATENTS),
        TrainedAutoencoder(image=(1, 8, 8), latent=1, levels=17, width=4).build(),
        IMAGES,
    ),
    "dequantiser": lambda: (
        pf.models.TarFlow(**(IN_LATENTS | {"image": (1, 8, 8)})),
        pf.models.Dequantiser(image=(1, 8, 8), levels=17, width=8, blocks=1, components=3).build(),
        IMAGES,
    ),
    "tuned decoder": lambda: (
        pf.models.TarFlow(**(IN_LATENTS | {"image": (3, 8, 8)})),
        FrozenAutoencoder(torch.nn.Identity(), torch.nn.Conv2d(3, 3, 1), levels=17, sigma=0.3, tuned=True),
        IMAGES.expand(-1, 3, -1, -1),
    ),
    "codebook shared by the flow": lambda: (
        pf.models.TarFlowLM(tokens=4, features=2, width=16, depths=(1, 1), first=MixDOptions(5)),
        TokenCodebook(vocabulary=5, features=2).build(),
        torch.arange(32).reshape(8, 4) % 5,
    ),
}


@pytest.mark.parametrize("make", LEARNED_CODECS.values(), ids=LEARNED_CODECS)
def test_a_codec_that_learns_is_averaged_with_the_flow(make, tmp_path):
    """After its first step an average holds nine tenths of it."""

    def trained(decay: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], pf.Flow]:
        torch.manual_seed(0)
        model, codec, data = make()
        objective = Likelihood(model.build(), codec)
        initialize(objective, Arrays(data), Plan(steps=1))
        before = {name: p.detach().clone() for name, p in codec.named_parameters()}
        plan = Plan(steps=1, batch=8, lr=1e-2, warmup=0, average_decay=decay, precision="float32")
        flow = minimise(objective, Arrays(data), plan, checkpoints=Checkpoints(tmp_path / str(decay)), progress=False)
        return before, dict(codec.named_parameters()), flow

    before, last, _ = trained(0.0)
    _, averaged, flow = trained(0.99)
    saved = load_file(tmp_path / "0.99" / "codec.safetensors")
    assert any(not torch.equal(last[name], before[name]) for name in last)
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, torch.lerp(before[name], last[name], 0.9), msg=name)
        assert torch.equal(saved[name], tensor)
    for part in flow.modules():
        if isinstance(part, pf.moves.MixD):
            assert torch.equal(part.gaussians.mean, averaged["gaussians.mean"])


def test_a_checkpoint_without_the_average_of_a_codec_begins_it_anew(tmp_path, monkeypatch):
    """Older versions averaged none."""

    def state() -> State:
        model, codec, data = LEARNED_CODECS["autoencoder"]()
        plan = Plan(steps=1, batch=8, warmup=0, precision="float32")
        return begin(Likelihood(model.build(), codec), Arrays(data), plan, checkpoints=Checkpoints(tmp_path))

    older, tensors = state(), State.tensors
    with monkeypatch.context() as patch:
        patch.setattr(State, "tensors", lambda s: {k: t for k, t in tensors(s).items() if "codec_average" not in k})
        Checkpoints(tmp_path).save(older)
    now = state()
    for averaged, learned in zip(now.averaged_codec.parameters(), older.objective.codec.parameters(), strict=True):
        assert torch.equal(averaged, learned)


def test_early_stopping_keeps_the_codec_of_the_best_evaluation(tmp_path):
    """One that learns with the flow: in memory, in the run's file, and where the finished run is opened again."""
    costs, seen, data = [9.0, 2.0, 1.0, 3.0], [], Arrays(digits("train").images)
    plan = Plan(steps=3, batch=8, lr=1e-2, measure_every=1, patience=2, precision="float32")

    def trained() -> dict[str, torch.Tensor]:
        codec = TrainedAutoencoder(image=(1, 8, 8), latent=1, levels=17, width=4).build()
        flow = pf.models.TarFlow(image=(1, 4, 4), patch=2, transforms=1, width=16, depth=1).build()

        def measure(_: pf.Flow) -> Look:
            seen.append(copy.deepcopy(codec.state_dict()))
            return Look("held-out", costs[len(seen) - 1], 0.1)

        minimise(Likelihood(flow, codec), data, plan, checkpoints=Checkpoints(tmp_path), measure=measure)
        return codec.state_dict()

    first, saved, again = trained(), load_file(tmp_path / "codec.safetensors"), trained()
    _, _, best, last = seen
    for name, tensor in best.items():
        assert torch.equal(first[name], tensor)
        assert torch.equal(saved[name], tensor)
        assert torch.equal(again[name], tensor)
        assert not torch.equal(last[name], tensor)
