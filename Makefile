# make demo     set up and train the quickstart recipe (two to three minutes on two cores after the installation)
# make test     set up and run the tests
# make check    ruff, pyright and the layering test; `make test check` is what CI runs
# make index    write down what kinds of things a recipe can name (adaptkit/*/kinds.json), after adding one
# make docs     write the pages that are generated from the code
# make conformance  run every law for every adapter in every tiny model (an hour), write docs/conformance.md
# make recipes  try every recipe end to end on synthetic data (25 short trainings), write docs/recipes.md
# make chaos    kill -9 before and after every file operation, and at random moments (some 1,200 kills; CHAOS_ARGS="--every 20": fewer)
# make coverage study every architecture of transformers and timm (a quarter of an hour), write docs/coverage.md
# make fuzz     thousands of wrong recipes, artifacts and data files, each of which must end well (FUZZ_ARGS="--share 0.1": fewer)
# make mutation small mistakes in surgery, adapters and artifact, which the tests must notice (hours; it goes on where it stopped)
# make interop  exchange adapters with PEFT and AdapterHub themselves, in environments of their own
# Override:     make test PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
PYTEST_ARGS ?=
FUZZ_ARGS ?=
CHAOS_ARGS ?=
MUTATION_ARGS ?=

.PHONY: help install demo test check index docs recipes conformance coverage fuzz chaos mutation interop clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

install: $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/adaptkit train recipes/quickstart.toml

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/laws/test_layers.py

index: $(VENV)/.test
	$(BIN)/python -m adaptkit.kinds.indexing

docs: $(VENV)/.run
	$(BIN)/python docs/generate.py

recipes: $(VENV)/.run
	$(BIN)/python docs/trial.py

conformance: $(VENV)/.test
	$(BIN)/python docs/conformance.py

chaos: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos $(CHAOS_ARGS)

coverage: $(VENV)/.run
	$(BIN)/python docs/coverage.py

fuzz: $(VENV)/.test
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

mutation: $(VENV)/.dev
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation $(MUTATION_ARGS)

interop: $(VENV)/.peft $(VENV)/.adapterhub
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/interop/with_peft.py
	PYTHONPATH=. OMP_NUM_THREADS=1 ADAPTERHUB_PYTHON=$(VENV)/adapterhub/bin/python $(BIN)/python -m pytest \
		tests/interop/with_adapterhub.py

# AdapterHub's `adapters` needs transformers 4: it has an environment of its own, beside adaptkit's.
$(VENV)/.adapterhub: | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)/adapterhub
	$(VENV)/adapterhub/bin/python -m pip install --quiet "adapters==1.3.0"
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of extras (.run has none): an installation is repeated only when pyproject.toml changes.
$(VENV)/.run: EXTRAS :=
$(VENV)/.test: EXTRAS := [test]
$(VENV)/.dev: EXTRAS := [dev]
$(VENV)/.peft: EXTRAS := [test,peft]
$(VENV)/.run $(VENV)/.test $(VENV)/.dev $(VENV)/.peft: pyproject.toml | $(VENV)/bin/python
	@echo "installing adaptkit$(EXTRAS) into $(VENV) (PyTorch is large: this can take minutes)"
	@$(PIP) install --editable ".$(EXTRAS)"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "adaptkit needs Python 3.11 or newer; $$($(PYTHON) --version 2>&1) is too old. Try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
