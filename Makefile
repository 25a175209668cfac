# `make quickstart` and `make test` set up all they need. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help quickstart laptop test test-full lint bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What is pinned in requirements.lock, and two packages of which only a file is used (weights, language model).
$(VENV)/.installed: requirements.lock requirements-files.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Arriero needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -r requirements.lock
	$(BIN)/pip install -q --no-deps -r requirements-files.lock
	$(BIN)/pip install -q --no-deps -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.lock requirements-test-files.lock
	$(BIN)/pip install -q -r requirements-test.lock
	$(BIN)/pip install -q --no-deps -r requirements-test-files.lock
	@touch $@

quickstart: $(VENV)/.installed ## install, then the whole recipe on real text: under 40 minutes on 2 cores
	$(BIN)/arriero run recipes/quickstart.toml

laptop: $(VENV)/.installed ## the same recipe with data enough for claims: at most 2.5 hours on 2 cores
	$(BIN)/arriero run recipes/laptop.toml

test: $(VENV)/.installed-test ## the tests that CI runs, under 15 minutes on 2 cores
	$(BIN)/python -m pytest -m "not full"

test-full: $(VENV)/.installed-test ## all tests, and hostile files of new kinds each time
	$(BIN)/python -m pytest --hypothesis-profile full

lint: $(VENV)/.installed-test ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Those of the data system fetch Debian's documentation and want an environment with datatrove: see benchmarks/README.md.
bench: $(VENV)/.installed-test ## benchmarks against named peers, as ratios
	for script in $(filter-out benchmarks/data_%.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

lock: ## pin anew what pyproject.toml asks for (in fresh environments below build/)
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install -q torch==2.13.0 && build/lock/bin/pip install -q -e .
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock
	build/lock/bin/pip install -q -e '.[test,lint]'
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu//' | grep -vxFf requirements.lock > requirements-test.lock

clean: ## delete the virtual environment and caches; runs/ stays
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
