"""The house: layers that point one way, files of a readable size, and a case for every transform."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pushforward
from pushforward.transform import Transform, Triangular
from pushforward.transforms import Rearrangement
from tests.laws.cases import CASES

SOURCE = Path(pushforward.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# who may import whom: a room imports from rooms higher on this list, which are lower in the house
LAYERS = [
    {"shapes", "conditions", "randomness", "files", "version", "optional"},
    {"kernels"},
    {"moves", "transform"},
    {"networks"},
    {"solve", "bases"},
    {"transforms"},
    {"diagnostics", "guidance"},
    {"flow"},
    {"codecs", "importance"},
    {"models", "data"},
    {"training", "evaluation", "editing", "interop"},
    {"recipe", "fitting"},
    {"recipes", "card"},
    {"run"},
    {"hub", "demo"},
    {"cli"},
]
FLOOR = {room: i for i, layer in enumerate(LAYERS) for room in layer}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pushforward."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "pushforward":
            rooms |= {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("pushforward.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_layers_point_one_way(path):
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for there in imported(path) - {here}:
        assert FLOOR[there] < FLOOR[here], f"{here} must not import {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_functions_and_signatures_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args.args + node.args.kwonlyargs
            assert node.end_lineno - node.lineno < 60, node.name
            assert len([a for a in arguments if a.arg != "self"]) <= 7, node.name


def concrete(kind: type) -> set[type]:
    found = set()
    for sub in kind.__subclasses__():
        found |= concrete(sub) | ({sub} if not inspect.isabstract(sub) else set())
    return {sub for sub in found if sub.__module__.startswith("pushforward.")}


def test_every_transform_has_a_case():
    in_cases = {type(part) for case in CASES.values() for part in case.make().modules()}
    assert concrete(Transform) - in_cases == set()


def test_classes_are_abstract_or_final():
    for kind in concrete(Transform):
        assert not concrete(kind), f"{kind.__name__} is concrete and has subclasses"
    assert inspect.isabstract(Triangular)
    assert inspect.isabstract(Rearrangement)


def test_importing_changes_nothing_and_needs_nothing_optional():
    """In a process of its own: torch's global state, and which packages come along."""
    script = """
import sys, torch
before = torch.get_default_dtype(), torch.get_num_threads(), torch.distributions.Distribution._validate_args
loaded = set(sys.modules)
import pushforward
assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.distributions.Distribution._validate_args)
new = {name.split(".")[0] for name in set(sys.modules) - loaded}
optional = "rich tyro PIL sklearn lampe pyro zuko sbi safetensors matplotlib scipy pyarrow datasets"
print(sorted(new & set(optional.split())))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
