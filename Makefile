# `make train` and `make test` set everything up themselves: they need python3, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= 2
ARGS ?=
REFERENCE ?=

export HYPOTHESIS_PROFILE ?= ci
# Waiting threads sleep: on a shared machine spinning ones cost tenfold.
export OMP_WAIT_POLICY ?= passive

.PHONY: help train test test-slow test-gpu gpu-proof kernels lint format bench docs wheel clean

help:
	@echo "make train   train SeqBoat on the Python standard library's source; ARGS='...' go to sma train"
	@echo "make test    lint, type-check and test"
	@echo "make test-gpu  the tests that need a CUDA device"
	@echo "make gpu-proof everything that only a GPU can tell, in five minutes, written to gpu-proof/"
	@echo "make kernels compile the kernels and rewrite docs/kernels.md; needs no GPU"
	@echo "make bench   measure speed and memory beside other packages, and rewrite docs/performance.md;"
	@echo "             REFERENCE=/path/to/SeqBoat measures the published code too; half an hour, and resumable"
	@echo "make docs    build the documentation site into build/docs"
	@echo "make wheel   build the wheel, install it in a clean environment, run the examples against it"

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -c constraints.txt -e ".[dev]"
	touch $@

train: $(BIN)/.installed
	$(BIN)/sma train $(ARGS)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: $(BIN)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow $(ARGS)

test-gpu: $(BIN)/.installed
	$(BIN)/python -m pytest -m gpu $(ARGS)

gpu-proof: $(BIN)/.installed
	$(BIN)/python -m benchmarks.gpu_proof $(ARGS)

kernels: $(BIN)/.installed
	$(BIN)/python -m benchmarks.kernels $(ARGS)

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e ".[command]" -r benchmarks/requirements.txt
	touch $@

bench: $(BENCH)/.installed
	$(BENCH)/bin/python -m benchmarks $(if $(REFERENCE),--reference $(REFERENCE)) $(ARGS)

docs: $(BIN)/.installed
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

wheel: $(BIN)/.installed
	PYTHON=$(BIN)/python sh tests/check_wheel.sh

clean:
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
