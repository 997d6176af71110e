"""The site: `make docs`. Tutorials are executed, the API reference is made of the docstrings, nothing is fetched."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "src"), str(DOCS)]
os.environ["PYTHONPATH"] = str(DOCS.parent / "src")  # of the processes that execute the pages
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small flows are no faster on more, and the numbers are those of one

import pushforward  # noqa: E402

project = "Pushforward"
author = copyright = "The Pushforward developers"  # noqa: A001 - Sphinx's name
release = version = pushforward.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "markdown_docstrings"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Pushforward"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = html_copy_source = False

myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links to files of the repository, which GitHub follows
    "ref.python",  # names in signatures that two rooms have, such as Coupling
]
nb_execution_mode = "force"
nb_execution_timeout = 1800  # seconds a cell, on a busy machine
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # the progress of training; in the tests of the pages a warning is an error
nb_ipywidgets_js = {}  # no page has widgets, and these come from elsewhere

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
aliases = (
    "Context",
    "Events",
    "Given",
    "PerSample",
    "Solver",
    "Tokens",
)  # kept in signatures: they say more than Tensor
autodoc_type_aliases = {name: name for name in aliases}


def public(module: ModuleType) -> dict[str, object]:
    """What a module offers: what it lists, or else the classes and functions that it defines."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__ if not name.startswith("_")}
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in own.items() if getattr(value, "__module__", None) == module.__name__}


def rooms(module: ModuleType) -> Iterator[ModuleType]:
    """The module, and the modules that it offers."""
    yield module
    for value in public(module).values():
        if inspect.ismodule(value):
            yield from rooms(value)


def all_rooms() -> list[ModuleType]:
    """Those that `pushforward` offers, and others that pages name."""
    others = ("denoising", "diagnostics", "explore", "guidance", "sampling", "shapes", "transform")
    return [*rooms(pushforward), *(importlib.import_module(f"pushforward.{name}") for name in others)]


def definitions(room: ModuleType) -> dict[str, object]:
    """The classes and functions that a room offers and that are written in it, and its other values."""
    found = {}
    for name, value in public(room).items():
        defined = inspect.isclass(value) or inspect.isfunction(value)
        if not inspect.ismodule(value) and (not defined or value.__module__.startswith(room.__name__)):
            found[name] = value
    return found


def homes() -> dict[int, str]:
    """For each class and function, by its id, the innermost room that offers it."""
    by_depth = sorted(all_rooms(), key=lambda room: room.__name__.count("."))
    return {id(value): room.__name__ for room in by_depth for value in definitions(room).values() if callable(value)}


def reference(room: ModuleType) -> Iterator[str]:
    """The page of a room: what it says of itself, then file after file what the file says and holds.

    A class or a function stands on the page of one room, and other rooms that offer it link there.
    """
    files: dict[str, list[str]] = {room.__name__: []}
    linked, home = [], homes()
    for name, value in definitions(room).items():
        there = home.get(id(value), room.__name__)
        if there != room.__name__:
            linked.append(f"{{py:obj}}`~{there}.{name}`")
            continue
        kind = "class" if inspect.isclass(value) else "function" if inspect.isfunction(value) else "data"
        entry = f".. auto{kind}:: {room.__name__}.{name}\n"
        entry += "   :members:\n   :show-inheritance:\n" if kind == "class" else ""
        files.setdefault(room.__name__ if kind == "data" else value.__module__, []).append(entry)
    yield f"# {room.__name__}\n\n```{{eval-rst}}\n.. automodule:: {room.__name__}\n```\n"
    if linked:
        yield f"Offered here too: {', '.join(linked)}.\n"
    for file, entries in files.items():
        said = "" if file == room.__name__ else f".. automodule:: {file}\n   :no-index:\n"
        heading = "" if file == room.__name__ else f"## {file.removeprefix('pushforward.')}\n"
        yield "\n".join([heading, "```{eval-rst}", said, *entries, "```\n"])


def write_reference(_app) -> None:
    """A page for each room, into docs/api, and one that lists them."""
    folder = DOCS / "api"
    folder.mkdir(exist_ok=True)
    pages = {room.__name__: "\n".join(reference(room)) for room in all_rooms()}
    pages["index"] = "\n".join(["# Reference", "", "```{toctree}", ":maxdepth: 2", "", *pages, "```", ""])
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)


def readable(_app, _kind, _name, _thing, _options, signature, returned):
    """Aliases by their names; and no arguments for a class that has none but those of torch's modules."""
    bare = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    signature, returned = (text and bare.sub(r"\1", text) for text in (signature, returned))
    nothing = re.fullmatch(r"\(\*args: \S*Any, \*\*kwargs: \S*Any\)", signature or "")
    return ("", returned) if nothing else (signature, returned)


def skip_what_others_wrote(_app, _kind, _name, thing, _skip, _options) -> bool | None:
    """Leave out the methods that another library adds to a class of ours, with docstrings in another markup."""
    return True if inspect.isfunction(thing) and not thing.__module__.startswith("pushforward") else None


def refuse_what_is_fetched(app, exception) -> None:
    """A page must be complete: no script, style, font or picture of another site."""
    if exception is not None or app.builder.name != "html":
        return
    outside = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//[^>]*>"""
        r"""|<link[^>]*rel=["']?(?:stylesheet|preload|preconnect)[^>]*href=["']?(?:https?:)?//[^>]*>"""
        r"""|(?:url\(|@import\s)["']?(?:https?:)?//[^)\s]*"""
    )
    for page in [*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]:
        for tag in outside.findall(page.read_text()):
            raise RuntimeError(f"{page.relative_to(app.outdir)} fetches {tag}")


def setup(app) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-signature", readable)
    app.connect("autodoc-skip-member", skip_what_others_wrote)
    app.connect("build-finished", refuse_what_is_fetched)
