# One environment outside the clone, made once and used again: set VENV to move it.
VENV ?= $(HOME)/.cache/dinotxt/venv
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version))) python3)
BIN := $(VENV)/bin
STAMP := $(VENV)/.dinotxt-setup
KEY := $(shell cat pyproject.toml requirements.lock | sha256sum | cut -c1-16)
RUN := PYTHONPATH=$(CURDIR)/src $(BIN)
OUT ?= demo-output

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs lint format types contracts audit lock release

help:  ## Show this help.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup:  ## Make the environment and install dinotxt in it (done once).
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@read -r clone key 2>/dev/null < $(STAMP); \
	if [ "$$key" != "$(KEY)" ] || [ ! -e "$$clone/pyproject.toml" ]; then \
	  echo "Installing dinotxt into $(VENV) (minutes the first time)" && \
	  $(BIN)/pip install --quiet --require-hashes -r requirements.lock && \
	  $(BIN)/pip install --quiet --no-deps --no-build-isolation -e . && \
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

check: lint types contracts audit  ## Lint, format, types, import contracts, known vulnerabilities.

docs: setup  ## Build the documentation in site/, strictly.
	$(RUN)/zensical build --strict --clean

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src docs examples benchmarks README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/deptry src

types: setup
	$(RUN)/mypy

contracts: setup
	$(RUN)/lint-imports

audit: setup  ## Ask for known vulnerabilities of the locked packages, where the network allows.
	$(BIN)/python .ci/audit.py

lock: setup  ## Renew requirements.lock from pyproject.toml (UPGRADE=--upgrade takes newer versions).
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11.5 \
	  --generate-hashes --custom-compile-command "make lock" --quiet $(UPGRADE) -o requirements.lock

release: setup  ## Build the wheel, the source archive and the SBOM in dist/.
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/cyclonedx-py requirements requirements.lock --output-file dist/sbom.json

format: setup  ## Format the code and mend what the linter can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
