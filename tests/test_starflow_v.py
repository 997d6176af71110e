"""STARFlow-V: agreement with the authors' model on its own weights, its size, and frames one after another."""

from __future__ import annotations

from functools import partial
from weakref import WeakSet

import pytest
import torch

from pushforward.conditions import drop, read
from pushforward.editing import inpaint
from pushforward.guidance import GaussianProduct
from pushforward.interop import load_ml_starflow
from pushforward.interop.ml_starflow import configuration, denoiser
from pushforward.models import STARFlow, STARFlowV
from pushforward.networks import LayerOptions
from pushforward.networks.decoder import Buffer
from pushforward.randomness import keyed
from pushforward.solve import blockwise_jacobi, jacobi, sequential
from tests.golden import agree, config, vectors, weights
from tests.toys import randomised

GOLDEN = "starflow_v_text_to_video"
CONFIG = config(GOLDEN)
TINY = STARFlowV(image=(2, 2, 4), patch=2, width=32, depths=(1, 1), text=(3, 5), layer=LayerOptions(head=16))
FRAMES = partial(blockwise_jacobi, size=2, warm=True)  # sweeps over the tokens of one frame of TINY
RATED = STARFlowV(image=(2, 2, 4), patch=2, width=32, depths=(1, 1), numbers=("rate",), layer=LayerOptions(head=16))


@pytest.fixture(scope="module")
def golden():
    return load_ml_starflow(weights(GOLDEN), CONFIG), vectors(GOLDEN)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    return randomised(TINY.build()).double()


def same(ours, theirs):
    agree(ours, theirs, 1e-10)


def clip(frames: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, frames, 2, 2, 4, generator=keyed(frames), dtype=torch.float64)


def text(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 3, 5, generator=keyed(0), dtype=torch.float64)


@torch.no_grad()
def test_latents_and_log_dets(golden):
    flow, given = golden
    steps = [step for step in flow.trace(given["x"], given["text"]) if step.log_slopes.any()]
    assert len(steps) == 3
    for i, step in enumerate(steps):
        log_slopes = given[f"block_{i}_log_det_elementwise"].reshape(step.log_slopes.shape)
        agree(
            step.log_slopes, log_slopes if i == 1 else log_slopes.flip(2)
        )  # in the step's order: 0 and 2 are reversed
    agree(flow.encode(given["x"], given["text"]), given["z"])


@pytest.mark.parametrize("solve", [sequential, jacobi, blockwise_jacobi, FRAMES])
@pytest.mark.parametrize("weight", [0, 2])
@torch.no_grad()
def test_samples(golden, solve, weight):
    flow, given = golden
    if weight:
        flow = flow.guided(weight, rule=GaussianProduct(), conditions={"text": given["null_text"]})
    sample = given["sample_cfg2.0" if weight else "sample"]
    agree(flow.decode(given["noise"], given["text"], solve=solve), sample, 1e-4)  # through three steps
    known = flow.decode(given["noise"], given["text"], known=sample[:, :1], solve=solve)
    agree(known, sample, 1e-4)


PUBLISHED = CONFIG | {
    "in_channels": 48,
    "img_size": 32,
    "channels": 3072,
    "top_block_channels": 4096,
    "num_blocks": 6,
    "layers_per_block": [2, 2, 2, 2, 2, 24],
    "pt_seq_len": 32,
    "txt_size": 256,
    "txt_dim": 2048,
    "denoiser_window": 10,
}


def test_published_size():
    """7B, 480p: the flow and its learned denoiser."""
    with torch.device("meta"):
        parts = configuration(PUBLISHED).build(), denoiser(PUBLISHED)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 6_890_096_528


@torch.no_grad()
def test_a_frame_changes_no_latent_of_earlier_frames(flow):
    x, context = clip(4), text()
    z = flow.encode(x, context)
    for k in range(4):
        other = x.clone()
        other[:, k] += 1
        moved = (flow.encode(other, context) - z).abs().amax((0, 2, 3, 4))
        assert not moved[:k].any()
        assert moved[k:].all()


@torch.no_grad()
def test_clips_of_any_length_have_the_density_of_their_frames(flow):
    """log p of a clip is that of its first frames, and of the others given these."""
    x, context = clip(5), text()
    for n in range(1, 5):
        same(flow.encode(x, context)[:, :n], flow.encode(x[:, :n], context))
        slopes = [step.log_slopes for step in flow.trace(x, context)]
        fewer = [step.log_slopes for step in flow.trace(x[:, :n], context)]
        for one, other in zip(slopes, fewer, strict=True):
            same(one[:, :n], other)


@torch.no_grad()
def test_frames_without_the_deep_step_are_images(flow):
    """Shallow steps read one frame: of a clip that repeats a frame they make a clip that repeats its image."""
    x = clip(1).expand(-1, 3, -1, -1, -1)
    *_, shallow, _, _ = flow.trace(x, text())
    same(shallow.z, shallow.z[:, :1].expand_as(shallow.z))


@pytest.mark.parametrize("solve", [sequential, jacobi, blockwise_jacobi, FRAMES])
@torch.no_grad()
def test_streamed_frames_are_those_of_a_sample(flow, solve):
    flow, context, size = flow.solved_by(solve), text(), (4, 2, 2, 4)
    whole = flow.sample(context=context, size=size, generator=keyed(1))
    frames = [*flow.stream((), context, size=size, generator=keyed(1))]
    assert [frame.shape for frame in frames] == [(2, 2, 2, 4)] * 4
    same(torch.stack(frames, 1), whole)
    same(torch.stack([*flow.stream((), context, size=size, window=(4, 2), generator=keyed(1))], 1), whole)


@pytest.mark.parametrize("weight", [0, 2])
@torch.no_grad()
def test_a_warm_start_takes_fewer_sweeps_on_a_clip_that_moves_slowly(weight):
    """Of 16 tokens a frame, whole and streamed."""
    torch.manual_seed(0)
    flow = randomised(STARFlowV(**{**vars(TINY), "image": (2, 4, 4), "patch": 1}).build()).double()
    reads = []
    flow.transform[2].step.net.layers[0].register_forward_hook(lambda *_: reads.append(1))
    flow = flow.guided(weight, rule=GaussianProduct()) if weight else flow
    x = torch.randn(2, 1, 2, 4, 4, generator=keyed(0), dtype=torch.float64)
    x = x + 1e-3 * torch.randn(2, 4, 2, 4, 4, generator=keyed(1), dtype=torch.float64).cumsum(1)
    context = read(flow.conditions, text())
    z, sweeps = flow.transform.encode(x, context), {}
    for warm in (False, True):
        step = flow.solved_by(partial(blockwise_jacobi, size=16, warm=warm, tolerance=1e-4)).transform
        for streamed in (False, True):
            reads.clear()
            parts = step.stream(z.split(1, 1), context) if streamed else [step.decode(z, context)]
            agree(torch.cat([*parts], 1), x, 1e-3)
            sweeps[warm, streamed] = len(reads)
    assert sweeps[True, False] < sweeps[False, False]
    assert sweeps[True, True] < sweeps[False, True]


@torch.no_grad()
def test_streamed_frames_have_the_batch_of_a_sample(flow):
    whole = flow.sample(3, text(), size=(2, 2, 2, 4), generator=keyed(1))
    same(torch.stack([*flow.stream(3, text(), size=(2, 2, 2, 4), generator=keyed(1))], 2), whole)


def test_a_frame_is_yielded_before_the_next_is_decoded(flow):
    read = []
    flow.transform[2].step.net.layers[0].register_forward_hook(lambda *_: read.append(len(read)))
    frames, counts = flow.stream((), text(), size=(3, 2, 2, 4), generator=keyed(1)), []
    assert not read
    for _ in frames:
        counts.append(len(read))
    assert counts[0] < counts[1] < counts[2]
    assert torch.is_grad_enabled()


@torch.no_grad()
def test_a_stream_goes_on_from_known_frames(flow):
    known, context = clip(2), text()
    frames = [*flow.stream((), context, size=(3, 2, 2, 4), known=known, generator=keyed(1))]
    noise = flow.base.sample(2, event=(3, 2, 2, 4), generator=keyed(1)).double()
    latents = torch.cat([torch.zeros(2, 2, 2, 2, 4).double(), noise], 1)
    same(torch.stack(frames, 1), flow.decode(latents, context, known=known)[:, 2:])
    for_all = [*flow.stream((), context, size=(3, 2, 2, 4), known=known[0], generator=keyed(1))]
    same(for_all[0][0], frames[0][0])


@torch.no_grad()
def test_a_window_encodes_its_last_frames_again(flow):
    """Of any length: each window is a clip given the last frames of the one before."""
    context, size, source = text(), (2, 2, 4), keyed(1)
    drawn = torch.stack([*flow.stream((), context, size=(7, *size), window=(3, 1), generator=keyed(1))], 1)
    expected = torch.stack([*flow.stream((), context, size=(3, *size), generator=source)], 1)
    for n in (2, 2):
        more = [*flow.stream((), context, size=(n, *size), known=expected[:, -1:], generator=source)]
        expected = torch.cat([expected, torch.stack(more, 1)], 1)
    same(drawn, expected)


@pytest.mark.parametrize("solve", [sequential, FRAMES])
@torch.no_grad()
def test_memory_does_not_grow_once_a_window_is_full(flow, solve, monkeypatch):
    buffers, extend = WeakSet(), Buffer.extend
    monkeypatch.setattr(Buffer, "extend", lambda buffer, *given: buffers.add(buffer) or extend(buffer, *given))

    def held(window):
        frames = flow.solved_by(solve).stream((), text(), size=(24, 2, 2, 4), window=window, generator=keyed(1))
        return [sum(buffer.data.nbytes for buffer in buffers if buffer.data is not None) for _ in frames]

    windowed, whole = held((12, 4)), held(None)
    assert max(windowed[12:]) <= max(windowed[:12]) < max(whole)


@torch.no_grad()
def test_numbers_are_conditions_by_name():
    torch.manual_seed(0)
    flow = randomised(STARFlowV(**{**vars(TINY), "numbers": ("noise", "rate")}).build()).double()
    x, given = clip(3), {"text": text(), "noise": torch.tensor([0.1, 0.5]), "rate": 8.0}
    log_p = flow.log_prob(x, given)
    for name, value in (("text", text() + 1), ("noise", 0.3), ("rate", 16.0)):
        assert (flow.log_prob(x, given | {name: value}) - log_p).abs().min() > 1e-6
        context = read(flow.conditions, given)
        null = flow.log_prob(x, drop(context, torch.ones(2, dtype=torch.bool), name))
        same(null, flow.log_prob(x, given | {name: None}))
        assert (null - log_p).abs().min() > 1e-6
    guided = flow.guided(1.0, conditions=("text",), rule=GaussianProduct())
    same(guided.log_prob(x, given | {"text": None}), flow.log_prob(x, given | {"text": None}))


@torch.no_grad()
def test_frames_of_any_size():
    torch.manual_seed(0)
    flow = randomised(STARFlowV(**{**vars(RATED), "image": (2, None, None)}).build())
    wide = torch.randn(2, 3, 2, 4, 6)
    agree(flow.decode(flow.encode(wide, 8.0), 8.0), wide, 1e-4)
    frames = flow.stream((), 8.0, size=(2, 2, 4, 6), generator=keyed(0))
    agree(torch.stack([*frames]), flow.sample(context=8.0, size=(2, 2, 4, 6), generator=keyed(0)))


def test_frames_between_known_ones_are_drawn(flow):
    x = clip(3)
    drawn = inpaint(
        flow, x, torch.tensor([False, True, False])[:, None, None, None], 4, context=text(), generator=keyed(0)
    )
    assert torch.equal(drawn.images[:, [0, 2]], x[:, [0, 2]])
    assert (drawn.images[:, 1] != x[:, 1]).all()
    assert (drawn.acceptance > 0).all()


ERRORS = {
    "a window that keeps all": (
        lambda flow: flow.stream((), text(), size=(3, 2, 2, 4), window=(3, 3)),
        "from 1 to most",
    ),
    "frames of another size": (
        lambda flow: flow.stream((), text(), size=(3, 2, 2, 2)),
        r"samples of shape \(None, 2, 2, 4",
    ),
    "a clip without frames to draw": (lambda flow: flow.sample((), text(), size=(0, 2, 2, 4)), r"got \(0, 2, 2, 4\)"),
    "a clip without frames to score": (
        lambda flow: flow.log_prob(clip(0), text()),
        r"batches of shape \(batch, None, 2, 2, 4\); x has shape \(2, 0, 2",
    ),
    "no frame known": (lambda flow: flow.stream((), text(), size=(3, 2, 2, 4), known=clip(0)), "one at least"),
    "known frames of another size": (
        lambda flow: flow.stream((), text(), size=(3, 2, 2, 4), known=torch.zeros(1, 2, 4, 4)),
        r"elements of shape \(2, 2, 4\)",
    ),
    "known frames of another batch": (
        lambda flow: flow.stream((), text(), size=(3, 2, 2, 4), known=clip(1, rows=3)),
        r"the batch \(2,\) or none; it is of shape \(3, 1",
    ),
    "images do not stream": (
        lambda _: STARFlow(image=(1, 2, 2), width=32, depths=(1,)).build().stream(size=(1, 2, 2)),
        "Call sample",
    ),
    "steps that see other frames": (
        lambda _: load_ml_starflow({}, CONFIG | {"shallow_block_local": 0}),
        "shallow_block_local=1",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors(flow, error):
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call(flow)
