# Every command makes .venv if it is missing and installs what it needs, on the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-anywhere slow faults hosts fuzz check format docs pictures preflight-corpus preflight-peers bench bench-parts clean

demo: .venv/.plots       ## train, judge, draw and save a classifier of penguins
	$(BIN)/lumbre demo

test: .venv/.dev         ## the fast suite
	$(BIN)/python -m pytest -m "not slow and not faults and not hosts and not fuzz"

test-anywhere: .venv/.dev ## the fast suite under conditions of other machines, and a table; ARGS="--only avx2 -- tests/data"
	$(BIN)/python tests/anywhere.py $(ARGS)

slow: .venv/.dev         ## the long trainings
	$(BIN)/python -m pytest -m slow --timeout 3600

fuzz: .venv/.dev         ## a hundred thousand damaged and hostile files for the readers
	$(BIN)/python -m pytest -m fuzz --timeout 7200 -s

faults: .venv/.dev       ## runs that are killed some hundred times
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults tests/distributed -m faults --timeout 3600

hosts: .venv/.dev        ## hosts as network namespaces, one of which is killed or cut off; as root
	$(BIN)/python -m pytest tests/hosts -m hosts

check: .venv/.dev        ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.docs        ## the documentation, in docs/_build
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

pictures: .venv/.docs    ## the pictures of the tutorials' pages: three quarters of an hour, and wants MNIST
	$(BIN)/python docs/draw_pictures.py

preflight-corpus: .venv/.dev ## the corpus of mistakes, and its table in docs/preflight.md
	$(BIN)/python tests/preflight/make_docs.py --corpus

preflight-peers: .venv-peers/.ready .venv-checkers/.ready ## the same mistakes given to others, and their table
	.venv-peers/bin/python -m benchmarks.mistakes --checkers .venv-checkers/bin/python

bench: .venv-peers/.ready  ## lumbre beside hand-written loops and other libraries, 40 minutes; MNIST=folder, QUICK=1
	.venv-peers/bin/python -m benchmarks.peers $(if $(MNIST),--mnist "$(MNIST)") $(if $(QUICK),--quick)

bench-parts: .venv/.dev  ## import, callbacks, data, engines and their choice, each by itself
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/callbacks.py
	$(BIN)/python -m benchmarks.choice $(if $(QUICK),--nets tabular_128 --rounds 1 --out .venv/quick)
	$(BIN)/python -m benchmarks.engines $(if $(MNIST),--mnist "$(MNIST)") $(if $(QUICK),--quick --out .venv/quick)
	$(BIN)/python -m benchmarks.checkpoints

clean:
	rm -rf .venv .venv-peers .venv-checkers docs/_build

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

# The peers' own environment. fastai asks for torchvision, whose common build does not load beside a torch for CPU only
# and then breaks what looks for it; nothing here needs it.
.venv-peers/.ready: pyproject.toml constraints.txt benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/peers/requirements.txt -e ".[plots,data]"
	.venv-peers/bin/python -c "import torchvision" 2>/dev/null || .venv-peers/bin/python -m pip uninstall -y -q torchvision
	touch $@

# Checkers that want older versions than all else; torcheck pins a torch of 2021 that it does not need.
.venv-checkers/.ready: pyproject.toml constraints.txt benchmarks/mistakes/requirements.txt
	$(PYTHON) -m venv .venv-checkers
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check $(shell grep ^torch== constraints.txt)
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/mistakes/requirements.txt -e .
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torcheck==1.0.1
	touch $@
