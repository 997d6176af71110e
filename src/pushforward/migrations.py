"""Reads what older versions saved: recipes by their format, weights by their names."""

import re
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

FORMAT = 4  # of a saved recipe: raised when what it holds changes
OTHER_NOISE = (
    2  # up to this format each row of a step had a generator: its noise was other than that of the same keys now
)

OLD_NAMES = (  # of weights: a pattern, and what replaces it
    (r"\bproject\b", "context_encoder"),
    (r"\bmeasured$", "initialized"),
    (r"\bpositions\b(?!\.weight)", "positions.weight"),
    (r"^((?:optimiser\.)?)lift\.", r"\1codec."),
)
NEW_NAMES = ("best.start", "codec_average.")  # how names begin of tensors that older checkpoints do not have
OLD_FILES = {"codec.safetensors": "lift.safetensors"}
OLD_KINDS = {
    "Uniform": "UniformDequantization",
    "Gaussian": "GaussianNoise",
    "Dequantised": "ColumnDequantization",
}


def with_sources(recipe: dict[str, Any]) -> dict[str, Any]:
    """Format 1 -> 2: there data were a name, and the objective had none."""
    recipe = _in_new_kinds(recipe)
    columns, context = recipe.pop("columns", []), recipe.pop("given", [])
    data, mirrored = recipe.pop("data"), recipe.pop("mirrored", False)
    if columns:
        source = {"kind": "TableSource", "path": data, "columns": columns, "context": context}
    else:
        source = {"kind": "ImageSource", "name": data, "mirrored": mirrored}
    objective = {"kind": "MaximumLikelihood", "condition_dropout": recipe.pop("drop", 0.0)}
    codec = recipe.pop("lift")
    return {**recipe, "data": source, "codec": codec, "objective": objective}


def with_transforms(recipe: dict[str, Any]) -> dict[str, Any]:
    """Format 2 -> 3: there a model's number of transforms was named like the steps of training."""
    model = {"transforms" if name == "steps" else name: value for name, value in recipe["model"].items()}
    return {**recipe, "model": model}


def without_regression(recipe: dict[str, Any]) -> dict[str, Any]:
    """Format 3 -> 4: there an NSF had no regression."""
    model = recipe["model"]
    return {**recipe, "model": {**model, "regression": False} if model.get("kind") == "NSF" else model}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {  # format -> to the next format
    1: with_sources,
    2: with_transforms,
    3: without_regression,
}


def migrated(recipe: dict[str, Any], form: int) -> tuple[dict[str, Any], int]:
    """A recipe converted to the newest format possible, and that format."""
    while form in MIGRATIONS:
        recipe, form = MIGRATIONS[form](recipe), form + 1
    return recipe, form


def renamed(names: Iterable[str], known: Container[str]) -> dict[str, str]:
    """Saved names of weights -> present names. A name in `known` stays as it is.

    >>> renamed(["read.weight", "net.project.table"], {"read.weight"})
    {'read.weight': 'read.weight', 'net.project.table': 'net.context_encoder.table'}
    """
    return {name: name if name in known else _renamed(name) for name in names}


def existing(path: Path) -> Path:
    """The path, or the older name of that file where only that exists."""
    old = path.with_name(OLD_FILES.get(path.name, path.name))
    return old if old.exists() and not path.exists() else path


def _renamed(name: str) -> str:
    for pattern, new in OLD_NAMES:
        name = re.sub(pattern, new, name)
    return name


def _in_new_kinds(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_new_kinds(v) for v in value]
    if not isinstance(value, dict):
        return value
    value = {name: _in_new_kinds(v) for name, v in value.items()}
    if value.get("kind") == "Coarse" and "lift" in value:
        value["coarse"] = value.pop("lift")
    return {**value, "kind": OLD_KINDS.get(value["kind"], value["kind"])} if "kind" in value else value
