# One vocabulary for people, hooks and CI. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11
# uv does not read pip's settings; where pip is told of local wheels, uv is told of them too
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-fast lint format types up down bench lock clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP) ## Make the virtual environment (the other targets do this by themselves)

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet "uv>=0.5"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## Turn the whole loop on a year of New York flights and show what it gained
	@$(BIN)/driftwheel replay flights
	@echo
	@echo "To look at what it left:    $(BIN)/driftwheel up      (Ctrl-C ends it)"
	@echo "To read every decision:     $(BIN)/driftwheel why flights-replay --last 30"

test: setup ## Run all tests that need neither root nor an engine
	@$(BIN)/python -m pytest

test-fast: setup ## Run the tests that start no server
	@$(BIN)/python -m pytest -m "not flow and not system"

lint: setup ## Check style and the layers of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --verbose >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

format: setup ## Rewrite the code in the house's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## Check types
	@$(BIN)/mypy

up: setup ## Start Prefect, MLflow, Evidently, the runner and the service
	@$(BIN)/driftwheel up

down: setup ## Stop them
	@$(BIN)/driftwheel down

bench: setup ## Measure what the engine costs, and how often drift is called where there is none
	@$(BIN)/python tests/benchmarks/turn_overhead.py
	@$(BIN)/python tests/benchmarks/false_alarms.py --windows 100

lock: ## Resolve the versions anew
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --extra dev --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --output-file requirements.lock pyproject.toml
	@sed -i.bak "s/+cpu$$//" requirements.lock && rm requirements.lock.bak # which build is the user's choice, by index

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
