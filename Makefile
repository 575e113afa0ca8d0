# Every target sets the project up first; `make app` and `make test` need nothing but Python 3.11.
PYTHON ?= python3
BIN := .venv/bin
# One process a core, at most four, since each holds torch; what a slow test leaves, the others take.
PYTEST := $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist worksteal

.PHONY: setup app test test-all browser bench members soak lint js fmt type lock clean

setup: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv/checked: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

app: setup
	$(BIN)/mor app

test: setup
	$(PYTEST) -m "not slow and not browser"

test-all: setup
	$(PYTEST) -m "not browser"

browser: .venv/checked
	$(BIN)/python -m pytest -q -m browser

# Every benchmark, at most 40 minutes; the machine should be idle. What it finds is on the Efficiency page.
bench: .venv/checked
	$(BIN)/mor bench all --out checkpoints/bench

# All checkpoints in turn, less than a minute each; the machine should be idle. The family's speeds are from here alone.
members: .venv/checked
	$(BIN)/mor bench members --out checkpoints/bench && $(BIN)/mor family

# Twenty minutes of repeated runs in one page; run by hand.
soak: .venv/checked
	$(BIN)/mor bench soak

# Of the browser modules only their checks need Node; the app joins them by itself.
node_modules/.installed: package.json package-lock.json
	@command -v npm >/dev/null || { echo "make lint and make js need Node 20.19 or newer with npm" >&2; exit 1; }
	npm ci --silent
	touch $@

lint: .venv/checked node_modules/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	npm run --silent lint && npm run --silent type

js: node_modules/.installed
	npm run --silent test

fmt: .venv/checked
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

type: .venv/checked
	$(BIN)/mypy

# Pins what a clean environment gets; the local part of a version (+cpu) is the machine's, not the project's.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet . pytest pytest-timeout pytest-xdist "python-dateutil<3"  # typepy's, which lm-eval takes
	(echo "# Everything that running and testing needs, pinned. Refresh with: make lock"; \
	.venv-lock/bin/python -m pip freeze --exclude mor-explorer | sed 's/+[a-z0-9]*$$//' | grep -v '^nvidia-') > requirements.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock node_modules build *.egg-info .pytest_cache .mypy_cache .ruff_cache
