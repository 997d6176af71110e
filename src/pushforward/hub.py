"""Releases: a run's recipe, weights and card, in a folder, on the Hugging Face hub, or in the package."""

import shutil
from os import PathLike
from pathlib import Path

from pushforward.flow import Flow
from pushforward.optional import require
from pushforward.runs.folder import CARD, PRETRAINED, RECIPE, folder_of, load, read_recipe
from pushforward.training.checkpoint import CODEC, WEIGHTS

RELEASED = (RECIPE, WEIGHTS, CARD, CODEC)


def pretrained(name: str, *, device: str = "cpu") -> Flow:
    """A flow whose weights come with the package: "digits", a TarFlow of images, or "moons", an NSF of two features.

    Their model cards stand beside the weights. Commands take them as runs: `pushforward sample pretrained:digits`.

    >>> pretrained("moons").sample(4).shape
    torch.Size([4, 2])
    """
    return load(f"{PRETRAINED}{name}", device=device)


def save_pretrained(run: str | PathLike[str], folder: str | PathLike[str]) -> None:
    """Copy the release of a run into a folder: recipe, weights and model card.

    Raises ValueError where the folder is the run's, FileNotFoundError where the run has no weights or no card yet.
    """
    read_recipe(run)
    place, folder = folder_of(run), Path(folder)
    if folder.resolve() == place.resolve():
        raise ValueError(f"{folder} is the run itself, which has its release already. Give another folder.")
    release = [name for name in RELEASED if name != CODEC or (place / name).exists()]  # most codecs have no weights
    if lacking := [name for name in release if not (place / name).exists()]:
        raise FileNotFoundError(f"{run} has no {lacking[0]}: its training has not ended. Continue it first.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in release:
        shutil.copyfile(place / name, folder / name)


def from_pretrained(name: str | PathLike[str], *, revision: str | None = None, device: str = "cpu") -> Flow:
    """The flow of a release: a folder, or "owner/name" on the Hugging Face hub, downloaded once and cached."""
    if Path(name).is_dir():
        return load(name, device=device)
    return load(
        require("huggingface_hub", "hub").snapshot_download(
            str(name), revision=revision, allow_patterns=list(RELEASED)
        ),
        device=device,
    )


def push_to_hub(run: str | PathLike[str], name: str, *, private: bool = False) -> str:
    """Upload a run's release as "owner/name", and return its URL. Needs a token: `hf auth login`."""
    read_recipe(run)
    hub = require("huggingface_hub", "hub").HfApi()
    hub.create_repo(name, private=private, exist_ok=True)
    return str(hub.upload_folder(repo_id=name, folder_path=str(folder_of(run)), allow_patterns=list(RELEASED)))
