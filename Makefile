# Plain python3 -m venv and pip. Every target works when run twice. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A CPU build of torch first: the ranges of pyproject.toml are then satisfied without several GB of CUDA packages.
TORCH ?= torch==2.13.0
TORCH_LOWEST ?= torch==2.9.0
SOURCES := lft_ray tests experiments benchmarks
LONG := slow or cluster or chaos
FAST := not slow and not cluster and not chaos and not real_data
# What comes with a CUDA build of torch; the lock leaves torch, and so these, to the reader.
NOT_LOCKED := torch|triton|nvidia-.*|cuda-.*
RESOLVE = $(BIN)/python -m uv pip compile --quiet pyproject.toml --all-extras --python-version 3.11 --no-header --no-annotate \
  --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help setup quickstart check fix test test-fast test-lowest chaos cov docs docs-serve dist smoke sbom audit lock bench proto clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Make .venv with all that development needs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] < (3, 14), f"Python 3.11-3.13 is needed, this is {sys.version.split()[0]}"'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[offline,dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -c constraints.txt -e '.[docs]'
	touch $@

quickstart: setup ## Search the sample corpus, deploy the winner, ask it, stop it
	$(BIN)/lft quickstart

check: setup ## Lint, format, types, spelling, architecture
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python -m pytest -q tests/test_architecture.py

fix: setup ## Repair what ruff can repair, and format
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

test: setup ## All tests: first on all cores those in one process, then one by one those with a cluster or long runs
	$(BIN)/python -m pytest -q -n logical -m "not ($(LONG))"
	$(BIN)/python -m pytest -q -m "($(LONG)) and not stress"

test-fast: setup ## Tests without cluster, endpoint or real data
	$(BIN)/python -m pytest -q -n logical -m "$(FAST)"

test-lowest: ## Fast tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH_LOWEST)
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c lowest.txt -e '.[offline,dev]'
	.venv-lowest/bin/python -m pytest -q -m "$(FAST)"

chaos: setup ## Kill, starve and fill what runs, with the full numbers, and print the table of tests/chaos/README.md
	CHAOS=full $(BIN)/python -m pytest -q -p no:cacheprovider -m chaos tests/chaos

cov: setup ## Fast tests with coverage; fails below the floor in pyproject.toml
	$(BIN)/python -m pytest -q -n logical -m "$(FAST)" --cov --cov-report=term:skip-covered --cov-report=xml

docs: $(VENV)/.docs ## Build the documentation into site/; broken links are errors
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.docs ## Show the documentation at 127.0.0.1:8001, rebuilt as files change
	$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

dist: setup ## Build wheel and source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

smoke: dist ## Install the wheel into an empty environment and run the quickstart from it
	rm -rf .venv-smoke
	$(PYTHON) -m venv .venv-smoke
	.venv-smoke/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	.venv-smoke/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$(echo dist/*.whl)[offline]"
	mkdir -p .venv-smoke/empty
	cd .venv-smoke/empty && ../bin/lft --help >/dev/null && ../bin/lft quickstart

sbom: setup ## Write dist/sbom.json: the tested versions of everything the wheel installs, in CycloneDX
	mkdir -p dist
	$(BIN)/python -m uv tool run --from 'cyclonedx-bom>=7,<8' cyclonedx-py requirements --pyproject pyproject.toml \
	  --mc-type library --output-reproducible --of JSON -o dist/sbom.json constraints.txt

audit: setup ## Look up known vulnerabilities of the tested versions (asks the package index)
	$(BIN)/python -m uv tool run --from 'pip-audit>=2.9,<3' pip-audit --disable-pip --no-deps -r constraints.txt

lock: setup ## Resolve constraints.txt and lowest.txt from pyproject.toml (UPGRADE=1: to the newest versions)
	$(RESOLVE) $(if $(UPGRADE),--upgrade) --output-file constraints.txt
	$(RESOLVE) --resolution lowest-direct --upgrade --output-file lowest.txt
	sed -i -E '/^($(NOT_LOCKED))==/d' constraints.txt lowest.txt
	sed -i '1i # The versions this project is tested with, on Python 3.11 and Linux; made by `make lock`. Used by `make setup` and\n# cluster.yaml: pip install -c constraints.txt -e ".[offline]". torch is left to the reader: 2.13.0 is tested, as a CPU build.' constraints.txt
	sed -i '1i # The lowest versions that pyproject.toml allows; made by `make lock`, used by `make test-lowest`, torch 2.9.0 beside them.' lowest.txt

bench: setup ## Run a benchmark briefly: make bench NAME=serving (ARGS= for a full run)
	$(BIN)/python benchmarks/$(or $(NAME),trial_overhead).py $(ARGS)

bench: ARGS ?= --quick

proto: setup ## Make the protobuf messages of the gRPC endpoint anew
	cd lft_ray/serve/protocols && $(CURDIR)/$(BIN)/python -m grpc_tools.protoc -I. --descriptor_set_out=open_inference.binpb --pyi_out=. open_inference.proto

clean: ## Remove environments, caches and what was built
	rm -rf .venv .venv-lowest .venv-smoke runs site dist build coverage.xml .coverage
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
