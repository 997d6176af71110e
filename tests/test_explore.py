"""The explorer: its numbers are those of the flow, and it refuses what does not come from its own page."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import re
import shutil
import threading
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("fastapi", reason="the extra explore is not installed")
pytest.importorskip("httpx", reason="httpx is not installed, with which the API is tested")

from fastapi.testclient import TestClient

import pushforward as pf
from pushforward.codecs import CodedFlow, FrozenClipAutoencoder, GaussianNoise, TokenCodebook, UniformDequantization
from pushforward.data import (
    CaptionDocuments,
    CaptionedImages,
    Characters,
    ImageSource,
    SourceOfClips,
    TableSource,
    TextSource,
    read_videos,
)
from pushforward.explore import app
from pushforward.explore.blocks import bits, blocks
from pushforward.explore.clips import Clips
from pushforward.explore.expected import expected
from pushforward.explore.opened import opened
from pushforward.explore.uploads import BYTES, PIXELS, read_upload
from pushforward.explore.worker import SupersededError, Worker, in_parts
from pushforward.networks import UNetOptions
from pushforward.randomness import Keyed
from pushforward.recipes import RECIPES
from pushforward.runs.clips import denoised, streamed
from pushforward.runs.data import recipe_of
from pushforward.runs.folder import load_coded
from pushforward.sampling import Sampling
from pushforward.transforms import Interval
from tests.test_pairs import MODEL, folder_of_pictures, tokenizer_of_bytes
from tests.toys import randomised

HERE = "http://127.0.0.1"
MOONS, DIGITS = "/api/runs/moons", "/api/runs/digits"


def client_of(*runs, **options) -> TestClient:
    """A page that shows these runs; by default those that come with the package."""
    return TestClient(app(runs), base_url=HERE, **options)


@pytest.fixture(scope="module")
def page():
    client = client_of()
    client.token = re.search(r'name="token" content="(.+?)"', client.get("/").text)[1]
    return client


def shown(source: str) -> np.ndarray:
    """The pixels of a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))).astype(int)


def png(size=(20, 30), mode="L", format_="PNG", **options) -> bytes:
    written = io.BytesIO()
    Image.new(mode, size, 90 if len(mode) == 1 else None).save(written, format_, **options)
    return written.getvalue()


@pytest.mark.parametrize("name", ["moons", "pinwheel"])
def test_a_point_has_the_density_of_the_flow_wherever_it_is_dragged(page, name):
    flow, path = pf.pretrained(name), f"/api/runs/{name}/point"
    answer = page.get(path, params={"stage": 0, "x": 0.4, "y": -0.3}).json()
    x = torch.tensor([[0.4, -0.3]])
    assert answer["log_p"] == pytest.approx(flow.log_prob(x).item(), abs=1e-4)
    assert answer["path"][-1] == pytest.approx(flow.encode(x)[0].tolist(), abs=1e-4)
    assert answer["log_p"] == pytest.approx(answer["base"] + sum(answer["log_dets"]))
    for stage in (3, len(answer["log_dets"])):
        a, b = answer["path"][stage]
        again = page.get(path, params={"stage": stage, "x": a, "y": b}).json()
        assert again["path"][0] == pytest.approx([0.4, -0.3], abs=1e-4)


def test_the_scene_has_the_grid_straight_at_the_latent_and_a_density_at_every_stage(page):
    stages = page.get(f"{MOONS}/scene").json()["stages"]
    flow = pf.pretrained("moons")
    lines = torch.tensor(stages[-1]["lines"])
    assert lines[0, :, 0].unique().numel() == 1
    torch.testing.assert_close(flow.decode(lines[5]), torch.tensor(stages[0]["lines"][5]), atol=2e-3, rtol=0)
    for stage in (0, len(stages) - 1):
        density = page.get(f"{MOONS}/density", params={"stage": stage}).json()
        share = (torch.tensor(density["root"]) / 255).square().mean() * math.exp(density["highest"])
        assert share * (2 * stages[stage]["square"][2]) ** 2 == pytest.approx(1, abs=0.05), "it integrates to one"


def test_a_short_table_is_shown_and_outside_the_support_log_p_is_minus_infinity(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i / 50},{i % 7}\n" for i in range(1, 50)))
    model = pf.models.NSF(features=2, transforms=1, hidden=(8,), supports=(Interval(0, 1), Interval()))
    data = TableSource(str(tmp_path / "t.csv"), ("a", "b"), validation=0.2)
    pf.save(model.build(), tmp_path / "run", model=model, data=data)
    client = client_of(tmp_path / "run")
    stages = client.get("/api/runs/run/scene").json()["stages"]
    assert len(stages[0]["points"]) == 10
    answer = client.get("/api/runs/run/point", params={"stage": 0, "x": 1.5, "y": 0.0}).json()
    assert answer["log_p"] == min(answer["log_dets"], key=float) == "-Infinity"
    assert math.isfinite(answer["base"])
    assert math.isfinite(client.get("/api/runs/run/density", params={"stage": 0}).json()["highest"])


def test_an_image_is_encoded_and_decoded_and_its_bits_are_all_on_the_map(page):
    answer = page.get(f"{DIGITS}/picked", params={"picture": "data:3"}).json()
    assert answer["round_trip"] < 1e-4
    assert answer["same"]
    assert sum(answer["posterior"]) == pytest.approx(1)
    assert np.sum(answer["bits"]) == pytest.approx(answer["cost"] * 64, abs=0.05)
    assert np.shape(answer["bits"]) == (8, 8)
    assert len(answer["blocks"]) == 4


@pytest.mark.parametrize(
    ("flow", "count"),
    [
        (pf.models.Glow(image=(3, 8, 8), levels=2, transforms=3, width=8, classes=2), 8),
        (pf.models.RealNVP(image=(1, 8, 8), levels=3, width=8, blocks=1, classes=2), 16),
        (pf.models.TarFlow(image=(1, 8, 8), patch=2, transforms=3, width=8, depth=1, classes=2), 3),
    ],
    ids=["glow", "realnvp", "tarflow"],
)
def test_the_log_determinants_of_blocks_add_up_to_the_density(flow, count):
    flow = randomised(flow.build(), std=0.1).double()
    x = torch.rand(1, *flow.event, generator=torch.Generator().manual_seed(0)).double() * 0.8 + 0.1
    flow.initialize(x.expand(2, *x.shape[1:]) + torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1), [1, 1])
    found = blocks(flow, x, 1)
    log_p, z = flow.log_prob_and_latent(x, 1)
    assert len(found) == count
    assert {(block.z.shape, block.log_slopes.shape) for block in found} == {(flow.event, flow.event)}
    torch.testing.assert_close(found[-1].z.flatten().sort().values, z.flatten().sort().values)
    base = flow.base.log_prob(z, {}).item()
    assert sum(block.log_det for block in found) == pytest.approx(log_p.item() - base, rel=1e-12)
    assert torch.stack([block.log_slopes for block in found]).sum().item() == pytest.approx(log_p.item() - base)
    assert bits(flow, found, log_p.item()).sum().item() == pytest.approx(-log_p.item() / math.log(2))


def test_what_was_factored_out_stays_at_its_place():
    flow = randomised(pf.models.Glow(image=(1, 8, 8), levels=2, transforms=1, width=8).build(), std=0.1)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    last, first = blocks(flow, x)[-1], blocks(flow, x)[1]  # that of the first level's prior is the second
    factored_out = first.z.unfold(1, 2, 2).unfold(2, 2, 2)[..., 1, :]
    torch.testing.assert_close(factored_out, last.z.unfold(1, 2, 2).unfold(2, 2, 2)[..., 1, :])
    assert (first.z - last.z).abs().max() > 0.1


def test_samples_are_those_of_the_command(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how = {"label": 3, "guidance": 1, "temperature": 0.9, "seed": 5}
    listed = page.get(f"{DIGITS}/gallery", params={"of": "samples", "n": 3, **how}).json()
    pf.sample("pretrained:digits", tmp_path / "s.npz", 3, sampling=Sampling(**how), device="cpu")
    with np.load(tmp_path / "s.npz") as arrays:
        for one, image in zip(listed, arrays["images"], strict=True):
            assert np.abs(shown(one["image"]) / 255 * 16 - image[0]).max() <= 0.6, "integers are rounded"
    assert [one["label"] for one in listed] == [3, 3, 3]


def test_a_line_goes_from_one_image_to_the_other(page):
    strip = page.get(f"{DIGITS}/line", params={"a": "data:0", "b": "data:1", "n": 3}).json()
    ends = page.get(f"{DIGITS}/gallery", params={"of": "data", "n": 2}).json()
    pixels = [*map(shown, strip)]
    for end, one in ((0, ends[0]), (2, ends[1])):
        assert np.abs(pixels[end] - shown(one["image"])).max() <= 1
    assert np.abs(pixels[1] - pixels[0]).max() > 20


def test_a_training_is_followed(tmp_path):
    pf.save(pf.models.MAF(features=3).build(), tmp_path / "run", model=pf.models.MAF(features=3))
    (tmp_path / "run/README.md").unlink()  # a training writes it at its end
    client, path = client_of(tmp_path / "run"), "/api/runs/run/training"
    assert client.get(path).status_code == 422, "there is no log"
    log = pf.training.Log(tmp_path / "run")
    for step in range(10, 5000, 10):
        log.write(step, {"nats": 9 - step / 1000, "gradient": 1.0, "lr": 0.1, "seconds": step / 100})
    answer = client.get(path).json()
    assert (answer["unit"], answer["step"], answer["ended"]) == ("log p, nats", 4990, False)
    assert len(answer["curve"]) <= 240
    assert answer["curve"][-1][1] == pytest.approx(-4.01, abs=0.02)
    assert answer["pace"] == pytest.approx(0.01)
    log.write(5000, {"nats": 4.0, "held-out nats": 4.5, "gradient": 1.0, "lr": 0.1, "seconds": 50.0})
    (tmp_path / "run/pictures").mkdir()
    (tmp_path / "run/pictures/step-00005000.png").write_bytes(png())
    answer = client.get(path).json()
    assert answer["held_out"] == [[5000, -4.5]]
    assert answer["picture"] == "step-00005000.png"
    assert "samples" not in client.get(path, params={"seen": answer["picture"]}).json()
    (tmp_path / "run/pictures/step-00006000.png").write_bytes(png()[:40])
    assert client.get(path).json()["picture"] == "", "it is being written"
    (tmp_path / "run/pictures/step-00006000.png").unlink()
    log.rewind(1000)  # it is continued from a checkpoint, with longer lines
    for step in range(1010, 6000, 10):
        log.write(step, {"nats": 2.0, "gradient": 1.0, "lr": 0.1, "seconds": step / 100, "precision": "float32"})
    answer = client.get(path).json()
    assert answer["step"] == 5990
    assert [steps for steps, *_ in answer["curve"]] == sorted({steps for steps, *_ in answer["curve"]})
    assert answer["curve"][-1][1] == -2.0
    pf.runs.folder.write_card(tmp_path / "run")
    assert client.get(path).json()["ended"]
    log.path.unlink()  # it is trained anew; the file may have the number of the old one
    for step in range(10, 6000, 10):
        log.write(step, {"nats": 3.0, "gradient": 1.0, "lr": 0.1, "seconds": step / 100})
    assert {score for _, score, *_ in client.get(path).json()["curve"]} == {-3.0}
    log.path.unlink()
    assert "no log" in client.get(path).json()["detail"]


def test_a_run_that_is_deleted_stays_and_one_that_is_trained_anew_is_opened_anew(tmp_path):
    folder = tmp_path / "run"
    client = client_of(folder_of_a_run(folder, 2), "pretrained:moons")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    assert "has not written its first checkpoint" in client.get("/api/runs/run/scene").json()["detail"]
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "does not fit" in client.get("/api/runs/run/scene").json()["detail"]
    (folder / "model.safetensors").write_bytes(weights)
    assert client.get("/api/runs/run/scene").status_code == 200
    shutil.rmtree(folder)
    assert [run["name"] for run in client.get("/api/runs").json()] == ["run", "moons"]
    assert client.get("/api/runs/run/scene").status_code == 200
    folder_of_a_run(folder, 3)
    assert [run["kind"] for run in client.get("/api/runs").json()] == ["vectors", "plane"]


def folder_of_a_run(folder, features):
    model = pf.models.MAF(features=features, transforms=1, hidden=(8,))
    pf.save(model.build(), folder, model=model)
    return folder


def test_runs_have_the_names_of_their_folders(tmp_path, monkeypatch):
    folder_of_a_run(tmp_path / "a\\b?", 2)
    monkeypatch.chdir(tmp_path / "a\\b?")
    assert [*opened([".", "../a\\b?", "pretrained:moons"])] == ["a-b-", "a-b--2", "moons"]


def test_a_failure_is_told_as_others_are(monkeypatch):
    monkeypatch.setattr("pushforward.explore.plane.Plane.point", lambda *_: 1 / 0)
    client = client_of("pretrained:moons", raise_server_exceptions=False)
    answer = client.get(f"{MOONS}/point", params={"stage": 0, "x": 0, "y": 0})
    assert (answer.status_code, answer.json()["detail"]) == (500, "the server failed; its terminal says where")


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_is_told_what_its_recipe_expects(name):
    recipe = RECIPES[name]()
    told = expected(replace(recipe, train=replace(recipe.train, steps=7)))
    assert (told["recipe"], told["differs"]) == (name, [f"train.steps 7, not {recipe.train.steps}"])
    assert re.match("Expect|Published: ", told["text"])
    assert expected(replace(recipe, model=pf.models.MAF(features=2))) is None


def test_a_row_has_the_density_of_each_feature_given_the_others(tmp_path):
    torch.manual_seed(0)
    rows = torch.randn(60, 3)
    np.savetxt(tmp_path / "t.csv", rows.numpy(), delimiter=",", header="a,b,age", comments="")
    data = TableSource(str(tmp_path / "t.csv"), ("a", "b"), ("age",), validation=0.5)
    model = pf.models.MAF(features=2, context=1)
    flow = model.build()
    for parameter in flow.parameters():
        torch.nn.init.zeros_(parameter)  # it is standard normal
    pf.save(flow, tmp_path / "run", model=model, data=data)
    client = client_of(tmp_path / "run")
    scene = client.get("/api/runs/run/table").json()
    assert (len(scene["rows"]), scene["names"], scene["given"]) == (30, ["a", "b"], ["age"])
    answer = client.get("/api/runs/run/row", params={"x": "1,-0.5", "c": "0"}).json()
    normal = torch.distributions.Normal(0.0, 1.0)
    assert answer["log_p"] == pytest.approx(normal.log_prob(torch.tensor([1.0, -0.5])).sum().item(), abs=1e-4)
    for feature, value, (low, high) in zip(answer["features"], (1, -0.5), scene["ranges"], strict=True):
        low, value, high = normal.cdf(torch.tensor([low, value, high]))
        share = ((value - low) / (high - low)).item()
        assert feature["tail"] == pytest.approx(2 * min(share, 1 - share), abs=2e-3)
    assert sum(client.get("/api/runs/run/drawn", params={"c": "1"}).json()["histograms"][0]) == pytest.approx(
        1, abs=0.1
    )
    assert client.get("/api/runs/run/row", params={"x": "1", "c": "0"}).status_code == 422
    assert client.get("/api/runs/run/row", params={"x": "1,nan", "c": "0"}).status_code == 422


@pytest.mark.parametrize(("scale", "centre"), [(1e-5, 0), (10, 1234567)])
def test_data_that_are_close_together_stay_apart(tmp_path, scale, centre):
    table = centre + scale * np.random.default_rng(0).normal(size=(40, 3))
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,age", comments="")
    for name, context in (("plane", ()), ("vectors", ("age",))):
        model = pf.models.MAF(features=2, context=len(context), transforms=1, hidden=(8,))
        data = TableSource(str(tmp_path / "t.csv"), ("a", "b"), context, validation=0.5)
        pf.save(model.build(), tmp_path / name, model=model, data=data)
    client = client_of(tmp_path / "plane", tmp_path / "vectors")
    points = client.get("/api/runs/plane/scene").json()["stages"][0]["points"]
    rows = client.get("/api/runs/vectors/table").json()["rows"]
    for shown_rows in (points, rows):
        assert np.std(shown_rows) == pytest.approx(scale, rel=0.5)
    x, y = points[0]
    assert client.get("/api/runs/plane/point", params={"stage": 0, "x": x, "y": y}).json()["path"][0] == [x, y]


@dataclass(frozen=True)
class Cartoons(SourceOfClips):
    """A source of clips of one's own."""

    frames: int = 3

    def part(self, takes, *, held_out):
        return pf.data.Clips([torch.zeros(5, *takes.event[1:], dtype=torch.uint8)], self.frames)


@pytest.fixture(scope="module")
def clips_and_texts(tmp_path_factory):
    return save_clips_and_texts(tmp_path_factory.mktemp("clips_and_texts"))


def save_clips_and_texts(folder):
    """Two runs that learned next to nothing: of clips of three frames, and of texts of eight tokens."""
    torch.manual_seed(0)
    model = pf.models.STARFlowV(image=(3, 4, 4), patch=2, width=64, depths=(1, 1), extent=3)
    coded = CodedFlow(model.build(), GaussianNoise(256, sigma=0.1))
    pf.save(coded, folder / "clips", model=model, data=Cartoons())
    first = pf.models.MixDOptions(vocabulary=4)
    model = pf.models.TarFlowLM(
        tokens=8, features=2, width=16, depths=(1, 1), move=pf.models.Mix1Options(4), first=first
    )
    (folder / "t.txt").write_text("abc\n" * 99)
    recipe = pf.Recipe(
        data=TextSource(str(folder / "t.txt"), Characters("abc\n")),
        model=model,
        codec=TokenCodebook(vocabulary=4, features=2, unit="bits/char"),
        train=pf.training.Plan(steps=1, batch=2),
    )
    pf.train(recipe, folder / "texts", device="cpu")
    return folder / "clips", folder / "texts"


def test_a_clip_is_drawn_frame_by_frame_and_is_that_of_the_command(clips_and_texts, tmp_path):
    client = client_of(*clips_and_texts)
    assert [run["kind"] for run in client.get("/api/runs").json()] == ["clips", "texts"]
    how = {"frames": 5, "seed": 2, "temperature": 0.5}
    answers = [client.get("/api/runs/clips/frame", params={**how, "k": k}).json() for k in (0, 4)]
    assert [(answer["start"], len(answer["frames"]), answer["last"]) for answer in answers] == [
        (0, 1, False),
        (0, 5, True),
    ]
    given = Sampling(frames=5, seed=2, temperature=0.5)
    pf.sample(clips_and_texts[0], tmp_path / "clip.png", 1, sampling=given, device="cpu")
    (written,) = read_videos(tmp_path / "clip.png")  # enlarged
    each = written.shape[-1] // 4
    for frame, source in zip(written[:, :, ::each, ::each], answers[1]["frames"], strict=True):
        assert np.abs(frame.permute(1, 2, 0).numpy().astype(int) - shown(source)).max() <= 1
    assert client.get("/api/runs/clips/frame", params={"frames": 5, "k": 99}).json() != answers[0]
    assert client.get("/api/runs/clips/frame", params={"frames": 5000}).status_code == 422
    assert client.get("/api/runs/texts/frame").status_code == 422


def test_a_clip_whose_frame_failed_begins_anew(monkeypatch):
    frames = torch.zeros(3, 1, 1, 4, 4)

    def broken():
        yield frames[0]
        raise ValueError("it overflows")

    drawn = iter([broken(), iter(frames)])
    monkeypatch.setattr("pushforward.explore.clips.streamed", lambda *_: next(drawn))
    flow, codec = SimpleNamespace(event=frames.shape[1:]), GaussianNoise(256, sigma=0.1)
    shown = Clips(SimpleNamespace(flow=flow, denoise=lambda x, _: x, codec=codec), Cartoons(), codec)
    with pytest.raises(ValueError, match="overflows"):
        shown.frame(Sampling(), 3, 1)
    assert len(shown.frame(Sampling(), 3, 2)["frames"]) == 3


class EveryOther(FrozenClipAutoencoder):
    """Of each two frames after the first the second is encoded."""

    frames_alike = False

    def event_frames(self, frames):
        return 1 + (frames - 1) // 2

    def data_shape(self, event):
        return (2 * event[0] - 1 if event[0] else 0), *event[1:]

    def decode(self, x):
        return super().decode(x).repeat_interleave(2, 1)[:, 1:]


def test_frames_of_latents_are_decoded_as_they_come():
    model = pf.models.STARFlowV(image=(4, 4, 4), patch=2, width=64, depths=(1, 1), extent=3)
    codec = EveryOther(nn.PixelUnshuffle(2), nn.PixelShuffle(2), later=0.5)
    coded = CodedFlow(randomised(model.build(), std=0.1), codec)
    clips, how = Clips(coded, Cartoons(5), codec), Sampling(prompt=("",), seed=1)
    first, second, last = (clips.frame(how, 5, k) for k in range(3))
    assert [(some["start"], len(some["frames"])) for some in (first, second, last)] == [(0, 1), (1, 2), (0, 5)]
    assert last["frames"][1] == last["frames"][2] != last["frames"][3]
    drawn = torch.stack([*streamed(coded.flow, None, None, 3, 3, how, Keyed(1, rows=[0]))], 1)
    pixels = codec.decode(denoised(coded, drawn, None, 3))[0]
    for frame, source in zip(pixels, last["frames"], strict=True):
        assert np.abs(frame[0].numpy().astype(int) - shown(source)).max() <= 1
    with pytest.raises(ValueError, match="5 frames at most"):
        clips.frame(how, 7, 0)


def test_a_text_is_that_of_the_command_and_its_bits_are_those_of_the_bound(clips_and_texts):
    run = clips_and_texts[1]
    client = client_of(run)
    answer = client.get("/api/runs/texts/text", params={"prompt": "ab", "length": 12, "seed": 3}).json()
    told = pf.sample(run, n=1, sampling=Sampling(prompt=("ab",), length=12, seed=3), device="cpu")
    assert told.startswith("--- 1\n" + "".join(answer["tokens"]))
    assert (len(answer["bits"]), answer["given"], answer["unit"]) == (14, 2, "bits/char")
    assert answer["how"] in told
    coded = load_coded(run)
    window = torch.tensor([["abc\n".index(token) for token in answer["tokens"][:8]]])
    bound = coded.bound(window, generator=Keyed(0, rows=[0]))
    assert np.mean(answer["bits"][:8]) == pytest.approx(coded.codec.in_unit(bound, window).item(), abs=1e-3)
    few = client.get("/api/runs/texts/text", params={"prompt": "ab", "length": 3, "seed": 3}).json()
    assert (few["tokens"], few["bits"]) == (answer["tokens"][:5], answer["bits"][:5]), "less than a window"
    assert client.get("/api/runs/texts/text", params={"prompt": "xyz"}).status_code == 422


HELD_OUT = ["grey square", "dark robe", "pale robe"]  # captions


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return save_documents(tmp_path_factory.mktemp("documents"))


def save_documents(folder):
    """A run that learned nothing of images of one grey and their captions."""
    torch.manual_seed(0)
    (pictures := folder / "pictures").mkdir()
    source = CaptionDocuments(
        CaptionedImages((str(folder_of_pictures(pictures, HELD_OUT)),), (3, 8, 8)), tokenizer_of_bytes(folder)
    )
    coded = CodedFlow(randomised(MODEL.build()), GaussianNoise(256, sigma=0.1))
    pf.save(coded, folder / "documents", model=MODEL, data=source)
    return folder / "documents"


def test_a_caption_is_that_of_the_command_and_its_tokens_have_its_nats(documents):
    client, run = client_of(documents), "/api/runs/documents"
    assert client.get("/api/runs").json()[0]["kind"] == "documents"
    listed, how = client.get(f"{run}/gallery", params={"of": "data"}).json(), {"picture": "data:1"}
    assert [one["caption"] for one in listed] == HELD_OUT
    seen = client.get(f"{run}/seen", params=how).json()
    assert seen == {"image": listed[1]["image"], "caption": "dark robe"}
    picture = documents.parent / "pictures" / "1.png"
    written = client.get(f"{run}/written", params=how).json()
    assert pf.runs.caption(documents, (picture,), device="cpu") == f"{picture}: {written['caption']}"
    scored = client.get(f"{run}/scored", params={**how, "caption": "a dog"}).json()
    told = pf.runs.caption(documents, (picture,), among=("a dog",), device="cpu").splitlines()[-1]
    assert told.split()[:2] == [f"{scored['text']:.2f}", f"{scored['image']:.2f}"]
    assert scored["tokens"] == [*"a dog", "</s>"]
    assert sum(scored["nats"]) == pytest.approx(-scored["text"], abs=1e-3)
    assert client.get(f"{run}/scored", params={**how, "caption": "a" * 999}).status_code == 422
    assert client.get(f"{run}/picked", params=how).status_code == 422


def test_a_prompt_draws_the_images_of_the_command(documents, tmp_path):
    client, how = client_of(documents), {"prompt": "a dog", "seed": 2}
    listed = client.get("/api/runs/documents/gallery", params={"of": "samples", "n": 2, **how}).json()
    sampling = Sampling(prompt=("a dog",), seed=2)
    pf.runs.sample(documents, tmp_path / "a.png", n=2, sampling=sampling, device="cpu")
    written = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    for i, one in enumerate(listed):
        assert (one["caption"], shown(one["image"]).shape) == ("a dog", (8, 8, 3))
        assert np.abs(shown(one["image"]) - written[:, 9 * i : 9 * i + 8]).max() <= 1
    seen = client.get("/api/runs/documents/seen", params={"picture": "sample:1", **how}).json()
    assert seen == {"image": listed[1]["image"], "caption": "a dog"}


def test_an_edit_goes_along_the_direction_of_a_class(page):
    assert page.get(f"{DIGITS}/attributes").json() == [str(k) for k in range(10)]
    before, after = (
        page.get(f"{DIGITS}/edited", params={"picture": "data:0", "amounts": amounts}).json()
        for amounts in ("", "3:1.5")
    )
    assert after["readings"][3] - before["readings"][3] == pytest.approx(1.5, abs=1e-3)
    original = page.get(f"{DIGITS}/picked", params={"picture": "data:0"}).json()["encoded"]
    assert np.abs(shown(before["raw"]) - shown(original)).max() <= 1
    assert np.abs(shown(after["image"]) - shown(before["image"])).max() > 20


def test_words_of_captions_are_attributes_of_emoji(page, monkeypatch):
    monkeypatch.setattr(pf.runs.editing, "LEARNED", 300)
    names = page.get("/api/runs/emoji/attributes").json()
    assert names == list(recipe_of("pretrained:emoji").data.attributes)
    how = {"picture": "data:0"}
    before, after = (
        page.get("/api/runs/emoji/edited", params={**how, "amounts": amounts}).json() for amounts in ("", "2:0.5")
    )
    assert after["readings"][2] - before["readings"][2] == pytest.approx(0.5, abs=1e-2)
    assert np.abs(shown(after["image"]) - shown(before["image"])).max() > 20
    far = page.get("/api/runs/emoji/edited", params={**how, "amounts": "0:4,1:4,2:4,3:4,4:4"})
    assert "the image overflows" in far.json()["detail"]


def test_missing_pixels_are_drawn_and_the_others_kept(page):
    how = {"picture": "data:0", "mask": "00000000ffffffff"}  # the lower half
    first, second = (page.get(f"{DIGITS}/filled", params=how).json() for _ in range(2))
    assert [first["steps"], second["steps"]] == [10, 20]
    assert 0 < second["acceptance"] <= 1
    image = shown(page.get(f"{DIGITS}/edited", params={"picture": "data:0"}).json()["image"])
    for chain in map(shown, second["images"]):
        assert np.abs(chain[4:] - image[4:]).max() > 20
    assert page.get(f"{DIGITS}/filled", params={**how, "anew": True}).json()["images"] == first["images"]


def test_chains_of_a_continuous_flow_are_refused(tmp_path):
    model = pf.models.FlowMatching(image=(1, 8, 8), net=UNetOptions(width=8, levels=2, blocks=1))
    coded = CodedFlow(model.build(), UniformDequantization(levels=17))
    pf.save(coded, tmp_path / "run", model=model, data=ImageSource("digits"))
    client = client_of(tmp_path / "run")
    assert client.get("/api/runs").json()[0]["continuous"]
    answer = client.get("/api/runs/run/filled", params={"picture": "data:0", "mask": "00000000ffffffff"})
    assert answer.status_code == 422
    assert "pushforward inpaint" in answer.json()["detail"]


def test_an_upload_is_kept_and_looked_at(page):
    sent = page.post(f"{DIGITS}/images", content=png(), headers={"X-Token": page.token})
    assert sent.status_code == 200
    answer = page.get(f"{DIGITS}/picked", params={"picture": sent.json()["name"]}).json()
    assert answer["label"] == int(np.argmax(answer["posterior"]))


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1:81", "127.0.0.1.evil.example", "a@127.0.0.1", "", "[::1", "[::1]"]
)
def test_another_host_is_refused(page, host):
    answer = page.get("/api/runs", headers={"Host": host})
    assert answer.status_code == 403
    assert "moons" not in answer.text


def test_another_site_may_lead_to_the_page_and_to_nothing_else(page):
    for path, site, status in (("/", "cross-site", 200), ("/api/runs", "cross-site", 403), ("/api/runs", "none", 200)):
        assert page.get(path, headers={"Sec-Fetch-Site": site}).status_code == status
    assert page.get(f"{MOONS}/scene", headers={"Sec-Fetch-Site": "same-site"}).status_code == 403, "of another port"


@pytest.mark.parametrize("token", [{}, {"X-Token": "guess"}])
def test_a_change_needs_the_token(page, token):
    assert page.post(f"{DIGITS}/images", content=png(), headers=token).status_code == 403


def test_every_answer_has_a_strict_policy_and_the_page_nothing_inline(page):
    for path in ("/", "/static/style.css", "/api/runs", "/nowhere"):
        headers = page.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    text = page.get("/").text
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*src)|https?://", text)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/../server.py", 404),
        ("/static/%2e%2e/server.py", 404),
        ("/static/..%2f..%2fflow.py", 404),
        ("/api/runs/..%2f..%2fetc/scene", 404),
        ("/api/runs/%2Fetc%2Fpasswd/scene", 404),
        (f"{DIGITS}/picked?picture=data:999999999", 422),
        (f"{DIGITS}/picked?picture=../../etc/passwd", 422),
        (f"{DIGITS}/gallery?of=samples&n=100000", 422),
        (f"{DIGITS}/gallery?of=samples&label=77", 422),
        (f"{DIGITS}/edited?picture=data:1&amounts=77:1", 422),
        (f"{DIGITS}/edited?picture=data:1&amounts=1:1e9", 422),
        (f"{DIGITS}/filled?picture=data:1&mask=ff", 422),
        (f"{DIGITS}/filled?picture=data:1&mask=0000000000000000", 422),
        (f"{DIGITS}/scene", 422),
        (f"{MOONS}/picked?picture=data:1", 422),
        (f"{MOONS}/density?stage=999", 422),
        (f"{MOONS}/point?stage=0&x=nan&y=0", 422),
        (f"{MOONS}/point?stage=0&x=1e99&y=0", 422),
        ("/docs", 404),
        ("/openapi.json", 404),
    ],
)
def test_what_is_not_there_is_refused(page, path, status):
    assert page.get(path).status_code == status


def turned() -> bytes:
    """An image that is white at its left, turned by EXIF so that this is its top."""
    image, exif = Image.new("L", (8, 8)), Image.Exif()
    image.paste(255, (0, 0, 4, 8))
    exif[0x0112] = 6
    written = io.BytesIO()
    image.save(written, "PNG", exif=exif)
    return written.getvalue()


def test_an_upload_is_turned_and_fitted():
    pixels = read_upload(turned(), (1, 8, 8), 17)[0, 0]
    assert pixels[:4].min() == 16
    assert pixels[4:].max() == 0
    for mode, format_ in (("CMYK", "JPEG"), ("P", "GIF"), ("RGBA", "WEBP"), ("1", "BMP")):
        assert read_upload(png((9, 5), mode, format_), (3, 8, 8), 256).shape == (1, 3, 8, 8)


def malformed():
    """Uploads that are no sound pictures."""
    good, jpeg, random = png((64, 64)), png((64, 64), "RGB", "JPEG"), np.random.default_rng(0)
    yield from (
        b"",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\x03\x04" + bytes(100),
        b"\x00" * 5000,
    )
    yield from (png((8, 8), "I;16"), png((8, 8), "L", "TIFF"), png((8, 8), "RGB", "PPM"), png((8, 8), "F", "TIFF"))
    yield png((PIXELS // 4000 + 1, 4000), "1")  # many pixels in few bytes
    huge = bytearray(good)
    huge[16:24] = b"\x7f\xff\xff\xff" * 2  # the header alone says that it is large
    yield bytes(huge)
    yield from (good[:n] for n in range(4, len(good) - 20, 4))
    yield from (jpeg[:n] for n in range(4, 300, 4))
    yield from (random.bytes(int(n)) for n in random.integers(1, 4000, 60))


def test_malformed_uploads_are_refused():
    count = 0
    for body in malformed():
        count += 1
        with pytest.raises(ValueError, match="this is no sound"):
            read_upload(body, (1, 8, 8), 17)
    assert count > 150
    with pytest.raises(ValueError, match="bytes"):
        read_upload(bytes(BYTES + 1), (1, 8, 8), 17)


def test_an_upload_that_is_too_long_is_not_decoded(page):
    sent = page.post(f"{DIGITS}/images", content=bytes(BYTES + 1), headers={"X-Token": page.token})
    assert sent.status_code == 413


def test_of_waiting_requests_only_the_latest_is_run():
    ran, begun, go = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        go.wait(10)
        ran.append(0)

    async def requests():
        worker = Worker()
        tasks = [asyncio.create_task(worker.run(first, "slider"))]
        await asyncio.to_thread(begun.wait, 10)
        tasks += [asyncio.create_task(worker.run(lambda i=i: ran.append(i), "slider")) for i in (1, 2, 3)]
        tasks += [asyncio.create_task(worker.run(lambda: ran.append("cancelled"), "key")) for _ in range(2)]
        tasks.append(asyncio.create_task(worker.run(lambda: ran.append("other"), "button")))
        await asyncio.sleep(0.05)
        tasks[5].cancel()
        await asyncio.sleep(0.05)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(requests())
    assert ran == [0, 3, "other"]
    assert [type(answer) for answer in (*answers[1:3], answers[4])] == [SupersededError] * 3


def test_a_job_in_parts_takes_turns_tells_its_share_and_ends_when_nobody_waits():
    ran = []

    def endless():
        while True:
            time.sleep(0.001)
            ran.append("a part")
            yield 0.25

    async def requests():
        worker = Worker()
        long = asyncio.create_task(worker.run(endless, page="a"))
        await asyncio.sleep(0.01)
        assert await worker.run(lambda: "short", page="b") == "short"
        assert await worker.run(lambda: (yield 0.5), page="b") is None
        (told,) = worker.status("a")
        assert (told.share, told.others, worker.status("b")) == (0.25, 0, [])
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        await asyncio.sleep(0.02)
        made = len(ran)
        await asyncio.sleep(0.02)
        assert (worker.status("a"), len(ran)) == ([], made)

    asyncio.run(requests())


@pytest.mark.parametrize("late", [False, True], ids=["at once", "in a later part"])
@pytest.mark.parametrize(
    "error", [ValueError, StopIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError]
)
def test_whatever_a_job_raises_answers_its_request(error, late):
    """Of these a future takes no StopIteration, and a request would wait for ever."""

    def parts():
        yield 0.5
        failing()

    def failing():
        raise error

    async def answered():
        worker = Worker()
        with pytest.raises((ValueError, RuntimeError)) as told:
            await asyncio.wait_for(worker.run(parts if late else failing), timeout=20)
        assert error.__name__ in repr(told.value) + repr(told.value.__cause__)
        assert not worker.jobs
        assert await worker.run(lambda: "next") == "next"

    asyncio.run(answered())


@pytest.mark.parametrize(
    ("base", "each", "expected"),
    [(0.5, 0.01, [1, 2, 4, 8, 10]), (0.0, 0.01, [1, 4, 16, 4]), (0.0, 0.3, [1, 2, *[1] * 22])],
    ids=["as long for many rows as for one", "quick", "slow for each"],
)
def test_parts_are_as_long_as_they_are_worth(monkeypatch, base, each, expected):
    """However long other jobs take between them."""
    now, sizes = [0.0], []
    monkeypatch.setattr("pushforward.explore.worker.time.monotonic", lambda: now[0])

    def compute(rows):
        sizes.append(len(rows))
        now[0] += base + each * len(rows)

    for _ in in_parts(25, compute):
        now[0] += 10
    assert sizes == expected


def test_the_job_of_a_page_that_left_ends():
    asked = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
    sent = []
    scope = {"type": "http", "method": "GET", "path": f"{MOONS}/density", "query_string": b"stage=0", "headers": []}
    scope |= {"server": ("127.0.0.1", 80), "http_version": "1.1", "scheme": "http", "root_path": ""}
    scope["headers"] = [(b"host", b"127.0.0.1")]

    async def receive():
        return asked.pop(0) if len(asked) > 1 else asked[0]

    async def send(message):
        sent.append(message)

    asyncio.run(app()(scope, receive, send))
    assert sent[0]["status"] == 409


def test_events_end_where_nothing_is_computed(page):
    told = page.get("/api/events", params={"page": "a"})
    assert told.headers["content-type"].startswith("text/event-stream")
    assert told.text == "data: []\n\n"


def test_a_run_that_cannot_be_shown_is_listed(tmp_path):
    pf.save(pf.models.MAF(features=3, classes=2).build(), tmp_path / "three#1?")  # an address cannot hold it
    client = client_of(tmp_path / "three#1?", "pretrained:moons", "pretrained:moons")
    assert [(run["name"], run["kind"]) for run in client.get("/api/runs").json()] == [
        ("three-1-", ""),
        ("moons", "plane"),
        ("moons-2", "plane"),
    ]
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        app([tmp_path])
