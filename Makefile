# Plain python3 -m venv and pip. Every target works when run twice.
PYTHON ?= python3
BIN := .venv/bin
# A CPU build of torch first: the ranges of pyproject.toml are then satisfied without several GB of CUDA packages.
TORCH ?= torch==2.13.0

.PHONY: setup quickstart check test test-fast bench clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] < (3, 14), f"Python 3.11-3.13 is needed, this is {sys.version.split()[0]}"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	touch $@

quickstart: setup
	$(BIN)/lft quickstart

check: setup
	$(BIN)/ruff check lft_ray tests experiments benchmarks
	$(BIN)/ruff format --check lft_ray tests experiments benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

test: setup
	$(BIN)/python -m pytest -q

test-fast: setup
	$(BIN)/python -m pytest -q -m "not slow and not cluster and not chaos and not real_data"

bench: setup
	$(BIN)/python benchmarks/trial_overhead.py --quick

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache
