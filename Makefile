# `make demo` and `make test` need only Python >= 3.11, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements.lock

.PHONY: demo explore browser site test test-all test-oldest test-newest mutation fuzz lint bench lock clean

demo: $(VENV)/.base
	$(BIN)/deeplinear demo --report demo-report --force

explore: $(VENV)/.explorer
	$(BIN)/deeplinear explore

# For the tests of the page, where there is none and one can be had within a minute and a half; they are skipped otherwise.
browser: $(VENV)/.dev
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  timeout 90 $(BIN)/python -m playwright install chromium || \
	  { [ "$$(id -u)" = 0 ] && timeout 90 apt-get install -y -qq chromium; } || \
	  echo "no browser could be had: the tests of the page are skipped" >&2

# A file stays in one process: what its tests compile is compiled once. Most of it runs for a moment only, so that XLA's
# costlier passes, a third of the time, are left to test-all, which compiles as users do.
# A jaxlib ends the process at a flag that it does not know: the last is one before 0.11 only.
JAXLIB_MINOR = $(shell $(BIN)/python -c 'from importlib.metadata import version; print(*version("jaxlib").split(".")[:2], sep="")')
QUICK_XLA = --xla_llvm_disable_expensive_passes=true --xla_backend_optimization_level=0 \
  $(if $(filter 07 08 09 010,$(JAXLIB_MINOR)),--xla_cpu_use_fusion_emitters=false)

test: export XLA_FLAGS ?= $(QUICK_XLA)
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow"

# The same tests with the oldest direct requirements that pyproject.toml allows, and with the newest.
test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest test-newest: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/$@
	$(BIN)/uv pip install --quiet --python $(VENV)/$@/bin/python --resolution $(RESOLUTION) -e '.[dev]'
	$(VENV)/$@/bin/python -m pytest -n auto --dist loadfile

# make mutation MODULE=geometry/kernel
mutation: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c $(LOCK) 'cosmic-ray>=8.4'
	$(BIN)/python -m reliability.mutation $(MODULE)

# The site, into folder `site`: `python -m http.server -d site` shows it; nothing is fetched from anywhere. Tutorials are
# run, which takes minutes, and kept in `.tutorials` until they or the library change.
site: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --quiet --strict

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A minute over the readers that are our own code, always the same files; all of them, with others each time, for half
# an hour each:
#   make fuzz READERS= FILES=0 SECONDS=1800
READERS ?= csv long market mat sweep store
FILES ?= 1500
SECONDS ?= 20

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m reliability.fuzz $(READERS) --files $(FILES) --seconds $(SECONDS)

# Stamps: install again only when the requirements change. The package is editable, so edits need no install.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "deeplinear needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[lab,fast]'
	@touch $@

$(VENV)/.explorer: $(VENV)/bin/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[explorer]'
	@touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[docs]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[dev]'
	@touch $@ $(VENV)/.base

# Where atheris cannot be had (it is made for Linux), nothing is fuzzed.
$(VENV)/.fuzz: $(VENV)/.dev
	-$(BIN)/python -m pip install --quiet -c $(LOCK) -e '.[fuzz]'
	@touch $@

lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --extra docs --extra fuzz --no-emit-package deeplinear \
	  --no-header --no-annotate -o $(LOCK) pyproject.toml

clean:
	rm -rf $(VENV) demo-report .tutorials
