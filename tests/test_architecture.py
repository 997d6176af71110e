"""The house: layers that point one way, files of a readable size, and a case for every transform."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from itertools import takewhile
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
    {"arrays", "computed", "fields", "plain", "recording", "statistics"},
    {"shapes", "files", "version", "optional", "migrations", "named"},
    {"kernels", "conditions"},
    {"randomness", "infinities"},
    {"moves", "transform", "capture", "initialization"},
    {"networks"},
    {"solve", "bases"},
    {"transforms"},
    {"classification", "diagnostics", "distribution", "guidance", "denoising", "streaming"},
    {"flow"},
    {"codecs", "importance", "graphed", "learned_inverse"},
    {"data"},
    {"document_flow"},
    {"objectives"},
    {"models", "sampling"},
    {"training", "evaluation", "editing", "rows"},
    {"recipe", "fitting"},
    {"recipes", "interop"},
    {"runs"},
    {"hub", "demo", "compression", "explore"},
    {"cli"},
]
FLOOR = {room: i for i, layer in enumerate(LAYERS) for room in layer}


NAMES = {
    ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}


def room(name: str) -> str:
    """The room of a module, pushforward.ROOM.…"""
    return (*name.split("."), "__init__")[1]


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, in functions and for the type checker too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & NAMES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_layers_point_one_way(name):
    if room(name) in ("__init__", "__main__"):
        return
    for there in {room(other) for other in imported(NAMES[name])} - {room(name)}:
        assert FLOOR[there] < FLOOR[room(name)], f"{name} must not import {there}"


def test_no_import_goes_round_in_a_circle():
    """Inside rooms too, where files import each other and not their room."""
    graph = {(name, other) for name, file in NAMES.items() if room(name) != "__init__" for other in imported(file)}
    while ends := {a for a, _ in graph} ^ {b for _, b in graph}:
        graph = {edge for edge in graph if not ends & set(edge)}  # what imports nothing or is imported by nobody
    assert not graph, "circles: " + ", ".join(f"{a} -> {b}" for a, b in sorted(graph))


def test_the_picture_of_the_house_has_these_layers():
    picture = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text().split("```")[1]
    rows = [set(takewhile(FLOOR.__contains__, line.split())) for line in picture.splitlines()]
    assert [row for row in rows if row] == LAYERS[::-1]


def test_a_flow_knows_no_family_no_network_and_no_solver():
    rooms = {room(name) for name in imported(SOURCE / "flow.py")}
    assert not rooms & {"moves", "networks", "solve", "transforms", "models", "kernels"}


OWNERS = ("self", "flow")  # a function of a flow is one of its methods


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_functions_and_signatures_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = node.args.args + node.args.kwonlyargs
            assert node.end_lineno - node.lineno < 60, node.name
            assert len([a for a in arguments if a.arg not in OWNERS]) <= 7, node.name


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
    """In a process of its own: torch's global state, and which packages come along. Models that are built on the meta
    device need no compiler of torch, 72 MB and a second, which a command that asks what a recipe takes need not pay."""
    script = """
import sys, torch
before = torch.get_default_dtype(), torch.get_num_threads(), torch.distributions.Distribution._validate_args
loaded = set(sys.modules)
import pushforward
assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.distributions.Distribution._validate_args)
new = {name.split(".")[0] for name in set(sys.modules) - loaded}
optional = "constriction rich tyro PIL sklearn lampe pyro zuko sbi safetensors matplotlib scipy pyarrow datasets av"
print(sorted(new & set(optional.split())))
from tests.test_models import FIRST
with torch.device("meta"):
    for model in FIRST.values():
        model.build()
print(sorted({"torch._dynamo", "torch._inductor"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n") == ["[]", "[]", ""]
