"""What the pages of the site tell a reader to run does run, and the names they give exist."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
PAGES = sorted([*DOCS.glob("*.md"), *TUTORIALS])


def cells(page: Path) -> list[str]:
    """The code that is executed when the site is built."""
    return re.findall(r"```\{code-cell\} python\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_tutorial_runs(page, monkeypatch):
    """As the main module, as in a notebook, and in few steps of training: the site's own build runs all of them."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("agg")
    monkeypatch.chdir(page.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, shortened = re.subn(r"steps=\d{3,}", "steps=2", "\n".join(cells(page)))
    assert shortened
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    with matplotlib.rc_context():
        exec(compile(code, f"<cells of {page.name}>", "exec"), vars(module))
    matplotlib.pyplot.close("all")


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page ends with."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists() or link.startswith("api/"), link
        assert not heading or heading in anchors(there), link


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.stem)
def test_the_files_that_a_page_names_exist(page):
    text = re.sub(r"\bbenchmarks\.(\w+)(?!\S*\()", r"benchmarks/\1", page.read_text())
    for name in set(re.findall(r"\b(?:benchmarks|tests)/[\w/.]*\w", text)):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


@pytest.fixture
def conf(monkeypatch):
    """The site's configuration, whose import changes the environment and the path of modules."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(os, "environ", {**os.environ})
    return runpy.run_path(str(DOCS / "conf.py"))


def test_the_reference_has_every_public_name_once(conf):
    for library in ("pyro", "sklearn"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    on_pages, offered = Counter(), set()
    for room in conf["all_rooms"]():
        names = re.findall(rf"auto(?:class|function):: {room.__name__}\.(\w+)", "\n".join(conf["reference"](room)))
        on_pages.update(getattr(room, name) for name in names)
        offered |= {value for value in conf["public"](room).values() if isinstance(value, (type, FunctionType))}
    assert on_pages == Counter(offered)
    assert all(value.__doc__ for value in offered)


def named(word: str) -> object:
    """What a dotted name stands for."""
    path = word.split(".")
    for i in range(len(path), 0, -1):
        try:
            thing = importlib.import_module(".".join(path[:i]))
        except ModuleNotFoundError:
            continue
        for name in path[i:]:
            thing = getattr(thing, name)
        return thing
    raise ModuleNotFoundError(word)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_the_names_that_pages_give_exist(page):
    for word in set(re.findall(r"\b(?:pf|pushforward)(?:\.\w+)+", page.read_text())):
        named(re.sub(r"^pf\b", "pushforward", word))


@pytest.mark.filterwarnings("ignore")  # of other libraries, at import
@pytest.mark.parametrize("library", ["nflows", "zuko", "normflows"])
def test_the_names_of_other_libraries_exist(library):
    """Every name in `coming_from.md` that begins with a library's."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    words = set(re.findall(rf"`({library}\.[\w.]+)", (DOCS / "coming_from.md").read_text()))
    assert len(words) > 10
    for word in words:
        named(word)
