"""What the pages of the site tell a reader to run does run, and the names they give exist."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
PAGES = sorted([*DOCS.glob("*.md"), *TUTORIALS])


def cells(page: Path) -> list[str]:
    """The code that is executed when the site is built."""
    return re.findall(r"```\{code-cell\} python\n(?::[^\n]*\n)*(.*?)```", page.read_text(), flags=re.DOTALL)


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists() or link.startswith("api/"), link


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


@pytest.mark.filterwarnings("ignore")  # of other libraries, at import
@pytest.mark.parametrize("library", ["pf", "nflows", "zuko", "normflows"])
def test_the_names_of_other_libraries_and_ours_exist(library):
    """Every name in `coming_from.md` that begins with a library's."""
    if library != "pf":
        pytest.importorskip(library, reason=f"{library} is not installed")
    words = set(re.findall(rf"`({library}\.[\w.]+)", (DOCS / "coming_from.md").read_text()))
    assert len(words) > 10
    for word in words:
        named(re.sub(r"^pf\b", "pushforward", word))
