"""The files that a forge and contributors' tools read: they parse, and they call what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")), ids=lambda path: path.stem)
def test_the_forms_have_what_a_forge_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
