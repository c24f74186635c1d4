# Two commands: `make figures` and `make test`. Both set up .venv by themselves.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= python3

.PHONY: help figures test quick bench format clean
help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

figures: $(READY)  ## reproduce every figure at quick scale and write results/report.html
	$(BIN)/lbsim figures

test: $(READY)  ## style, types, every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal --nbmake notebooks tests

quick: $(READY)  ## the quick tests only
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests

bench: $(READY)  ## speed against real peers, interleaved in one run
	$(BIN)/lbsim bench

format: $(READY)  ## fix the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache lbsim/__pycache__ results/quick

$(READY): pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
	  { $(PYTHON) -m venv $(VENV) 2>/dev/null || \
	    { rm -rf $(VENV); $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --quiet $(VENV); }; } && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@
