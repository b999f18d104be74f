# Two commands do everything: `make search` and `make test`. Both make the environment first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: search test ci lint format gpu-check clean

search: $(READY)
	$(BIN)/gansearch search examples/digits.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ci: lint test
	$(BIN)/python -m pytest -m slow --timeout 1200

gpu-check:
	$(PYTHON) -m benchmarks.gpu_check

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build
