# `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANITIZED := build/sanitized
WHEELS ?=
REPORT ?= build/gpu-report

export OMP_WAIT_POLICY ?= passive

.PHONY: help setup demo test lint test-cpp test-python test-slow bench gpu clean

help:
	@echo "make demo       generate a slide, explain it, show what was found (about a minute)"
	@echo "make test       ruff, mypy, C++ tests under ASan and UBSan, pytest"
	@echo "make test-slow  the tests that take minutes"
	@echo "make bench      benchmarks; tables go to the terminal"
	@echo "make gpu        on a machine with a GPU: CUDA build, its tests, sanitizer, benchmarks, a report"
	@echo "                WHEELS=FOLDER: wheels of missing packages, for a machine without network"
	@echo "make clean      remove .venv and build"

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "xaipipe needs Python 3.11 or newer, got %d.%d: make PYTHON=python3.11 …" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt scikit-build-core pybind11 ninja cmake
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation \
		-C editable.rebuild=true -e '.[test]'
	@touch $@

demo: setup
	$(BIN)/xaipipe demo

test: lint test-cpp test-python

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-cpp: setup
	$(BIN)/cmake -S . -B $(SANITIZED) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DXAIPIPE_PYTHON=OFF -DXAIPIPE_CUDA=OFF -DXAIPIPE_TESTS=ON -DXAIPIPE_SANITIZE=ON
	$(BIN)/cmake --build $(SANITIZED)
	$(BIN)/ctest --test-dir $(SANITIZED) --output-on-failure

test-python: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8 --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow

bench: setup
	for benchmark in benchmarks/[a-z]*.py; do $(BIN)/python $$benchmark; done

gpu:
	PYTHON=$(PYTHON) WHEELS=$(WHEELS) REPORT=$(REPORT) bash benchmarks/gpu.sh

clean:
	rm -rf $(VENV) build
