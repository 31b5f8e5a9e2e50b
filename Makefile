# `make run` and `make test` need Python 3.11 or newer and nothing else: each sets up .venv first,
# and neither does again what is already done.

PYTHON  ?= python3
WORKERS ?= 2
PROFILE ?= ci
SECONDS ?= 300

# Tests that are marked long wait for `make test-long`; the profile nightly leaves out none.
CHOSEN := $(if $(filter nightly,$(PROFILE)),,-m 'not long')

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
PIP   := $(BIN)/python .ci/install.py -c constraints.txt

# Python keeps what it has compiled in .venv, and also where the environment forbids it to: else each of
# the tests' many processes compiles PyTorch anew.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test quick fix lint types tests test-long fuzz core-tests versions test-gpu mutants bench bench-gpu docs
.PHONY: pins clean distclean check-python

help:  ## Show this list
	@echo "usage: make TARGET [PYTHON=python3.12]"
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## Create .venv with the pinned versions (again only when the pins change)

run: $(READY)  ## Train a network that learns its strides; options go in ARGS="--epochs 2"
	@echo "==> Training: spectral-stride train $(ARGS)"
	@$(BIN)/spectral-stride train $(ARGS)

# Types beside the tests: what mypy takes is then hidden where their workers wait.
test: lint  ## Run every check: lint, format, types, tests, coverage
	@$(MAKE) --no-print-directory -j 2 types tests

# Types and tests side by side: without its cache mypy alone takes most of a minute, on one core.
quick: $(READY)  ## Check style, types, the core and the house rules in under a minute
	@$(MAKE) --no-print-directory -j 2 lint types core-tests

fix: $(READY)  ## Mend what ruff can mend of the style, and format all code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

lint: $(READY)  ## Check the style and the format of all code
	@echo "==> Checking the style: ruff check"
	@$(BIN)/ruff check
	@echo "==> Checking the format: ruff format --check"
	@$(BIN)/ruff format --check

types: $(READY)  ## Check the types of the core and of the adapters
	@echo "==> Checking the types of the core and of the adapters: mypy"
	@$(BIN)/mypy

# Each worker gets one thread: two workers that each start a thread per core slow each other down.
tests: $(READY)  ## Run the tests (PROFILE=dev|ci|nightly, WORKERS=2) and the coverage gate
	@echo "==> Running the tests on $(WORKERS) workers, hypothesis profile $(PROFILE): pytest $(CHOSEN)"
	@HYPOTHESIS_PROFILE=$(PROFILE) OMP_NUM_THREADS=1 \
		$(BIN)/pytest -q -n $(WORKERS) $(CHOSEN) --cov --cov-report= tests
	@echo "==> Checking that the tests reach at least 98 % of the core, branches included"
	@$(BIN)/coverage report --include='spectral_stride/*' --fail-under=98

test-long: $(READY)  ## Run the tests that the others leave out: those marked long
	@echo "==> Running the tests that are marked long on $(WORKERS) workers: pytest -m long"
	@HYPOTHESIS_PROFILE=$(PROFILE) OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m long tests

fuzz: $(READY)  ## Call functions and read files at random for some time (SECONDS=300, ARGS="--seed 1")
	@echo "==> Fuzzing for $(SECONDS) seconds and more: python -m tests.fuzz --seconds $(SECONDS) $(ARGS)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

# What compiles or traces, and dask and cubed with their large arrays, takes as long as all the rest: it waits
# for `make test`.
core-tests: $(READY)
	@echo "==> Running the tests of the core, without JAX, compilers and dask, and of the house: pytest"
	@HYPOTHESIS_PROFILE=dev OMP_NUM_THREADS=1 \
		$(BIN)/pytest -q tests/core tests/project/test_house.py tests/project/test_pages.py \
		-k 'not jax and not dask and not cubed and not ndonnx and not compile'

# Not from the pins: they are what one Python has. It makes environments anew, and takes a quarter of an hour.
versions: check-python  ## Test the core on Python 3.11, 3.12 and 3.13, and with the oldest packages allowed (ARGS="oldest")
	@echo "==> Making an environment for each of them in .versions/ and testing in it: .ci/versions.py $(ARGS)"
	@$(PYTHON) .ci/versions.py --workers $(WORKERS) $(ARGS)

# jax[cuda13] brings its CUDA packages at versions of its own choice; they are in no pin.
test-gpu: $(READY)  ## Run what needs a CUDA device (CuPy, PyTorch, JAX); there a skip is an error
	@echo "==> Installing CuPy and JAX for CUDA"
	@$(PIP) --no-build-isolation -e '.[cuda,test]'
	@echo "==> Running the tests that need a CUDA device, hypothesis profile $(PROFILE): pytest"
	@HYPOTHESIS_PROFILE=$(PROFILE) SPECTRAL_STRIDE_REQUIRE_ALL=1 $(BIN)/pytest -m gpu tests

# A result is kept in mutants/ until its function, or the choice of tests, has changed. Not on Windows: mutmut forks.
mutants: $(VENV)/.mutants  ## Change the core's lines one by one: does a test fail? (hours; goes on where it was)
	@echo "==> Running the nearest tests on every mutant without a result: mutmut run $(ARGS)"
	@HYPOTHESIS_PROFILE=mutants OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(WORKERS) $(ARGS)
	@echo "==> Those that no test noticed; tests/survivors.md says why each may live"
	@$(BIN)/mutmut results

$(VENV)/.mutants: $(READY)
	@echo "==> Installing what makes mutants"
	@$(PIP) --no-build-isolation -e '.[mutants]'
	@touch $@

bench: $(READY)  ## Measure speed beside its peers on the CPU (under 10 minutes; ARGS="--only layer")
	@echo "==> Measuring speed, peers in turns: python -m benchmarks.speed $(ARGS)"
	@$(BIN)/python -m benchmarks.speed $(ARGS)

bench-gpu: $(READY)  ## The same on a CUDA device, with a copy of the same bytes as the floor
	@echo "==> Measuring speed on CUDA: python -m benchmarks.speed --device cuda $(ARGS)"
	@$(BIN)/python -m benchmarks.speed --device cuda $(ARGS)

# What builds pages is installed here and not by `make setup`, which would take longer for it. Every page
# is read anew (-E): a page that is not read gives no warning, and a second call would pass. Scripts of the gallery run
# again when they have changed.
docs: $(VENV)/.docs  ## Build the pages in docs/ as a site, without the net; a warning is an error
	@echo "==> Building the site: sphinx (about a minute)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -E -W -n -c docs -d $(VENV)/doctrees . site
	@echo "==> Open site/index.html"

$(VENV)/.docs: $(READY)
	@echo "==> Installing what builds the site"
	@$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

# In parts, so that it shows how far it is. The build backend comes from the pins too: nothing is
# installed that constraints.txt does not name.
$(READY): pyproject.toml constraints.txt | check-python
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> Installing PyTorch, the largest part (1 of 4; a few minutes on a slow line)"
	@$(PIP) hatchling torch
	@echo "==> Installing JAX (2 of 4)"
	@$(PIP) --no-build-isolation -e '.[jax]'
	@echo "==> Installing what the training tool needs (3 of 4)"
	@$(PIP) --no-build-isolation -e '.[train]'
	@echo "==> Installing what the checks need (4 of 4)"
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: Python 3.11 or newer is needed; '$(PYTHON)' is not." \
			"Name another: make PYTHON=python3.12 ..." >&2; exit 1; }

# PyTorch keeps its pin: a version with a matching build must exist for every machine. To move it,
# edit its line in constraints.txt first. This needs Linux: CuPy has no wheel for macOS.
pins: check-python  ## Resolve all dependencies anew and rewrite constraints.txt (PyTorch stays)
	@echo "==> Resolving the newest versions of everything but PyTorch"
	@$(PYTHON) -m venv --clear .pins
	@grep '^torch==' constraints.txt >.pins/torch.txt
	@.pins/bin/python .ci/install.py -c .pins/torch.txt torch
	@.pins/bin/python .ci/install.py -c .pins/torch.txt colorama -e '.[cupy,dev,docs,mutants]'
	@grep '^#' constraints.txt >.pins/constraints.txt
	@.pins/bin/python -m pip freeze --all --exclude-editable \
		| sed -e '/^pip==/d' -e 's/+.*//' | LC_ALL=C sort -f >>.pins/constraints.txt
	@mv .pins/constraints.txt constraints.txt
	@rm -rf .pins
	@echo "==> constraints.txt is new: run make test before you commit it"

clean:  ## Remove caches, built packages and the site
	@echo "==> Removing caches, built packages and the site"
	@rm -rf dist site docs/generated $(VENV)/pycache .coverage .coverage.* .hypothesis .jax_cache .mypy_cache .pytest_cache .ruff_cache
	@find spectral_stride backends tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv as well, and what is known of mutants
	@echo "==> Removing $(VENV), .versions and mutants"
	@rm -rf $(VENV) .versions mutants
