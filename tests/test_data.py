"""Data sets: one law for every kind of file, what images are fitted to, the order of training, and what is refused."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import sys
import tarfile
import zipfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import pushforward.data.tars
import pushforward.data.text_encoders
from pushforward.data import (
    Arrays,
    Attributed,
    Captioned,
    ClipSource,
    Cropped,
    Images,
    ImageSource,
    Mirrored,
    NoSplitError,
    Order,
    Shifted,
    Sprites,
    Takes,
    TextEncoder,
    digits,
    find,
)
from pushforward.data.captioned_tars import find_tars
from pushforward.data.captions import read_metadata
from pushforward.data.splits import is_held_out
from pushforward.data.tables import read_table
from pushforward.randomness import keyed
from pushforward.training import ranks

IMAGES = torch.randint(256, (6, 3, 5, 4), dtype=torch.uint8, generator=keyed(0))
LABELS = torch.tensor([0, 0, 1, 1, 1, 2])
CLASSES = ["ant", "bee", "cat"]

# ---- sets in files: each writes the images and labels above below a folder, and answers what to find


def encoded(image, kind="png", mode=None, **options):
    """The bytes of a file of an image, (C, H, W)."""
    file, picture = io.BytesIO(), Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


PNGS = [encoded(image) for image in IMAGES]


def new(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def write(file, content):
    new(file).write_bytes(content)
    return file


def write_folder(folder, files):
    for name, content in files.items():
        write(folder / name, content)
    return folder


def write_tar(file, members):
    with tarfile.open(new(file), "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def write_npz(file, **arrays):
    np.savez(new(file), **arrays)
    return file


def write_parquet(file, **columns):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    parquet.write_table(pyarrow.table(columns), new(file), row_group_size=2)
    return file


def write_pack(file, images=IMAGES, strip=4, **more):
    pixels = images.permute(0, 2, 3, 1)
    strips = [encoded(part.flatten(0, 1).permute(2, 0, 1), "webp", lossless=True) for part in pixels.split(strip)]
    webp, offsets = np.frombuffer(b"".join(strips), np.uint8), np.cumsum([0, *map(len, strips)])
    return write_npz(file, webp=webp, offsets=offsets, shape=pixels.squeeze(-1).shape, **more)


def by_datasets(labels=LABELS):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    cells = [{"bytes": png, "path": None} for png in PNGS[: len(labels)]]
    return datasets.Dataset.from_dict({"image": cells, "label": labels.tolist()}, features=features)


def folder(root):
    write_folder(root, {"ant/notes.txt": b"", ".hidden/x.png": b""})
    return write_folder(root, {f"{CLASSES[k]}/{i}.png": PNGS[i] for i, k in enumerate(LABELS)})


def tar(root):
    return write_tar(root / "set.tar", {f"./all/{CLASSES[k]}/{i}.PNG": PNGS[i] for i, k in enumerate(LABELS)})


def tars(root):
    for shard in (0, 1):
        rows = range(3 * shard, 3 * shard + 3)
        classes = {f"{i}.cls": b"%d\n" % LABELS[i] for i in rows}
        write_tar(root / f"my-train-{shard}.tar", {**classes, **{f"{i}.rgb.png": PNGS[i] for i in rows}})
    return root


def parquet(root):
    return write_parquet(root / "set.parquet", image=PNGS, label=LABELS.numpy(), thumbnail=PNGS)


def parquets(root):
    for shard in (0, 1):
        rows = slice(3 * shard, 3 * shard + 3)
        cells = [{"bytes": png, "path": "elsewhere.png"} for png in PNGS[rows]]
        write_parquet(root / f"train-{shard}.parquet", picture=cells, labels=LABELS[rows].numpy())
    return root


def parquet_by_datasets(root):
    by_datasets().to_parquet(new(root / "set.parquet"))
    return root / "set.parquet"


def saved_by_datasets(root):
    by_datasets().save_to_disk(root)
    return f"hf:{root}"


def splits_saved_by_datasets(root):
    pytest.importorskip("datasets", reason="datasets is not installed")
    sys.modules["datasets"].DatasetDict(train=by_datasets(), test=by_datasets(LABELS[:1])).save_to_disk(root)
    return f"hf:{root}"


def folder_by_datasets(root):
    pytest.importorskip("datasets", reason="datasets is not installed")
    return f"hf:{folder(root)}"


def arrays(root):
    return write_npz(root / "set.npz", images=IMAGES.permute(0, 2, 3, 1).numpy(), labels=LABELS.numpy())


def arrays_by_split(root):
    x, y = IMAGES.long().numpy(), LABELS.byte().numpy()
    return write_npz(root / "set.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])


def pack(root):
    return write_pack(root / "set.npz", labels=LABELS.byte().numpy(), classes=np.array(CLASSES))


DATASETS = [parquet_by_datasets, saved_by_datasets, splits_saved_by_datasets, folder_by_datasets]
KINDS = [folder, tar, tars, parquet, parquets, *DATASETS, arrays, arrays_by_split, pack]


@pytest.fixture(autouse=True)
def _caches(tmp_path, monkeypatch):
    """The library datasets copies what it opens into a cache; here into one that goes away."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))  # read when it is first imported
    if "datasets" in sys.modules:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_file_gives_the_same_set(kind, tmp_path):
    data = find(kind(tmp_path / "set"))
    assert isinstance(data, Images)
    assert (len(data), data.image, data.levels, data.classes) == (6, (3, 5, 4), 256, 3)
    for rows in (range(6), [5, 0, 5], torch.tensor([2]), []):
        images, labels = data.fetch(rows)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        wanted = torch.tensor(list(rows), dtype=torch.long)
        assert torch.equal(images, IMAGES[wanted])
        assert torch.equal(labels, LABELS[wanted])
    fitted = find(kind(tmp_path / "again"), image=(1, 2, 2)).fetch(range(6))[0]
    for png, image in zip(PNGS, fitted, strict=True):
        grey = Image.open(io.BytesIO(png)).convert("L")
        middle = grey.resize((2, 2), Image.Resampling.BICUBIC, box=(0, 0.5, 4, 4.5))
        assert torch.equal(image[0], torch.from_numpy(np.array(middle)))


def test_images_are_decoded_when_they_are_fetched(tmp_path):
    """A set may be larger than memory, and an image that cannot be decoded is named when its turn comes."""
    jpeg = encoded(IMAGES[0], "jpeg")
    write_folder(tmp_path, {"0.jpg": jpeg, "1.jpg": jpeg[: len(jpeg) // 2], "2.jpg": jpeg})
    data = find(tmp_path, image=(3, 5, 4))
    assert data.fetch([2, 0])[0].shape == (2, 3, 5, 4)
    with pytest.raises(ValueError, match=r"1\.jpg is not an image"):
        data.fetch([2, 1])
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.jpg"):
        data.fetch([2])


RED, WHITE = (255, 0, 0), (255, 255, 255)
STRIPES = torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 64, 32)  # columns one pixel wide


@pytest.mark.parametrize(
    ("picture", "image", "pixel"),
    [
        (Image.new("RGB", (9, 9), RED), (3, 4, 4), RED),
        (Image.new("RGB", (9, 9), RED), (1, 4, 4), (76,)),  # by luminance
        (Image.new("L", (2, 9), 7), (3, 4, 4), (7, 7, 7)),  # a smaller one is enlarged
        (Image.new("RGBA", (9, 9), (255, 0, 0, 0)), (3, 4, 4), WHITE),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 128)), (3, 4, 4), (255, 127, 127)),
        (Image.new("LA", (4, 4), (0, 0)), None, (255,)),
        (Image.new("1", (4, 4), 1), None, (255,)),
        (Image.new("P", (4, 4), 0), None, (0, 0, 0)),
        (Image.fromarray(STRIPES[0].numpy()), (1, 8, 8), (128,)),  # not 0 or 255: antialiased
        (ImageOps.expand(Image.new("RGB", (8, 8), RED), (8, 0)), (3, 8, 8), RED),  # black at both sides is cropped
        (ImageOps.expand(Image.new("RGB", (8, 8), RED), (0, 8)), (3, 8, 8), RED),
    ],
)
def test_images_are_fitted(picture, image, pixel, tmp_path):
    picture.save(tmp_path / "a.png")
    data = find(tmp_path, image=image)
    assert data.image == (image or (len(pixel), 4, 4))
    assert data.classes == 0
    images, labels = data.fetch([0])
    assert labels is None
    assert (images[0].flatten(1).int() - torch.tensor(pixel)[:, None]).abs().max() <= 5


def test_halving_a_large_jpeg_as_it_is_decoded_changes_little(tmp_path):
    """A level or so, which is what the codec itself loses."""
    waves = torch.linspace(0, 20, 512).sin() * 100 + 128
    image = torch.stack([waves.expand(400, 512), waves[:400, None].expand(400, 512), waves.expand(400, 512)]).byte()
    write(tmp_path / "jpeg" / "a.jpg", encoded(image, "jpeg", quality=95))
    write(tmp_path / "png" / "a.png", encoded(image))
    jpeg, png = (find(tmp_path / kind, image=(3, 48, 64)).fetch([0])[0].int() for kind in ("jpeg", "png"))
    assert (jpeg - png).abs().float().mean() < 1.5
    assert png.float().std() > 20


@pytest.mark.parametrize(
    ("files", "split", "rows"),
    [
        (["train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/3.png"], "test", [2, 3]),
        (["train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/3.png"], "train", [0, 1]),
        (["car/0.png", "train/1.png"], "train", [0, 1]),  # classes
        (["cifar-train-0.tar", "cifar-test-0.tar", "cifar-train-1.tar"], "train", [0, 2]),
        (["val-00000-of-00001.parquet", "train-00000-of-00001.parquet"], "val", [0]),
        (["a.tar", "b.tar"], "train", [0, 1]),
        (["train/0.png", "val/1.png"], "test", [1]),  # held out
        (["train/0.png", "valid/1.png", "test/2.png"], "test", [2]),
        (["train/0.png", "valid/1.png", "test/2.png"], "val", [1]),
        (["Train/0.png", "TEST/1.png"], "train", [0]),
        (["training-0.tar", "dev-0.tar"], "test", [1]),
    ],
)
def test_splits_go_by_names(files, split, rows, tmp_path):
    for i, name in enumerate(files):
        file = tmp_path / name
        if file.suffix == ".tar":
            write_tar(file, {"0.png": PNGS[i]})
        elif file.suffix == ".parquet":
            write_parquet(file, image=[PNGS[i]])
        else:
            write(file, PNGS[i])
    images, _ = find(tmp_path, split).fetch(range(len(rows)))
    assert torch.equal(images, IMAGES[torch.tensor(rows)])


@pytest.mark.parametrize("kind", ["folder", "tar", "tar with .cls", "parquet", "npz"])
def test_splits_have_the_same_classes(kind, tmp_path):
    """Also where one has no image of the last; and folders that are numbers are in the order of numbers."""
    names = {"train": ["2", "10", "1"], "test": ["2"]}
    numbers = {"train": [1, 2, 0], "test": [1]}
    for split, folders in names.items():
        if kind == "folder":
            write_folder(tmp_path / split, {f"{folder}/a.png": PNGS[0] for folder in folders})
        elif kind == "tar":
            write_tar(tmp_path / f"{split}.tar", {f"{split}/{folder}/a.png": PNGS[0] for folder in folders})
        elif kind == "tar with .cls":
            members = {
                f"{k}.{end}": blob for k in numbers[split] for end, blob in (("png", PNGS[0]), ("cls", b"%d" % k))
            }
            write_tar(tmp_path / f"{split}.tar", members)
        elif kind == "parquet":
            write_parquet(tmp_path / f"{split}.parquet", image=PNGS[: len(folders)], label=numbers[split])
    if kind == "npz":
        splits = {f"{split}_labels": np.array(labels) for split, labels in numbers.items()}
        write_npz(tmp_path / "a.npz", **splits, train_images=IMAGES[:3].numpy(), test_images=IMAGES[:1].numpy())
    for split, labels in numbers.items():
        data = find(tmp_path / "a.npz" if kind == "npz" else tmp_path, split)
        assert data.classes == 3
        assert sorted(data.labels.tolist()) == sorted(labels)


def named_npz(root, labels):
    return write_npz(root / "set.npz", images=IMAGES.numpy(), labels=labels)


def named_parquet(root, labels):
    return write_parquet(root / "set.parquet", image=PNGS, label=labels)


def named_dictionary(root, labels):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return write_parquet(root / "set.parquet", image=PNGS, label=pyarrow.array(labels.tolist()).dictionary_encode())


WORDS = np.array(CLASSES)[LABELS]


@pytest.mark.parametrize(
    ("write", "labels"),
    {
        "words": (named_npz, WORDS),
        "bytes": (named_npz, np.char.encode(WORDS)),
        "a column": (named_npz, WORDS[:, None]),
        "words in Parquet": (named_parquet, WORDS.tolist()),
        "a dictionary in Parquet": (named_dictionary, WORDS),
    }.values(),
)
def test_labels_may_be_the_names_of_classes(write, labels, tmp_path):
    found = find(write(tmp_path, labels))
    assert found.names == tuple(CLASSES)
    assert torch.equal(found.labels, LABELS)


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.to(torch.int16)], ids=["a column", "big-endian"])
def test_labels_may_be_a_column_in_any_byte_order(labels, tmp_path):
    labels = labels.numpy()
    found = find(named_npz(tmp_path, labels.astype(labels.dtype.newbyteorder(">"))))
    assert torch.equal(found.labels, LABELS)


def test_names_of_classes_in_bytes_are_text(tmp_path):
    file = write_npz(
        tmp_path / "a.npz", images=IMAGES.numpy(), labels=LABELS.numpy(), classes=np.array([*map(str.encode, CLASSES)])
    )
    assert find(file).names == tuple(CLASSES)


@pytest.mark.parametrize("kind", [tar, parquet, arrays], ids=lambda kind: kind.__name__)
def test_endings_may_be_in_capitals(kind, tmp_path):
    file = kind(tmp_path)
    found = find(file.rename(file.with_suffix(file.suffix.upper())))
    assert torch.equal(found.fetch([0])[0], IMAGES[:1])


def test_folders_that_are_one_number_have_one_order(tmp_path):
    names = ["1".zfill(digits) for digits in range(1, 9)]
    write_folder(tmp_path, {f"{name}/a.png": PNGS[0] for name in names})
    assert find(tmp_path).names == tuple(sorted(names))


@pytest.mark.parametrize("dtype", [">f4", "f2", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_vectors_in_an_npz_may_be_of_any_precision_and_order(dtype, order, tmp_path):
    x = np.arange(6).reshape(3, 2)
    found = find(write_npz(tmp_path / "a.npz", x=np.array(x, dtype, order=order), y=np.arange(3, dtype=">i4")))
    assert found.events.tolist() == x.tolist()
    assert found.context.tolist() == [0, 1, 2]


def test_real_vectors_in_an_npz_are_arrays(tmp_path):
    x, y = np.linspace(0, 1, 6).reshape(3, 2), np.arange(3)
    data = find(write_npz(tmp_path / "a.npz", x_train=x, y_train=y, test_x=x[:1]))
    assert isinstance(data, Arrays)
    events, context = data.fetch([2, 0])
    torch.testing.assert_close(events, torch.tensor([[0.8, 1.0], [0.0, 0.2]]))
    assert context.tolist() == [2, 0]
    assert find(tmp_path / "a.npz", "test").fetch([0])[1] is None


@pytest.mark.parametrize("linked", ["file", "folder", "split", "set"])
def test_symbolic_links_are_followed(linked, tmp_path):
    """And not round in a circle."""
    files = {f"{split}/{CLASSES[k]}/{i}.png": PNGS[i] for i, k in enumerate(LABELS) for split in ("train", "test")}
    write_folder(tmp_path / "set", files)
    place = {"file": "train/bee/2.png", "folder": "train/bee", "split": "train", "set": ""}[linked]
    (tmp_path / "set" / place).rename(tmp_path / "moved")
    (tmp_path / "set" / place).symlink_to(tmp_path / "moved")
    (tmp_path / "set" / "train" / "ant" / "up").symlink_to(tmp_path / "set" / "train")
    data = find(tmp_path / "set")
    assert torch.equal(data.labels, LABELS)
    assert torch.equal(data.fetch(range(6))[0], IMAGES)


CAPTIONS = ["red", "ant", "a large bee", "a cat in the rain", "", "für Elise"]
LARGER = Takes((3, 5, 4), 256)


class Codes(TextEncoder):
    """In place of an encoder: the sum of a text's codes, and a token more. It knows no more than 20 characters."""

    def __call__(self, texts):
        if long := [text for text in texts if len(text) > 20]:
            raise ValueError(f"{long[0]} is too long")
        return torch.tensor([[[float(sum(map(ord, text)))], [1.0]] for text in texts])


def shards(root, count=3):
    """The same images in a folder and in shards with captions: the order of both is that of names."""
    write_folder(root / "folder", {f"{i}.png": PNGS[i] for i in range(6)})
    told = [
        {f"{i}.txt": f" {text}\n".encode()} if i % 2 else {f"{i}.json": json.dumps({"caption": text}).encode()}
        for i, text in enumerate(CAPTIONS)
    ]
    for shard in range(count):
        rows = range(shard * 6 // count, (shard + 1) * 6 // count)
        members = {name: content for i in rows for name, content in {**told[i], f"{i}.png": PNGS[i]}.items()}
        write_tar(root / "shards" / f"ants-{shard:03}.tar", members)
    return root / "shards"


@pytest.mark.parametrize("captions", [None, "in memory", "made when they are fetched"])
def test_shards_hold_the_rows_of_a_folder_and_two_processes_read_disjoint_halves(captions, tmp_path, monkeypatch):
    place, whole = shards(tmp_path), find(tmp_path / "folder")
    monkeypatch.setattr(pushforward.data.text_encoders, "KEPT_BYTES", 6 * 8 if captions == "in memory" else 6 * 8 - 1)
    data = Captioned((str(place),), Codes()).training(LARGER) if captions else find(place)
    assert not captions or (data.text.kept is not None) == (captions == "in memory")
    order, seen = Order(len(data), seed=3), []
    monkeypatch.setattr(ranks, "size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        rows = order[6 + ranks.share(6).start : 6 + ranks.share(6).stop]  # of the second epoch
        images, context = data.fetch(rows)
        assert torch.equal(images, whole.fetch(rows)[0])
        assert not captions or torch.equal(context, Codes()([CAPTIONS[row] for row in rows]))
        seen += rows.tolist()
    assert sorted(seen) == list(range(6))


def test_a_pattern_names_shards(tmp_path):
    shards(tmp_path)
    write_tar(tmp_path / "shards" / "bees-000.tar", {"0.png": PNGS[0]})
    assert len(find(tmp_path / "shards" / "ants-*.tar")) == 6
    assert len(find(tmp_path / "shards" / "ants-00[12].tar")) == 4
    for split, n in (("train", 2), ("test", 1)):
        for i in range(n):
            write_tar(tmp_path / f"{split}-{i}.tar", {"0.png": PNGS[i]})
        assert len(find(tmp_path / "*-*.tar", split)) == n
    with pytest.raises(FileNotFoundError, match=r"no file matches .*wasps-\*\.tar"):
        find(tmp_path / "wasps-*.tar")
    write(tmp_path / "train.txt", b"")
    with pytest.raises(ValueError, match=r"test-0\.tar … train\.txt; expected \.tar alone"):
        find(tmp_path / "t*")


def test_captioned_tars_are_laid_out_as_the_documentation_shows(tmp_path):
    laid_out(tmp_path, *re.findall(r"```text\n(0[^`]*)\n```", PAGE)[0].partition(": ")[::2])
    found = Captioned((str(tmp_path),), Codes()).training(LARGER).fetch([0, 1])[1]
    assert torch.equal(found, Codes()(["a_red_heart", "a_smiling_cat"]))


@pytest.mark.parametrize("place", ["{0}/x.tar", "x/{0}.tar", "a/{0}/b/x.tar"])
def test_wildcards_in_folders_find_parts_and_their_splits(place, tmp_path):
    """A split named by a folder that a wildcard matched is one: rows of a test are never learned."""
    for split, png in (("train", PNGS[0]), ("test", PNGS[1])):
        write_tar(tmp_path / place.format(split), {"0.png": png})
    pattern = tmp_path / place.format("*").replace("a/", "*/")
    assert torch.equal(find(pattern).fetch([0])[0], IMAGES[:1])
    assert torch.equal(find(pattern, "test").fetch([0])[0], IMAGES[1:2])
    write_tar(tmp_path / place.format("other"), {"0.png": PNGS[2]})
    with pytest.raises(ValueError, match=r"no clear split.*other.*\(no split\)"):
        find(pattern)


def test_wildcards_in_folders_find_captioned_tars_and_one_table(tmp_path):
    shards(tmp_path)
    assert len(find_tars(tmp_path / "*" / "ants-*.tar")) == 3
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "train.csv").write_text("x,y\n1,2\n3,4\n")
    assert read_table(tmp_path / "*" / "train.csv").take(["y"]).tolist() == [[2], [4]]
    (tmp_path / "b" / "train.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match="a table is one file, and .* matches 2, .*Join them first"):
        read_table(tmp_path / "*" / "train.csv")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        read_table(tmp_path / "*" / "none.csv")


def test_labels_of_the_library_datasets_may_be_words(tmp_path):
    """The classes are those of all splits, in the order of their names."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def part(*words):
        rows = by_datasets(LABELS[: len(words)]).remove_columns("label")
        return rows.add_column("label", list(words))

    datasets.DatasetDict(train=part("bee", "cow"), test=part("ant")).save_to_disk(tmp_path)
    train, test = (find(f"hf:{tmp_path}", split) for split in ("train", "test"))
    assert train.names == test.names == ("ant", "bee", "cow")
    assert (train.labels.tolist(), test.labels.tolist()) == ([1, 2], [0])


def test_captions_of_shards_are_held_out_as_those_of_packs(tmp_path, monkeypatch):
    """A row of a set is the same however many shards it is in, and the set knows itself again."""
    captions = [f"picture {i}" for i in range(60)]
    for count in (1, 5):
        for shard in range(count):
            rows = range(shard * 60 // count, (shard + 1) * 60 // count)
            pairs = {
                f"{i:02}.{kind}": (captions[i].encode(), PNGS[i % 6])[kind == "png"]
                for i in rows
                for kind in ("png", "txt")
            }
            write_tar(tmp_path / str(count) / f"{shard}.tar", pairs)
    one, five = (Captioned((str(tmp_path / name),), Codes()) for name in ("1/*.tar", "5"))
    expected = [caption for caption in captions if is_held_out(caption)]
    for source in (one, five, Captioned((str(tmp_path / "1" / "0.tar"),), Codes())):
        held_out = source.held_out(LARGER)
        assert torch.equal(held_out.fetch(range(len(held_out)))[1], Codes()(expected))
        assert len(source.training(LARGER)) == 60 - len(expected)
    assert one.training(LARGER).fingerprint() == five.training(LARGER).fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["pushforward.data.data"], "HELD_OUT", 2)
        assert len(one.held_out(LARGER)) == 2
    monkeypatch.setattr(pushforward.data.text_encoders, "KEPT_BYTES", 0)
    known = five.training(LARGER).fingerprint()
    assert known == one.training(LARGER).fingerprint()
    write_tar(tmp_path / "5" / "0.tar", {"00.txt": b"a picture", "00.png": PNGS[0]})
    assert five.training(LARGER).fingerprint() != known


@pytest.mark.parametrize("captions", [False, True], ids=["classes", "captions"])
def test_the_members_of_large_tars_are_found_once(captions, tmp_path, monkeypatch):
    """Again where a tar has changed; and where it is damaged, it is named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pushforward.data.tars, "LARGE", 0)
    folder, opened, open_tar = tars(tmp_path / "set"), [], tarfile.open
    if captions:
        for i, file in enumerate(sorted(folder.glob("*.tar"))):
            told = {f"{j}.txt": CAPTIONS[j].encode() for j in range(3 * i, 3 * i + 3)}
            write_tar(file, {**told, **{f"{j}.rgb.png": PNGS[j] for j in range(3 * i, 3 * i + 3)}})

    def read(place):
        return Captioned((str(place),), Codes()).training(LARGER) if captions else find(place)

    def counted(path, *how):
        opened.append(path.name)
        return open_tar(path, *how)

    monkeypatch.setattr(tarfile, "open", counted)
    for _ in range(2):
        images, context = read(folder).fetch(range(6))
        assert torch.equal(images, IMAGES)
        assert torch.equal(context, Codes()(CAPTIONS) if captions else LABELS)
    assert opened == ["my-train-0.tar", "my-train-1.tar"]
    last = folder / "my-train-1.tar"
    with open_tar(last, "a") as tar:  # a member more
        tar.add(tmp_path / "set" / "my-train-0.tar", "notes.txt")
    assert len(read(folder)) == 6
    assert opened[2:] == ["my-train-1.tar"]
    changed = last.stat().st_mtime_ns
    last.write_bytes(last.read_bytes())  # another tar of this size and time
    os.utime(last, ns=(changed, changed))
    read(folder)
    assert opened[3:] == ["my-train-1.tar"]
    last.write_bytes(last.read_bytes()[:2048])
    with pytest.raises(ValueError, match=r"my-train-1\.tar is not a complete"):
        read(folder)
    monkeypatch.setattr(pushforward.data.tars, "cache_folder", lambda: last)  # which is no folder
    assert len(read(folder / "my-train-0.tar")) == 3


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_links_in_a_tar_are_followed(kind, tmp_path):
    images, _ = find(linked_tar("a.png", kind)(tmp_path)).fetch(range(2))
    assert torch.equal(images, IMAGES[[0, 0]])


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(kind, orientation, tmp_path):
    """Those of a camera that was held differently, beside an upright one: all have one shape."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    shape = (3, 8, 24) if orientation in range(5, 9) else (3, 24, 8)
    blob = encoded(IMAGES[0].repeat(1, 8, 8)[:, : shape[1], : shape[2]], kind, exif=exif)
    write(tmp_path / f"a.{kind}", blob)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(blob)))).transpose(2, 0, 1)
    data = find(tmp_path)
    assert data.image == (3, 24, 8)
    assert torch.equal(data.fetch([0])[0][0], torch.from_numpy(expected.copy()))
    assert find(tmp_path, image=(3, 12, 4)).image == (3, 12, 4)


def test_a_damaged_exif_block_is_passed_over(tmp_path):
    write(tmp_path / "a.png", encoded(IMAGES[0], exif=b"Exif\0\0nonsense"))
    assert torch.equal(find(tmp_path).fetch([0])[0][0], IMAGES[0])


@pytest.mark.parametrize("kind", [folder, tar, parquet_by_datasets, saved_by_datasets, pack], ids=lambda k: k.__name__)
def test_the_names_of_classes_are_kept(kind, tmp_path):
    assert find(kind(tmp_path / "set")).names == tuple(CLASSES)


@pytest.mark.parametrize("kind", ["npz", "parquet", "tar"])
def test_labels_that_start_at_1_start_at_0_and_keep_their_names(kind, tmp_path):
    """Where they do in all splits: elsewhere a split may just lack the first class."""
    labels, file = (LABELS + 1).numpy(), tmp_path / f"a.{kind}"
    if kind == "npz":
        write_npz(file, x_train=IMAGES.numpy(), y_train=labels, x_test=IMAGES[:1].numpy(), y_test=labels[-1:])
    elif kind == "parquet":
        write_parquet(file, image=PNGS, label=labels)
    else:
        write_tar(
            file, {f"{i}.{e}": b for i, k in enumerate(labels) for e, b in (("png", PNGS[i]), ("cls", b"%d" % k))}
        )
    data = find(file)
    assert (data.classes, data.names) == (3, ("1", "2", "3"))
    assert torch.equal(data.labels, LABELS)


def test_labels_of_other_images_are_counted_by_the_names_of_the_first():
    letters = Images(IMAGES, LABELS, classes=3, names=("a", "b", "c"))
    some = Images(IMAGES[:2], torch.tensor([0, 1]), classes=2, names=("c", "b")).relabelled(letters.names)
    assert (some.labels.tolist(), some.classes, some.names) == ([2, 1], 3, ("a", "b", "c"))
    numbered = Images(IMAGES[:2], torch.tensor([0, 1]), classes=2).relabelled(letters.names)
    assert numbered.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="among them 'z', and the run learned 3: a, b, c"):
        Images(IMAGES[:2], torch.tensor([0, 1]), classes=2, names=("a", "z")).relabelled(letters.names)


@pytest.mark.parametrize(
    "names", [("mnist_train.npz", "mnist_test.npz"), ("mnist.npz",), ("mnist_train0.npz", "mnist_train1.npz")]
)
def test_a_set_with_a_name_may_be_in_ordinary_arrays(names, tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_DATA", str(tmp_path))
    x, y = IMAGES[:, 0].numpy(), LABELS.numpy()
    for i, name in enumerate(names):
        rows = slice(3 * i, 3 * i + 3) if name.endswith(("0.npz", "1.npz")) else slice(6)
        whole = name == "mnist.npz"
        both = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
        write_npz(tmp_path / name, **(both if whole else {"images": x[rows], "labels": y[rows]}))
    data = find("mnist")
    assert torch.equal(data.images, IMAGES[:, :1])
    assert torch.equal(data.labels, LABELS)
    if len(names) == 1 or "test" in names[1]:
        assert torch.equal(find("mnist", "test").images, IMAGES[:, :1])


# ---- sources of images


TAKES = Takes((3, 5, 4), levels=256, classes=3)


def test_a_share_is_held_out_and_never_trained_on(tmp_path):
    for kind in (folder, arrays, tar):
        source = ImageSource(str(kind(tmp_path / kind.__name__)), validation=0.34)
        training, held_out = source.training(TAKES), source.held_out(TAKES)
        assert (len(training), len(held_out)) == (4, 2)
        every = torch.cat([part.fetch(range(len(part)))[0] for part in (training, held_out)])
        assert sorted(every.flatten(1).sum(1).tolist()) == sorted(IMAGES.flatten(1).sum(1).tolist())
        assert torch.equal(source.held_out(TAKES).fetch([0, 1])[0], held_out.fetch([0, 1])[0])


def test_images_that_are_learned_without_their_labels_still_have_them(tmp_path):
    source = ImageSource(str(arrays(tmp_path)), validation=0.5)
    without = TAKES._replace(classes=0)
    learned, labelled = source.training(without), source.labelled(without)
    assert learned.labels is None
    assert torch.equal(labelled.images, learned.images)
    assert torch.equal(labelled.labels, source.training(TAKES).labels)
    with pytest.raises(ValueError, match="does not say what data it learned"):
        ImageSource("").labelled(without)


def test_another_path_is_held_out_and_its_labels_are_those_of_the_training_set(tmp_path):
    place = str(folder(tmp_path / "set"))
    write_folder(tmp_path / "other", {"cat/0.png": PNGS[5], "bee/0.png": PNGS[2]})
    source = ImageSource(place, validation=str(tmp_path / "other"))
    held_out = source.held_out(TAKES)
    assert (held_out.labels.tolist(), held_out.names) == ([1, 2], tuple(CLASSES))
    assert source.held_out(TAKES._replace(classes=0)).labels is None
    with pytest.raises(NoSplitError, match="Give the held-out set's path, or a share"):
        ImageSource(place).held_out(TAKES)
    with pytest.raises(ValueError, match="are those that are learned. Give the held-out set's path, or a share"):
        ImageSource(place, validation=str(folder(tmp_path / "a copy"))).held_out(TAKES)


PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
LAYOUTS = re.findall(r"```text\n(letters[^`]*)\n= ([^`]*)\n```", PAGE)


@pytest.mark.parametrize(("files", "told"), LAYOUTS, ids=[files.split()[0] for files, _ in LAYOUTS])
def test_every_layout_that_the_documentation_shows_is_read(files, told, tmp_path):
    """Where a line has no colon it is an image; else a file, and what it holds."""
    for line in files.splitlines():
        laid_out(tmp_path, *line.partition(": ")[::2])
    options, trained_on, held_out, classes = re.fullmatch(
        r"(?:--held-out (\S+): )?(\d+) trained on, (\d+) held out(?:, classes (.*))?", told
    ).groups()
    place = next(tmp_path.glob("letters*"))
    validation = float(options) if options and "." in options else options and str(tmp_path / options)
    names = tuple(classes.split()) if classes else ()
    source, takes = ImageSource(str(place), validation=validation), Takes((3, 5, 4), 256, len(names))
    parts = source.training(takes), source.held_out(takes)
    assert [len(part) for part in parts] == [int(trained_on), int(held_out)]
    assert [part.names for part in parts] == [names, names]
    assert parts[1].fetch([0])[0].shape == (1, 3, 5, 4)


def laid_out(root, name, holds):
    """Write a file of a layout: an image, a tar, a table or arrays."""
    file, words = root / name, [word.partition("=")[::2] for word in holds.split()]
    if name.endswith(".tar"):
        write_tar(file, {key: value.encode() if value else PNGS[0] for key, value in words})
    elif name.endswith(".parquet"):
        labels = [int(k) for k in dict(words)["label"].split(",")]
        write_parquet(file, image=[PNGS[0]] * len(labels), label=labels)
    elif name.endswith(".npz"):
        given = {key: np.array([int(k) if k.isdigit() else k for k in values.split(",")]) for key, values in words}
        write_npz(file, **{k: IMAGES[: v[0]].numpy() if "images" in k or "x_" in k else v for k, v in given.items()})
    else:
        write(file, encoded(IMAGES[0], file.suffix[1:].replace("jpg", "jpeg")))


def test_the_documentation_shows_all_layouts():
    assert len(LAYOUTS) == 10


def test_a_fingerprint_is_of_the_data_alone(tmp_path):
    one, other = (ImageSource(str(arrays(tmp_path / name))).training(TAKES) for name in ("a", "b"))
    assert one.fingerprint() == other.fingerprint()
    changed = IMAGES.clone()
    changed[0, 0, 0, 0] += 1
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for different in (Images(changed, LABELS, classes=3), Images(IMAGES, labels, classes=3), one.part([1, 0, 2])):
        assert different.fingerprint() != one.fingerprint()
    stored, moved = (find(folder(tmp_path / name)) for name in ("c", "d"))
    assert stored.fingerprint() == moved.fingerprint() != stored.part([0, 1, 2, 3, 4, 4]).fingerprint()
    vectors = [Arrays(torch.ones(3, 2), weights=torch.tensor([1.0, 1, w])).fingerprint() for w in (1, 1, 2)]
    assert vectors[0] == vectors[1] != vectors[2]


def test_mirror_images_come_after_the_images():
    data = Mirrored(Images(IMAGES, LABELS, classes=3))
    images, labels = data.fetch([8, 2])
    assert len(data) == 12
    assert torch.equal(images, torch.stack([IMAGES[2].flip(2), IMAGES[2]]))
    assert labels.tolist() == [1, 1]


def test_crops_come_after_the_images_and_are_scaled_back():
    ramp = 10 * torch.arange(4.0) + 3 * torch.arange(5.0)[:, None]  # a plane, of which every crop is a plane
    data = Cropped(Images(torch.stack([IMAGES[0], ramp.byte().expand(3, 5, 4)]), LABELS[:2], classes=3), by=2)
    assert len(data) == (1 + 4 + 9) * 2
    images, labels = data.fetch(range(len(data)))
    assert images.dtype == torch.uint8
    assert torch.equal(images[:2], data.images.images)
    assert torch.equal(labels, LABELS[:2].repeat(14))
    less, top, left = data.crops[5]
    assert (less, top, left) == (2, 0, 0)
    inside = images[11, 0, 1:-1, 1:-1].double()  # pixels of the edge are repeated
    rows, columns = (torch.arange(1, n - 1) for n in (5, 4))
    at = [start + (place + 0.5) * (n - 2) / n - 0.5 for start, place, n in ((top, rows, 5), (left, columns, 4))]
    torch.testing.assert_close(inside, (3 * at[0][:, None] + 10 * at[1]).double(), atol=0.51, rtol=0)
    assert torch.equal(data.fetch([11, 3])[0], images[[11, 3]])
    for by in (0, 4):
        with pytest.raises(ValueError, match=f"crops of 5 × 4 are smaller by 1 … 3; got {by}"):
            Cropped(data.images, by)


def test_shifted_images_come_after_the_images_and_repeat_their_edges():
    data = Shifted(Images(IMAGES, LABELS, classes=3), by=2)
    assert len(data) == 25 * 6
    assert torch.equal(data.fetch(range(6))[0], IMAGES)
    found, labels = data.fetch(range(150))
    assert torch.equal(labels, LABELS.repeat(25))
    padded = torch.nn.functional.pad(IMAGES.float(), (2, 2, 2, 2), mode="replicate").byte()
    windows = [padded[:, :, a : a + 5, b : b + 4] for a in range(5) for b in range(5)]
    assert {x.numpy().tobytes() for x in found} == {x.numpy().tobytes() for part in windows for x in part}
    with pytest.raises(ValueError, match="at least one pixel; got 0"):
        Shifted(data.images, by=0)


# ---- what is refused


def in_folder(**contents):
    """What writes these files into a folder; `cat_b` is b.png in the folder cat."""
    files = {f"{name.replace('_', '/')}.png": content for name, content in contents.items()}
    return lambda root: write_folder(root, files)


def in_tar(**contents):
    """What writes a tar of these members; `a_png` is a.png."""
    members = {name.replace("_", "."): content for name, content in contents.items()}
    return lambda root: write_tar(root / "a.tar", members)


def linked_tar(target, kind=tarfile.SYMTYPE):
    """What writes a tar of a.png and a link b.png."""

    def make(root):
        with tarfile.open(new(root / "a.tar"), "w") as tar:
            folder = tarfile.TarInfo(".")
            folder.type = tarfile.DIRTYPE
            member, link = tarfile.TarInfo("a.png"), tarfile.TarInfo("b.png")
            member.size, link.type, link.linkname = len(PNGS[0]), kind, target
            tar.addfile(folder)
            tar.addfile(member, io.BytesIO(PNGS[0]))
            tar.addfile(link)
        return root / "a.tar"

    return make


def in_parquet(**columns):
    return lambda root: write_parquet(root / "a.parquet", **columns)


def in_npz(**arrays):
    return lambda root: write_npz(root / "a.npz", **arrays)


def in_file(name, content=b"text"):
    return lambda root: write(root / name, content)


def named(name):
    return lambda _: name


def cut(kind, keep):
    """What writes a kind of file, and of it only file[:keep]."""

    def make(root):
        file = kind(root)
        return write(file, file.read_bytes()[:keep])

    return make


def another_archive(root):
    with zipfile.ZipFile(new(root / "a.npz"), "w") as archive:
        archive.writestr("readme.txt", "text")
    return root / "a.npz"


def spoilt(root):
    file = arrays(root)
    return write(file, file.read_bytes().replace(IMAGES[0, :, 0, 0].numpy().tobytes(), b"abc"))


def sixteen_bits():
    file = io.BytesIO()
    Image.new("I;16", (8, 8)).save(file, "png")
    return file.getvalue()


def other_columns(root):
    write_parquet(root / "train-0.parquet", image=PNGS)
    return write_parquet(root / "train-1.parquet", img=PNGS).parent


def mixed_shards(root):
    write_tar(root / "train-0.tar", {})
    return write_tar(root / "more.tar", {}).parent


def tar_and_parquet(root):
    write_tar(root / "more.tar", {"a.png": PNGS[0]})
    return parquet(root).parent


ZEROS = np.zeros((2, 8, 8), np.uint8)
SMALL, GREY = encoded(IMAGES[0, :, :3, :3]), encoded(IMAGES[0], mode="L")
FIVE = {"image": PNGS[:5]}

REFUSED = {  # what is made below a folder; what is said when it is asked for; and how it is asked for
    "nothing there": (lambda root: root / "gone", "no file or folder .*gone"),
    "a name misspelt": (named("mnits"), r"Did you mean mnist\?"),
    "a kind unknown": (in_file("a.zip"), r"a\.zip ends in '\.zip'; expected"),
    "digits, no split": (named("digits"), "got 'val'", {"split": "val"}),
    "mnist, no split": (named("mnist"), "got 'val'", {"split": "val"}),
    "no pack": (named("cifar10"), r"no cifar10_train\.npz in .*packs\. Set PUSHFORWARD_DATA"),
    "digits, larger": (named("digits"), r"digits have shape \(1, 8, 8\)", {"image": (1, 9, 9)}),
    "no shape": (named("digits"), r"1 or 3 channels; got \(8, 8, 1\)", {"image": (8, 8, 1)}),
    # folders
    "folder, empty": (lambda root: root, "no images in"),
    "folder of text": (in_file("set/a.txt"), "ends in"),
    "folder, mixed sizes": (
        in_folder(a=PNGS[0], b=SMALL),
        r"a\.png has \(3, 5, 4\), .*b\.png \(3, 3, 3\).*Give image=",
    ),
    "folder, mixed modes": (in_folder(a=PNGS[0], b=GREY), r"a\.png has \(3, 5, 4\), .*b\.png \(1, 5, 4\)"),
    "folder, corrupt": (in_folder(a=b"text"), r"a\.png is not .*no such format"),
    "folder, empty file": (in_folder(a=b""), r"a\.png is not .*no such format"),
    "folder, 16 bits": (in_folder(a=sixteen_bits()), r"a\.png is not .*more than 8 bits, Pillow's mode I;16"),
    "folder, some classes": (in_folder(a=PNGS[0], cat_b=PNGS[0]), "some images are in folders, .* such as cat"),
    "folder, no splits": (folder, "has no splits", {"split": "test"}),
    "folder, other splits": (
        in_folder(train_a=PNGS[0], test_a=PNGS[0]),
        "no split 'val'.*--held-out",
        {"split": "val"},
    ),
    "folder, two of a split": (
        in_folder(train_a=PNGS[0], training_b=PNGS[1], test_a=PNGS[0]),
        "two folders of one split, train and training",
    ),
    "folder, a split in capitals too": (
        in_folder(train_a=PNGS[0], Train_b=PNGS[1], test_a=PNGS[0]),
        "two folders of one split, Train and train",
    ),
    "folder, two held out": (
        in_folder(train_a=PNGS[0], val_b=PNGS[1], valid_a=PNGS[0]),
        "two folders of one split, val and valid",
        {"split": "test"},
    ),
    "folder, splits and more": (
        in_folder(train_a=PNGS[0], test_a=PNGS[0], raw_a=PNGS[0]),
        "holds splits, .*train.*and another folder, raw",
    ),
    "tar, a link that leads nowhere": (linked_tar("gone.png"), "a.tar has a link b.png to gone.png, which is no file"),
    "tar, a link to a folder": (linked_tar("."), "a link b.png to .,"),
    # tars
    "tar, empty": (in_tar(), r"no images in .*a\.tar"),
    "tar of text": (in_file("a.tar", b"text" * 999), r"a\.tar is not a complete"),
    "tar of nothing": (in_file("a.tar", b""), r"a\.tar is not a complete"),
    "tar, cut in a member": (cut(tar, 1600), r"set\.tar is not a complete"),
    "tar, cut between members": (cut(tar, 2048), r"set\.tar is not a complete .* at byte 2048"),
    "tar, few classes": (in_tar(a_png=PNGS[0], a_cls=b"0", b_png=PNGS[0]), r"a\.tar: the image b\.png has no \.cls"),
    "tar, class of text": (in_tar(a_png=PNGS[0], a_cls=b"cat"), r"a\.tar: the image a\.png has a \.cls of b'cat'"),
    "tar, class below zero": (in_tar(a_png=PNGS[0], a_cls=b"-2"), r"a\.tar: the image a\.png has a \.cls of b'-2'"),
    "tar, classes that are identifiers": (in_tar(a_png=PNGS[0], a_cls=b"1000000000"), "one is 1000000000"),
    "tar, corrupt": (in_tar(a_png=b"text"), r"a\.tar, a\.png is not an image"),
    "tar, no splits": (tar, "has no splits", {"split": "test"}),
    "tars and parquets": (tar_and_parquet, r"has more\.tar … set\.parquet; expected \.tar alone, or \.parquet alone"),
    "tars, some of no split": (mixed_shards, r"more\.tar \(no split\)"),
    # Parquet, and the library datasets
    "parquet of text": (in_file("a.parquet"), r"a\.parquet: this is not a complete"),
    "parquet, cut": (cut(parquet, -9), r"set\.parquet: this is not a complete"),
    "parquet, empty": (in_parquet(image=PNGS[:0]), r"a\.parquet has 0 rows"),
    "parquet of numbers": (in_parquet(image=[1, 2]), r"a\.parquet has 2 rows of image \(int64\)"),
    "parquet, two images": (in_parquet(left=PNGS, right=PNGS), "named image where there are several"),
    "parquet, labels of real numbers": (in_parquet(**FIVE, label=[0.0, 1, 2, 0, 1]), "column label is of double"),
    "parquet, labels that are identifiers": (in_parquet(**FIVE, label=[0, 1, 2, 0, 10**9]), "one is 1000000000"),
    "parquet, missing labels": (in_parquet(**FIVE, label=[0, 1, None, 0, 1]), "1 of them missing"),
    "parquet, labels below zero": (in_parquet(**FIVE, label=[0, 1, -1, 0, 1]), r"a\.parquet.*these go from -1 to 1"),
    "parquet, missing image": (in_parquet(image=[PNGS[0], None]), r"a\.parquet, row 1 holds no image"),
    "parquet, corrupt": (in_parquet(image=[PNGS[0], b"text"]), r"a\.parquet, row 1 is not an image"),
    "parquets that differ": (other_columns, r"train-1\.parquet do not have the same columns"),
    "datasets, no folder": (lambda root: f"hf:{root / 'gone'}", "cannot open hf:.*gone"),
    "datasets, no split": (splits_saved_by_datasets, "no split 'val'; it has train, test", {"split": "val"}),
    "datasets, no split in a folder": (folder_by_datasets, "split 'test'", {"split": "test"}),
    # arrays
    "npz of text": (in_file("a.npz"), r"a\.npz: not a complete"),
    "npz, cut": (cut(arrays, -9), r"set\.npz: not a complete"),
    "npz, corrupt": (spoilt, r"set\.npz: .*CRC"),
    "npz of other arrays": (in_npz(data=ZEROS), r"a\.npz: it holds data \(2, 8, 8\)"),
    "npz, no split": (arrays, "split 'test', expected images_test or x_test", {"split": "test"}),
    "npz of objects": (in_npz(images=np.array([{}])), r"a\.npz: Object arrays, .* store numbers by astype"),
    "npz, empty": (in_npz(images=ZEROS[:0]), r"a\.npz: .* with n at least 1"),
    "npz, real pixels": (in_npz(x=ZEROS + 7.5), r"images are integers; these are float64\. Store them as uint8"),
    "npz, pixels 0 … 1": (in_npz(x=ZEROS / 255 + [0.0, 1.0] * 4), r"from 0 to 1: store \(255 \* x\)\.round\(\)"),
    "npz, pixels −1 … 1": (in_npz(x=ZEROS / 255 + [-1.0, 1.0] * 4), r"from -1 to 1: store \(127\.5 \* \(x \+ 1\)\)"),
    "npz, black and white": (in_npz(x=ZEROS < 1), r"these are bool\. They go from 1 to 1: store \(255 \* x\)"),
    "npz, pixels NaN": (in_npz(x=ZEROS + np.nan), "these are float64, some of them NaN"),
    "npz, great pixels": (in_npz(x=ZEROS + np.int64(256)), "0 … 255; these go from 256 to 256"),
    "npz, pixels below zero": (in_npz(x=ZEROS - np.int64(1)), "these go from -1 to -1"),
    "npz, pixels in rows": (in_npz(x=ZEROS.reshape(2, 64)), r"these are \(2, 64\)"),
    "npz, two channels": (in_npz(x=ZEROS[:, None].repeat(2, 1)), "1 or 3 channels"),
    "npz, fewer labels": (in_npz(x=ZEROS, y=np.arange(1)), r"one label for each of 2 .* are \(1,\)"),
    "npz, no labels": (in_npz(x=ZEROS, y=np.arange(0)), r"one label for each of 2 .* are \(0,\)"),
    "npz, labels one-hot": (in_npz(x=ZEROS, y=np.eye(2, dtype=int)), r"one label for each of 2 .* are \(2, 2\)"),
    "npz, real labels": (in_npz(x=ZEROS, y=np.ones(2)), "labels are integers; these are float64"),
    "npz, labels below zero": (
        in_npz(x=ZEROS, y=np.array([0, -1])),
        "labels are integers 0 … 0; these go from -1 to 0",
    ),
    "npz, labels that are identifiers": (in_npz(x=ZEROS, y=np.array([0, 10**9])), "one is 1000000000"),
    "npz, another archive": (another_archive, r"a\.npz: it holds readme\.txt, which is no array"),
    "npz, vectors NaN": (in_npz(x=np.array([[0.0], [np.nan]])), r"a\.npz: row 1 of the events .* not finite"),
    "pack, corrupt": (in_npz(webp=ZEROS[0, 0], offsets=np.array([0, 8]), shape=np.array([2, 8, 8])), r"a\.npz: cannot"),
    "pack, no offsets": (in_npz(webp=ZEROS[0, 0]), r"a\.npz: .*offsets"),
    "pack, no splits": (pack, "split 'test'", {"split": "test"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_its_name(case, tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_DATA", str(tmp_path / "packs"))
    (tmp_path / "set").mkdir()
    if case.startswith(("parquet", "datasets")):
        pytest.importorskip("datasets", reason="the extra data is not installed")
    make, message, asked = (*REFUSED[case], {})[:3]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find(make(tmp_path / "set"), **asked)


def told(**contents):
    """What writes a tar of a.png, its caption and these members, `b_png` for b.png, and answers the set in it."""
    written = in_tar(**{"a_png": PNGS[0], "a_txt": b"ant", **contents})
    return lambda root: Captioned((str(written(root)),), Codes()).training(LARGER)


CAPTIONS_REFUSED = {
    "none": (told(b_png=PNGS[1]), r"a\.tar: the image b\.png has no caption; expected a member b\.txt or b\.json"),
    "not UTF-8": (told(a_txt="für".encode("latin1")), r"a\.tar, a\.txt holds no caption: UnicodeDecodeError"),
    "no JSON": (told(b_png=PNGS[1], b_json=b"{"), r"a\.tar, b\.json holds no caption: JSONDecodeError"),
    "no field": (told(b_png=PNGS[1], b_json=b"{}"), r"a\.tar, b\.json holds no caption: KeyError.* under 'caption'"),
    "a number": (told(b_png=PNGS[1], b_json=b'{"caption": 3}'), r"a\.tar, b\.json holds no caption: .*3 is no text"),
    "no text in UTF-8": (
        told(b_png=PNGS[1], b_json=b'{"caption": "\\ud800"}'),
        "b.json holds no caption: UnicodeEncode",
    ),
    "too long": (told(a_txt=b"x" * 21), r"a\.tar, a\.txt: x* is too long"),
    "no images": (
        lambda root: Captioned((str(in_tar(a_txt=b"ant")(root)),)).training(LARGER),
        r"no images in .*a\.tar",
    ),
    "no tar": (lambda root: Captioned((str(root / "*.tar"),)).training(LARGER), r"no tar .*\*\.tar"),
    "a folder without tars": (
        lambda root: Captioned((str(root),)).training(LARGER),
        r"the folder .* holds no \.tar, and no metadata",
    ),
    "damaged image": (lambda root: told(a_png=PNGS[0][:60])(root).fetch([0]), r"a\.tar, a\.png is not an image"),
    "damaged tar": (
        lambda root: Captioned((str(cut(tar, 2048)(root)),)).training(LARGER),
        r"set\.tar is not a complete",
    ),
}


@pytest.mark.parametrize("case", CAPTIONS_REFUSED)
def test_captions_that_cannot_be_read_are_refused_with_their_tar_and_key(case, tmp_path):
    make, message = CAPTIONS_REFUSED[case]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make(tmp_path)


def packed(**arrays):
    """What writes a pack of two images with these arrays, and answers the captioned set in it."""
    return lambda root: Captioned((str(write_npz(root / "a.npz", images=ZEROS, **arrays)),), Codes()).training(LARGER)


def noted(line):
    """What writes metadata.jsonl beside an image, and reads it."""

    def read(root):
        write_folder(root, {"a.png": PNGS[0], "metadata.jsonl": line})
        return read_metadata(root)

    return read


FILES_OF_CAPTIONS_REFUSED = {
    "no captions": (packed(), r"a\.npz: it holds images; expected caption too"),
    "fewer captions": (packed(caption=np.array(["a"])), r"a\.npz: 1 captions of 2 images"),
    "more captions": (packed(caption=np.array(["a", "b", "c"])), r"a\.npz: 3 captions of 2 images"),
    "numbers": (packed(caption=np.arange(2)), r"a\.npz: caption is a text for each image, \(n,\); this is int64"),
    "several for each": (packed(caption=np.full((2, 5), "a")), r"a\.npz: .* this is <U1 of \(2, 5\)"),
    "objects": (packed(caption=np.array(["a", "b"], object)), r"a\.npz: Object arrays"),
    "bytes that are no UTF-8": (packed(caption=np.array([b"\xff", b"b"])), r"a\.npz: .*utf-8"),
    "a line in Latin and UTF-8": (noted('{"é": 1}'.encode() + b"\xe9"), r"metadata\.jsonl: the file begins as utf-8"),
    "a long name": (noted(b'{"file_name": "%s", "text": "a"}' % (b"x" * 9999)), r"metadata\.jsonl, line 1: .*too long"),
    "a number for a name": (noted(b'{"file_name": 3, "text": "a"}'), r"metadata\.jsonl, line 1"),
    "no text in UTF-8": (noted(b'{"file_name": "a.png", "text": "\\ud800"}'), r"metadata\.jsonl, line 1: .*surrogates"),
}


@pytest.mark.parametrize("case", FILES_OF_CAPTIONS_REFUSED)
def test_captions_that_cannot_be_read_are_refused_with_their_file(case, tmp_path):
    make, message = FILES_OF_CAPTIONS_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_metadata_are_read_in_the_encodings_of_text(encoding, end, tmp_path):
    line = '{"file_name": "a.png", "text": "für\\nalle"}'
    assert noted(f"{line}{end}{end}{line}".encode(encoding))(tmp_path)[1] == ["für\nalle"] * 2


PAIR = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Images(PAIR[:0]), "n at least 1"),
        (lambda: Images(PAIR[0]), r"images have shape \(n, C, H, W\), .* these have \(1, 8, 8\)"),
        (lambda: Images(PAIR / 255), "pixels are integers 0 … 255; these are torch.float32"),
        (lambda: Images(PAIR.bool()), "these are torch.bool"),
        (lambda: Images(PAIR + 17, levels=17), "pixels are integers 0 … 16; these go from 17 to 17"),
        (lambda: Images(PAIR, torch.tensor([0, 2]), classes=2), "labels are integers 0 … 1; these go from 0 to 2"),
        (lambda: Images(PAIR, torch.tensor([0]), classes=2), r"one label for each of 2 images; the labels are \(1,\)"),
        (lambda: Images(PAIR, classes=2), "classes=2 needs labels"),
        (lambda: Images(PAIR, torch.tensor([0, 2])), "no number of classes: give classes="),
        (lambda: Arrays(torch.zeros(0, 2)), r"n at least 1; these have \(0, 2\)"),
        (lambda: Arrays(torch.zeros(3)), r"\(n, \*event\)"),
        (lambda: Arrays(torch.zeros(3, 2), torch.zeros(2)), r"each of 3 events; it is \(2,\)"),
        (lambda: Arrays(torch.zeros(3, 2), torch.tensor([0, 0, torch.inf])), "row 2 of the context"),
        (lambda: Arrays(torch.zeros(3, 2), {"v": np.array([[0], [0], [np.inf]])}), "row 2 of the v"),
        (lambda: Arrays(np.full((1, 1), 2**63, np.uint64)), "holds 9223372036854775808, which is beyond"),
        (lambda: digits("test").fetch(torch.ones(360, dtype=torch.bool)), "integer indices; .* torch.bool"),
        (lambda: Order(0), "at least one row; got n=0"),
        (lambda: Order(3)[:3], r"order\[start:stop\]"),
        (lambda: Order(3)[3:0], r"order\[start:stop\]"),
    ],
)
def test_values_that_cannot_be_used_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    for module, what in (("datasets", "hf:owner/name"), ("pyarrow", write(tmp_path / "a.parquet", b""))):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            ModuleNotFoundError, match=rf"needs the package {module}: pip install 'pushforward\[data\]'"
        ):
            find(what)


# ---- named sets


def test_digits_are_scikit_learn_s():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_digits()
    train, test = digits("train"), find("digits", "test")
    assert (len(train), len(test), train.image, train.levels, train.classes) == (1437, 360, (1, 8, 8), 17, 10)
    assert torch.equal(test.images[:, 0].double(), torch.from_numpy(theirs.images[::5]))
    assert torch.equal(test.labels, torch.from_numpy(theirs.target[::5]))
    assert len(torch.unique(torch.cat([train.images, test.images]), dim=0)) == 1797, "no image is in both splits"


MD5 = {  # of the files of the authors' own release, their headers before the pixels
    ("mnist", "test"): "2646ac647ad5339dbf082846283269ea",
    ("mnist", "train"): "6bbc9ace898e44ae57da46a324031adb",
    ("fashion_mnist", "train"): "f4a8712d7a061bf5bd6d2ca38dc4d50a",
}


@pytest.mark.parametrize(
    ("name", "split"), [*MD5, ("fashion_mnist", "test"), ("cifar10", "train"), ("cifar10", "test")]
)
def test_packs_are_the_published_images(name, split):
    try:
        data = find(name, split)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    assert (data.image, data.levels, data.classes) == ((3, 32, 32) if name == "cifar10" else (1, 28, 28), 256, 10)
    assert (len(data.labels.bincount()), len(data) % 10_000) == (10, 0)
    if (name, split) in MD5:
        assert (
            md5(struct.pack(">4i", 2051, len(data), 28, 28) + data.images.numpy().tobytes()).hexdigest()
            == MD5[name, split]
        )


def test_packs_lie_in_the_folder_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_DATA", str(tmp_path))
    grey, labels = IMAGES[:, :1], LABELS.numpy()
    write_pack(tmp_path / "mnist_test.npz", grey, strip=6)
    assert torch.equal(find("mnist", "test").images, grey)
    assert find("mnist", "test").classes == 0
    for shard in (0, 1):
        write_pack(tmp_path / f"cifar10_train{shard}.npz", IMAGES[3 * shard :][:3], labels=labels[3 * shard :][:3])
    data = find("cifar10")
    assert torch.equal(data.images, IMAGES)
    assert torch.equal(data.labels, LABELS)


PACKS = {
    "clips": ClipSource("none", frames=2),
    "sprites": Sprites("none"),
    "captions": Captioned(("none",)),
    "attributes": Attributed(("none",), ("red",), mirrored=True),
}


@pytest.mark.parametrize("source", PACKS.values(), ids=PACKS)
def test_a_source_is_the_same_at_another_place(source):
    moved = source.at("elsewhere")
    assert (str(moved), moved.at("none")) == ("elsewhere", source)


@pytest.mark.parametrize("given", ["", "packs"], ids=["no folder", "a folder"])
@pytest.mark.parametrize("source", PACKS.values(), ids=PACKS)
def test_a_pack_that_is_missing_is_refused_with_the_variable(source, given, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_DATA", given)
    with pytest.raises(FileNotFoundError, match=rf"no .*{given or 'shared/data'}/none\.npz. Set PUSHFORWARD_DATA"):
        source.training(Takes((3, 8, 8), levels=256))


def test_captions_and_keywords_name_attributes(tmp_path):
    captions = [f"{colour} {thing}" for thing in "abcdefghij" for colour in ("red", "blue:")]
    images = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4) * 12
    keywords = ["fruit|red apple"] * 5 + ["car"] * 15
    file = write_pack(tmp_path / "set.npz", images, caption=np.array(captions), keywords=np.array(keywords))
    source, takes = Attributed((str(file),), ("red", "fruit", "apple"), mirrored=True), Takes((3, 4, 4), levels=32)
    training, held_out = source.training(takes), source.held_out(takes)
    assert (len(training), len(held_out)) == (2 * source.has(held_out=False).shape[0], len(source.has(held_out=True)))
    has = {}
    for part in (False, True):
        shades = source.images(takes, held_out=part).images[:, 0, 0, 0]
        has |= dict(zip(shades.tolist(), source.has(held_out=part).tolist(), strict=True))
    assert has == {12 * i // 8: [i % 2 == 0, i < 5, False] for i in range(20)}, "colours have 32 levels"
    with pytest.raises(ValueError, match="holds images of 256 levels; the model takes .*, the codec 0 levels"):
        source.training(Takes((3,)))


# ---- order


def test_the_order_is_a_function_of_seed_epoch_and_position():
    n, whole = 7, Order(7, seed=3)[0:70]
    for epoch, rows in enumerate(whole.split(n)):
        assert torch.equal(rows, torch.randperm(n, generator=keyed(3, epoch)))
    order = Order(n, seed=3)
    for start, stop in ((69, 70), (0, 1), (5, 9), (6, 36), (20, 20), (13, 15)):  # back and forth, over epochs
        assert torch.equal(order[start:stop], whole[start:stop])
    assert not torch.equal(Order(n, seed=4)[0:70], whole)
