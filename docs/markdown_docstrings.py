"""A Sphinx extension: docstrings are Markdown. Indented lines are formulas, `>>>` begins an example."""

from __future__ import annotations

import textwrap

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.docutils import SphinxDirective


class Markdown(SphinxDirective):
    """A block of Markdown in a page of reStructuredText, as autodoc writes it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        document = new_document(self.env.docname, self.state.document.settings)
        document.reporter = self.state.document.reporter
        MystParser().parse("\n".join(self.content), document)
        return document.children


def to_markdown(_app, _kind: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Put a docstring into the directive, its examples fenced."""
    fenced: list[str] = []
    example = False
    for line in [*lines, ""]:
        if line.startswith(">>> ") and not example:
            example = True
            fenced += ["", "```pycon"]
        elif not line.strip() and example:
            example = False
            fenced.append("```")
        fenced.append(line)
    text = "\n".join(fenced).strip()
    lines[:] = [".. markdown::", "", *textwrap.indent(text, "   ").splitlines(), ""] if text else []


def setup(app) -> dict[str, bool]:
    app.add_directive("markdown", Markdown)
    app.connect("autodoc-process-docstring", to_markdown)
    return {"parallel_read_safe": True}
