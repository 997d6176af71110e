"""The data of a run: a file data.json says what it learned, so that other data are not taken for the same.

It holds the fingerprint of the training data, the place where they were found, and the names of their classes. The same
data at another place are the same: paths of a recipe may change.
"""

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Any

from pushforward.data import Augmented, Captioned, Data, Images, ImageSource, Source
from pushforward.data.catalogue import NAMED
from pushforward.recipe import Recipe
from pushforward.runs.folder import folder_of, read_json, read_recipe

NOTE = "data.json"
Note = Mapping[str, Any]  # what it holds


def read_note(run: str | PathLike[str]) -> Note:
    """What the run knows of its data; empty where it was made by an older version."""
    return read_json(folder_of(run) / NOTE)


def note_of(recipe: Recipe, data: Data) -> Note:
    """What a run notes of the data that its recipe reads, before a codec or an objective prepares them: what networks
    compute of them is not the same to the bit on every processor."""
    images, path = data, _path(recipe.data)
    while isinstance(images, Augmented):
        images = images.images
    return {
        "fingerprint": data.fingerprint(),
        "rows": len(data),
        "path": str(path.resolve()) if path and path.exists() else None,
        "classes": list(images.names) if isinstance(images, Images) else [],
    }


def check_learned(run: str | PathLike[str], recipe: Recipe, found: Note) -> None:
    """Raise ValueError where data of this note are not those that the run learned."""
    known, rows = read_note(run), found["rows"]
    if known.get("fingerprint", found["fingerprint"]) != found["fingerprint"]:
        told = f"{rows:,} rows in place of {known['rows']:,}" if rows != known["rows"] else "other values in its rows"
        raise ValueError(
            f"the data in {recipe.data} are not those that {run} was begun with: there are {told}. Restore them, or "
            "give another folder to train, and --data to evaluate."
        )


def check_unchanged(run: str | PathLike[str], recipe: Recipe) -> None:
    """Raise ValueError where the training data of the recipe are no longer those that the run learned."""
    if "fingerprint" in read_note(run):
        check_learned(run, recipe, note_of(recipe, recipe.training_data()))


def check_apart(out: Path, run: str | PathLike[str], *read: str | PathLike[str]) -> None:
    """Raise ValueError where a file that would be written is one that the run learned, or that is read."""
    for each in (_path(recipe_of(run).data), *map(Path, read)):
        if each and each.exists() and out.exists() and out.samefile(each):
            raise ValueError(f"{out} holds data that are read, and would be written over. Give another name.")


def recipe_of(run: str | PathLike[str]) -> Recipe:
    """The recipe of a run. A relative path that leads nowhere from here is one in the run, or where the data were."""
    recipe, known = read_recipe(run), read_note(run).get("path")
    path = _path(recipe.data)
    if not path or not path.name or path.exists():
        return recipe
    for place in (folder_of(run) / path, *([Path(known)] if known else [])):
        if place.exists():
            return replace(recipe, data=recipe.data.at(str(place)))
    return recipe


def _path(source: Source) -> Path | None:
    """What a source tells as a path, whether or not anything is there; None for sets by name, for several packs, and
    where it has no place."""
    told = attrgetter(source.place)(source) if source.place else None
    if isinstance(told, tuple) and len(told) == 1:
        told = told[0]
    return Path(told) if isinstance(told, str) and told not in NAMED else None


def class_names(run: str | PathLike[str], classes: int) -> tuple[str, ...]:
    """The names of so many classes of a run, or their numbers where they have no names."""
    names = read_note(run).get("classes", ())
    return tuple(names) if len(names) == classes else tuple(map(str, range(classes)))


def class_number(run: str | PathLike[str], label: int | str | None) -> int | None:
    """The number of a class that is given by its name. Raises ValueError where the run has no class of this name."""
    if not isinstance(label, str):
        return label
    names = read_note(run).get("classes", [])
    if label not in names:
        known = f"its classes are {', '.join(names)}" if names else "its classes have numbers alone"
        raise ValueError(f"{run} has no class {label!r}; {known}.")
    return names.index(label)


def image_data(run: str | PathLike[str], place: str | None = None) -> Data:
    """The images of `images_of`; of a run on captions those that are held out, with their captions."""
    source = recipe_of(run).data
    if not isinstance(source, Captioned):
        return images_of(run, place)
    return (source if place is None else source.at(place)).held_out(recipe_of(run).takes())


def images_of(run: str | PathLike[str], place: str | None = None) -> Images:
    """The held-out images of a run, or those of another name or path, labelled by the run's classes.

    Raises ValueError where there are none.
    """
    recipe = recipe_of(run)
    if place is None or not isinstance(recipe.data, ImageSource):
        return recipe.images(place)
    return recipe.images(place, read_note(run).get("classes", ()))
