# Every command makes .venv if it is missing and installs what it needs, on the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test slow faults check format docs bench clean

demo: .venv/.plots       ## train, judge, draw and save a classifier of penguins
	$(BIN)/lumbre demo

test: .venv/.dev         ## the fast suite
	$(BIN)/python -m pytest -m "not slow and not faults"

slow: .venv/.dev         ## the long trainings
	$(BIN)/python -m pytest -m slow --timeout 3600

faults: .venv/.dev       ## runs that are killed some hundred times
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults -m faults --timeout 3600

check: .venv/.dev        ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.docs        ## the documentation, in docs/_build
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

bench: .venv/.dev        ## lumbre beside hand-written loops
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/callbacks.py
	$(BIN)/python benchmarks/checkpoints.py

clean:
	rm -rf .venv docs/_build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.plots: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) -e ".[plots]"
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) -e ".[dev]"
	touch $@ .venv/.plots

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) -e ".[plots,docs]"
	touch $@
