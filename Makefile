# One environment outside the clone, made once and used again: set VENV to move it.
VENV ?= $(HOME)/.cache/dinotxt/venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.dinotxt-setup
KEY := $(shell sha256sum pyproject.toml | cut -c1-16)
RUN := PYTHONPATH=$(CURDIR)/src $(BIN)
OUT ?= demo-output

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs lint format types contracts

help:  ## Show this help.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup:  ## Make the environment and install dinotxt in it (done once).
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@read -r clone key 2>/dev/null < $(STAMP); \
	if [ "$$key" != "$(KEY)" ] || [ ! -e "$$clone/pyproject.toml" ]; then \
	  echo "Installing dinotxt into $(VENV) (minutes the first time)" && \
	  $(BIN)/pip install --quiet --upgrade pip && \
	  $(BIN)/pip install --quiet -e ".[dev]" && \
	  echo "$(CURDIR) $(KEY)" > $(STAMP); \
	elif [ "$$clone" != "$(CURDIR)" ]; then \
	  echo "make runs this clone; $(BIN)/dinotxt runs $$clone (make setup VENV=FOLDER keeps them apart)"; \
	fi

demo: setup  ## Classify, search and segment sample pictures with the lite model.
	$(RUN)/python examples/demo.py --out $(OUT)

test: setup  ## Run the tests that finish within minutes.
	$(RUN)/python -m pytest -q

test-all: setup  ## Run every test, the slow ones too.
	$(RUN)/python -m pytest -q -m "not network and not gpu" --hypothesis-profile=random

check: lint types contracts  ## Lint, format, types and import contracts.

docs: setup  ## Build the documentation in site/, strictly.
	$(BIN)/mkdocs build --strict --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src docs examples benchmarks README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/deptry src

types: setup
	$(RUN)/mypy

contracts: setup
	$(RUN)/lint-imports

format: setup  ## Format the code and mend what the linter can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
