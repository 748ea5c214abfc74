# Everything a developer runs. `make` alone lists the targets: the text after each `##`.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NOTEBOOKS_INSTALLED := $(VENV)/.installed-notebooks
DOCS_INSTALLED := $(VENV)/.installed-docs

.DEFAULT_GOAL := help
.PHONY: help setup report test test-slow test-oldest test-pythons bench bench-scale bench-search calibrate notebooks docs wheel lint clean

help:
	@echo "Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv and install the package with its development tools (when needed)
	@:

report: $(INSTALLED) ## fit Old Faithful by EM and by posterior, write reports/faithful/index.html
	@$(BIN)/bayesgmm report faithful --random-state 1

test: $(INSTALLED) ## run the tests and doctests, with coverage (not those marked slow)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -p tests.every_module --cov=bayesgmm

test-slow: $(INSTALLED) ## run the tests marked slow
	@$(BIN)/python -m pytest -m slow

test-oldest: $(INSTALLED) ## run the tests on the oldest dependencies that pyproject.toml allows (ONLY=tests/test_em.py: some of them)
	@$(BIN)/nox -s oldest $(if $(ONLY),-- $(ONLY))

test-pythons: $(INSTALLED) ## run the tests on Python 3.12, 3.13 and 3.14, where there are any (ONLY: as above)
	@$(BIN)/nox -s pythons $(if $(ONLY),-- $(ONLY))

bench: $(INSTALLED) ## run the benchmarks
	@$(BIN)/python -m benchmarks

bench-scale: $(INSTALLED) ## run the benchmarks of data larger than memory (gigabytes of scratch space, tens of minutes)
	@$(BIN)/python -m benchmarks --only large scale --write

bench-search: $(INSTALLED) ## judge searches: planted groups, awkward tables, best known maxima, numbers of groups (an hour)
	@$(BIN)/python -m benchmarks --only planted awkward maxima how-many --write

calibrate: $(INSTALLED) ## check on simulated data that intervals hold what they claim, write reports/calibration/index.html
	@$(BIN)/python -m benchmarks.calibration

notebooks: $(NOTEBOOKS_INSTALLED) ## run every notebook (ONLY=03: some of them; WRITE=1: store the outputs)
	@$(BIN)/python notebooks/run.py $(if $(WRITE),--write) $(ONLY)

docs: $(DOCS_INSTALLED) ## build the documentation, write build/docs/index.html
	@$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/docs
	@echo build/docs/index.html

wheel: $(INSTALLED) ## build the wheel, install it into an empty environment, run the quick start there
	@$(BIN)/python tests/wheel.py

lint: $(INSTALLED) ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## remove caches and build products (keeps .venv and reports)
	@rm -rf build dist .nox docs/api docs/gallery *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find bayesgmm tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2> /dev/null || true

# A virtual environment that is there already is kept; one whose Python has gone is made anew.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c "" 2> /dev/null; then \
	  for candidate in $(PYTHON) python3 python3.13 python3.12; do \
	    if $$candidate -c "import sys; sys.exit(sys.version_info < (3, 12))" 2> /dev/null; then \
	      found=$$candidate; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "bayesgmm needs Python 3.12 or newer, and none was found; say where one is: make setup PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$($$found --version)" >&2; \
	  $$found -m venv --clear $(VENV); \
	fi
	@echo "Installing bayesgmm and its dependencies into $(VENV) (about 1 GB the first time)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" --constraint constraints.txt
	@touch $@

$(NOTEBOOKS_INSTALLED): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[notebooks]" --constraint constraints.txt
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]" --constraint constraints.txt
	@touch $@
