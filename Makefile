# make demo | test | lint | bench | soak | lock. Each sets up .venv first, from requirements.lock, if it is out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= work/demo

.PHONY: demo test lint bench soak lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(None if ok else "ich needs Python 3.11 or 3.12: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(VENV)/.installed
	$(BIN)/ich run -c configs/demo.yaml --workspace $(DEMO) || [ $$? -eq 3 ]

test: $(VENV)/.installed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not soak"  # a file's tests together: what it trains, it trains once

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.prepare
	$(BIN)/python -m benchmarks.preprocess
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.labels
	$(BIN)/python -m benchmarks.splits
	$(BIN)/python -m benchmarks.intervals
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.train_step --fed

soak: $(VENV)/.installed
	$(BIN)/pytest -n 2 -m soak

# Pins every package for Python 3.11 and 3.12 at once; needs uv (pip install uv).
lock:
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
