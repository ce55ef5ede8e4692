# Two commands: `make reproduce` draws every figure, `make test` runs everything that CI runs.
# They need Python 3.11 or newer (with venv) and make, and bring the rest into .venv.

PYTHON  ?= python3
DATA    ?=
PRESET  ?= fast
ONLY    ?=
JOBS    ?=
EXECUTOR ?=
WORKERS ?= 2

VENV := .venv
BIN  := $(VENV)/bin
# Named after what is to be installed: a new pin makes a new stamp, and a second run needs no network.
STAMP := $(VENV)/installed-$(shell cat pyproject.toml constraints.txt | cksum | tr -dc 0-9)
NOTEBOOKS := $(wildcard notebooks/*.ipynb notebooks/*/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help env test reproduce lab lint clean-env

help:
	@echo "make env         the environment in .venv: pinned versions, torch first"
	@echo "make test        lint, types, tests, notebooks: everything that CI runs"
	@echo "make reproduce   run the notebooks headless, fill figures/ and its index page"
	@echo "                   DATA=folder    your data instead of the built-in set"
	@echo "                   PRESET=paper   1000 epochs and five seeds instead of the fast defaults"
	@echo "                   ONLY='20*,70*' only notebooks of such names"
	@echo "                   JOBS=2         notebooks at a time, the cores shared out among them"
	@echo "                   EXECUTOR=pool:4 who computes the runs of studies: inline, pool:JOBS, ray:ADDRESS"
	@echo "make lab         open JupyterLab on the notebooks"
	@echo "make lint        ruff and mypy alone"
	@echo "make clean-env   remove .venv"
	@echo "Another Python:  make env PYTHON=python3.12"

env: $(STAMP)

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); expected Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -c constraints.txt torch setuptools
	$(BIN)/python -m pip install -c constraints.txt --no-build-isolation -e ".[lab,dev,ray]"
	@rm -f $(VENV)/installed-*
	@touch $@

lint: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# One thread a worker: two workers with a thread pool each would fight for the same cores.
test: export OMP_NUM_THREADS = 1
test: lint
	@$(BIN)/nbkit doctor
	$(if $(NOTEBOOKS),$(BIN)/nbkit clean --check)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile
	$(if $(NOTEBOOKS),$(BIN)/python -m pytest -p tests.notebook_places --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -n $(WORKERS) --dist loadfile notebooks)

reproduce: env
	$(BIN)/nbkit reproduce --preset $(PRESET) $(if $(DATA),--data '$(DATA)') $(if $(ONLY),--only '$(ONLY)') $(if $(JOBS),--jobs $(JOBS)) $(if $(EXECUTOR),--executor '$(EXECUTOR)')

lab: env
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

clean-env:
	rm -rf $(VENV)
