# `make verify` and `make test` each work as the first command in a fresh clone: they install what they need into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
MAIN := $(VENV)/.main# the package with TensorFlow: the main job
DEV := $(VENV)/.dev# besides it the other frameworks, the tests, the linters and the documentation

PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV) rnncheck pytest_rnncheck.py# on all cores, unlike pip
LOCK := $(BIN)/pip-compile --quiet --upgrade --allow-unsafe --strip-extras --annotation-style line --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --build-deps-for editable --constraint .ci/constraints.txt

# Two processes of tests have a core each: threads of a matrix product would only be in each other's way. Convolutions
# with channels_first need oneDNN, which TensorFlow leaves off on older processors.
FOR_TESTS := OPENBLAS_NUM_THREADS=1 TF_ENABLE_ONEDNN_OPTS=1

# Every process notes which lines of the package it runs.
MEASURED := PYTHONPATH=$(CURDIR)/tests/measured

.DEFAULT_GOAL := help
.PHONY: help install verify test test-long check docs lock fixtures figures bench calibrate power compare diagnose \
	extremes causes backends exports scan memory fuzz mutate clean

help:  ## Print what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(MAIN): requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once, a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rnncheck needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(COMPILE) || true
	@touch $@

$(DEV): $(MAIN) requirements-dev.lock
	@echo "installing what tests, linters and documentation need (once, a minute)"
	@$(PIP) -r requirements-dev.lock
	@$(COMPILE) || true
	@touch $@

install: $(DEV)  ## Create .venv with everything pinned; does nothing when nothing changed.

verify: $(MAIN)  ## The main job: run the built-in grid and print the table.
	@$(BIN)/rnncheck verify

test: $(DEV)  ## Run the tests and print which lines of the package they reach (four to ten minutes).
	@rm -rf .coverage; mkdir .coverage
	@$(FOR_TESTS) $(MEASURED) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python -m slipcover --out .coverage.json --merge .coverage/*.json

test-long: $(DEV)  ## Run what takes long: random models, the documentation's commands, environments (up to an hour).
	@$(FOR_TESTS) $(BIN)/python -m pytest -m long -n 2 --dist load

check: $(DEV)  ## Lint, type-check, and compare the lock files with pyproject.toml; edits nothing.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@$(BIN)/python -m experiments.locks

docs: $(DEV)  ## Build the documentation into docs/_build; a warning is an error.
	@$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

lock: $(DEV)  ## Renew the pins in both lock files.
	@$(LOCK) --extra tensorflow --output-file requirements.lock pyproject.toml
	@$(LOCK) --extra all,dev,docs --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements-dev.lock  # whichever build an index has

fixtures: $(DEV)  ## Write the fixtures; the only thing that does.
	@$(BIN)/python -m experiments.fixtures

figures: $(DEV)  ## Keep anew what numbers, faults, judgements and screens are; the tests hold them.
	@PYTHONPATH=tests $(BIN)/python tests/figures.py
	@PYTHONPATH=tests $(BIN)/python tests/judgements.py
	@PYTHONPATH=tests $(BIN)/python tests/screens.py

bench: $(DEV)  ## Print speed as ratios, measured in one run.
	@$(BIN)/python -m experiments.bench

calibrate: $(DEV)  ## Correct code passes: 3,000 random cases, 10^8 numbers (about half an hour).
	@$(BIN)/python -m experiments.calibrate

power: $(DEV)  ## Wrong code fails: which faults which check sees.
	@$(BIN)/python -m experiments.power

compare: $(DEV)  ## Wrong code fails, beside the rules people use: false alarms and misses.
	@$(BIN)/python -m experiments.comparison

diagnose: $(DEV)  ## The right fault is named, on random models.
	@$(BIN)/python -m experiments.diagnosis
	@$(BIN)/python -m experiments.first_lines

extremes: $(DEV)  ## Correct code at the edges passes, and the same with one wrong number does not (half an hour).
	@$(BIN)/python -m experiments.extremes

causes: $(DEV)  ## No cause is named that is not there, in 1,000 recordings.
	@$(BIN)/python -m experiments.causes

backends: $(DEV)  ## Fifty cases of the grid on every backend of Keras (five minutes).
	@$(BIN)/python -m experiments.backends

exports: $(DEV)  ## Export the built-in grid to ONNX, and hold every export against its model (twenty minutes).
	@$(BIN)/python -m experiments.exports

scan: $(DEV)  ## Measure how accurate activations are (about half an hour).
	@$(BIN)/python -m experiments.activations
	@$(BIN)/python -m experiments.onnx_activations

memory: $(DEV)  ## Measure memory and time of checking a million steps.
	@$(BIN)/python -m experiments.memory

fuzz: $(DEV)  ## Read a million mutated files; nothing but a refusal may come of them (an hour).
	@$(BIN)/python -m experiments.fuzz

mutate: $(DEV)  ## Change the package at random, 150 times: the tests must notice (an hour).
	@$(FOR_TESTS) $(BIN)/python -m experiments.mutate --count 150 --seed 0

clean:  ## Remove what was installed, built and cached.
	@rm -rf $(VENV) .venv-keras2 .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.json \
		dist docs/_build
