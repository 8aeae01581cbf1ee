# Every command makes .venv if it is missing and installs what it needs, on the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what is imported; pip would compile all of it, for some 30 s in torch alone. What is compiled is kept,
# also where the environment says otherwise: a process that imports torch anew would spend some 5 s on it.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

# One process more than there are cores, at most four; 0 runs all tests in one process.
WORKERS ?= auto

.PHONY: demo test test-anywhere test-torch slow judge faults hosts fuzz check format docs gallery pictures preflight-corpus preflight-peers bench bench-today bench-export bench-tabular bench-parts world clean

demo: .venv/.plots       ## train, evaluate, plot and save a classifier of penguins
	$(BIN)/lumbre demo

test: .venv/.dev         ## the fast suite, in WORKERS processes
	OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1) $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal \
		-m "not slow and not faults and not hosts and not fuzz"

test-anywhere: .venv/.dev ## the fast suite under the conditions of other machines, and a table; ARGS="--only avx2 -- tests/data"
	$(BIN)/python tests/anywhere.py $(ARGS)

test-torch:              ## the fast suite with another torch, in its own environment: TORCH=2.14.1, and PYTHON=python3.12
	@test -n "$(TORCH)" || { echo "say which torch: make test-torch TORCH=2.14.1"; exit 2; }
	$(MAKE) $(TORCH_VENV)/.ready
	OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1) $(TORCH_VENV)/bin/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal \
		-m "not slow and not faults and not hosts and not fuzz" $(PYTEST_ARGS)

slow: .venv/.dev         ## long training runs
	$(BIN)/python -m pytest -m slow --timeout 3600

judge: .venv/.dev        ## the figures of docs/understand.md: rates of false alarms, coverage, and others; half an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.judge $(ARGS)

fuzz: .venv/.dev         ## feed a hundred thousand damaged and hostile files to the readers
	$(BIN)/python -m pytest -m fuzz --timeout 7200 -s

faults: .venv/.dev       ## runs that are killed some hundreds of times
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults tests/distributed -m faults --timeout 3600

hosts: .venv/.dev        ## network namespaces as hosts, one of which is killed or disconnected; needs root
	$(BIN)/python -m pytest tests/hosts -m hosts

check: .venv/.dev        ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.docs        ## the documentation, in docs/_build
	$(BIN)/sphinx-build -W -E --keep-going -q docs docs/_build # -E: builds everything, so that warnings show every time

gallery: .venv/.dev      ## the pictures of the gallery page, light and dark; a minute or two
	OMP_NUM_THREADS=1 $(BIN)/python docs/draw_gallery.py

pictures: .venv/.docs    ## the pictures of the tutorial pages; takes 45 minutes and needs MNIST
	$(BIN)/python docs/draw_pictures.py

preflight-corpus: .venv/.dev ## the corpus of mistakes, and its table in docs/preflight.md
	$(BIN)/python tests/preflight/make_docs.py --corpus

preflight-peers: .venv-peers/.ready .venv-checkers/.ready ## the same mistakes in other libraries, and their table
	.venv-peers/bin/python -m benchmarks.mistakes --checkers .venv-checkers/bin/python

bench: .venv-peers/.ready  ## lumbre against hand-written loops and other libraries, 40 minutes; MNIST=folder, QUICK=1
	.venv-peers/bin/python -m benchmarks.peers $(if $(MNIST),--mnist "$(MNIST)") $(if $(QUICK),--quick)
	.venv-peers/bin/python -m benchmarks.cross_validation $(if $(QUICK),--rounds 1)

bench-today: .venv/.dev  ## this tree beside another commit: BASE=commit, MNIST=folder, QUICK=1, ARGS="--works mnist --rounds 9"
	@test -n "$(BASE)" || { echo "say which commit: make bench-today BASE=main"; exit 2; }
	$(BIN)/python -m benchmarks.today --base "$(BASE)" $(if $(MNIST),--mnist "$(MNIST)") $(if $(QUICK),--steps 200) $(ARGS)

world: .venv-world/.ready ## modules, losses and optimizers of other packages in lumbre, and docs/world.md; 15 minutes
	OMP_NUM_THREADS=1 .venv-world/bin/python -m benchmarks.world

bench-export: .venv/.dev  ## 67 nets exported, loaded and compared with themselves; 15 minutes, needs lumbre[onnx]
	$(BIN)/python -m benchmarks.export

bench-tabular: .venv-tabular/.ready ## lb.tabular beside gradient boosting and pytabkit on ten tables; hours
	OMP_NUM_THREADS=1 .venv-tabular/bin/python -m benchmarks.tabular

bench-parts: .venv/.dev  ## benchmarks of single parts: import, callbacks, data, engines and their choice
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/callbacks.py
	$(BIN)/python benchmarks/progress.py
	$(BIN)/python -m benchmarks.choice $(if $(QUICK),--nets tabular_128 --rounds 1 --out .venv/quick)
	$(BIN)/python -m benchmarks.engines $(if $(MNIST),--mnist "$(MNIST)") $(if $(QUICK),--quick --out .venv/quick)
	$(BIN)/python -m benchmarks.checkpoints

clean:
	rm -rf .venv .venv-peers .venv-checkers .venv-world .venv-tabular .venv-torch-* docs/_build

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
	touch $@ .venv/.plots

# What tests and documentation need, in one installation. Meanwhile Python compiles torch, once and not in each process.
.venv/.all: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) torch
	$(BIN)/python -m compileall -q .venv/lib/python*/site-packages/torch & $(INSTALL) -e ".[dev,docs]" && wait
	touch $@ .venv/.dev .venv/.docs .venv/.plots

# The environment of the other libraries. fastai installs torchvision, whose default build does not load with a CPU-only
# torch and then breaks packages that look for it. Nothing here needs it, so it is removed.
.venv-peers/.ready: pyproject.toml constraints.txt benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/peers/requirements.txt -e ".[plots,data]"
	.venv-peers/bin/python -c "import torchvision" 2>/dev/null || .venv-peers/bin/python -m pip uninstall -y -q torchvision
	touch $@

# The packages whose parts are tried, without what they would bring along and the parts do not need.
.venv-world/.ready: pyproject.toml constraints.txt benchmarks/world/requirements.txt
	$(PYTHON) -m venv .venv-world
	.venv-world/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-world/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	.venv-world/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/world/requirements.txt
	touch $@

.venv-tabular/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tabular
	.venv-tabular/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-tabular/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e ".[plots,sklearn,tabular]" statsmodels pytabkit==1.8.0
	touch $@

# Checkers that need older versions of other packages; torcheck pins a torch of 2021 that it does not need.
.venv-checkers/.ready: pyproject.toml constraints.txt benchmarks/mistakes/requirements.txt
	$(PYTHON) -m venv .venv-checkers
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check $(shell grep ^torch== constraints.txt)
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/mistakes/requirements.txt -e .
	.venv-checkers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torcheck==1.0.1
	touch $@

# One environment for each version of torch and Python: constraints.txt with another torch.
ifdef TORCH
TORCH_VENV := .venv-torch-$(TORCH)-py$(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")

$(TORCH_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TORCH_VENV)
	{ grep -v ^torch== constraints.txt; echo "torch==$(TORCH)"; } > $(TORCH_VENV)/constraints.txt
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(TORCH_VENV)/constraints.txt torch
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(TORCH_VENV)/constraints.txt -e ".[dev]"
	touch $@
endif
