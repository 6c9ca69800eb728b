# make caption              captions the sample photographs (or: make caption PHOTOS=~/Pictures)
# make demo                 opens the web page (or: make demo OPTIONS="--port 8000")
# make quick                formatting, lint, types and the fast tests, in about a minute
# make test                 formatting, lint, types and the tests that belong to every change
# make docs                 docs/cli.md, from the commands
# make test-long            all tests, also those that are worth their time before a release only
PYTHON ?= python3
PHOTOS ?=
OPTIONS ?= --browser
# Processes that run tests side by side, a file of tests each.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: caption demo quick test test-long lint format docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than pyproject.toml when the environment holds what it asks for.
$(VENV)/.caption: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[samples]"
	@touch $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[demo,samples]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

caption: $(VENV)/.caption
	$(BIN)/captioner caption $(if $(PHOTOS),$(PHOTOS),--samples)

demo: $(VENV)/.demo
	$(BIN)/captioner demo $(OPTIONS)

lint: $(VENV)/.test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m tests.page.lint_scripts

quick: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not long"

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-long: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m ""

format: $(VENV)/.test
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.test
	$(BIN)/python -m typer captioner.cli utils docs --name captioner --output docs/cli.md

clean:
	rm -rf $(VENV) build dist *.egg-info
