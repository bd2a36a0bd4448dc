# `make verify` and `make test` each work as the first command in a fresh clone: they create .venv when needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install verify test check fixtures bench calibrate power compare diagnose backends scan memory lock clean

help:  ## Print what there is.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rnncheck needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV) rnncheck pytest_rnncheck.py || true  # on all cores, as pip does not
	@touch $@

install: $(INSTALLED)  ## Create .venv with the pinned versions; does nothing when nothing changed.

verify: $(INSTALLED)  ## The main job: run the built-in grid and print the table.
	@$(BIN)/rnncheck verify

test: $(INSTALLED)  ## Run the tests.
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)  ## Lint and type-check; edits nothing.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/mypy

fixtures: $(INSTALLED)  ## Write the fixtures; the only thing that does.
	@$(BIN)/python -m experiments.fixtures

bench: $(INSTALLED)  ## Print speed as ratios, measured in one run.
	@$(BIN)/python -m experiments.bench

calibrate: $(INSTALLED)  ## Correct code passes: 3,000 random cases, 10^8 numbers (about half an hour).
	@$(BIN)/python -m experiments.calibrate

power: $(INSTALLED)  ## Wrong code fails: which faults which check sees.
	@$(BIN)/python -m experiments.power

compare: $(INSTALLED)  ## Wrong code fails, beside the rules people use: false alarms and misses.
	@$(BIN)/python -m experiments.comparison

diagnose: $(INSTALLED)  ## The right fault is named, on random models.
	@$(BIN)/python -m experiments.diagnosis

backends: $(INSTALLED)  ## Fifty cases of the grid on every backend of Keras (five minutes).
	@$(BIN)/python -m experiments.backends

scan: $(INSTALLED)  ## Measure how accurate activations are (about half an hour).
	@$(BIN)/python -m experiments.activations

memory: $(INSTALLED)  ## Measure memory and time of checking a million steps.
	@$(BIN)/python -m experiments.memory

lock: $(INSTALLED)  ## Renew the pins in requirements.lock.
	@$(BIN)/pip-compile --quiet --upgrade --allow-unsafe --strip-extras --extra dev --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements.lock pyproject.toml
	@sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' requirements.lock  # whichever build an index has

clean:  ## Remove what was installed and cached.
	@rm -rf $(VENV) .venv-keras2 .mypy_cache .ruff_cache .pytest_cache
