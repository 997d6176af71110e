"""The files that a forge and contributors' tools read: they parse, and they call what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pushforward

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob(".*.yaml"), *ROOT.glob(".github/**/*.yml")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_parses(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_workflow_runs_the_suite_on_old_and_new():
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    assert any(step.get("run", "").startswith("make test CONSTRAINTS=") for step in job["steps"])
    matrix = job["strategy"]["matrix"]
    assert "CONSTRAINTS ?=" in (ROOT / "Makefile").read_text()
    oldest = f'"torch>={matrix["torch"][0].removeprefix("torch==").removesuffix(".0")}"'
    assert oldest in (ROOT / "pyproject.toml").read_text(), "the oldest torch tested is the oldest allowed"
    assert f'requires-python = ">={matrix["python"][0]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_hooks_are_the_lint_of_the_makefile():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert [hook["entry"].replace(".venv/bin", "$(BIN)") for hook in hooks] == [
        line.strip().removesuffix(" --check") for line in lint.splitlines()[1:]
    ]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pushforward.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_extras_that_pages_and_errors_name_exist():
    project = (ROOT / "pyproject.toml").read_text()
    extras = set(re.findall(r"^(\w+) = \[", project.partition("optional-dependencies]")[2], flags=re.MULTILINE))
    pages = [
        project,
        *(path.read_text() for where in ("*.md", "docs/**/*.md", "src/**/*.py") for path in ROOT.glob(where)),
    ]
    named = {
        extra for page in pages for some in re.findall(r"pushforward\[([\w,]+)\]", page) for extra in some.split(",")
    }
    required = {extra for page in pages for extra in re.findall(r'require\([\w".]+, "(\w+)"\)', page)}
    assert len(named) > 10
    assert len(required) > 10
    assert named | required <= extras


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")), ids=lambda path: path.stem)
def test_the_forms_have_what_a_forge_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
