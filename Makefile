# Two commands do everything: `make search` and `make test`. Both make the environment first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: search test ci long lint format faults soak matrix causes alarms alarms-tuning effect watching occurrences scores gpu-check clean

search: $(READY)
	$(BIN)/gansearch search examples/digits.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25 -m "not slow"

$(READY): pyproject.toml constraints.txt
	@echo "making $(VENV): torch, Ray, MLflow and more, about 7 GB; this takes some minutes and prints nothing"
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
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25 -m "slow and not long" --timeout 1200

# What `make ci` leaves out: further variants of a fault, and what trains for minutes.
long: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 25 -m long --timeout 3600

# Injects every fault, and writes down what was measured.
faults: $(READY)
	mkdir -p build && rm -f build/faults.jsonl
	FAULTS_LOG=$(CURDIR)/build/faults.jsonl $(BIN)/python -m pytest -n 2 --dist loadfile tests/faults --timeout 1200
	$(BIN)/python -m benchmarks.faults build/faults.jsonl

soak: $(READY)
	$(BIN)/python -m benchmarks.soak

# Trains every objective with every penalty and every network; ended, it goes on where it was.
matrix: $(READY)
	$(BIN)/python -m benchmarks.matrix

# Trains what failed there again, with one change each.
causes: $(READY)
	$(BIN)/python -m benchmarks.causes

# Counts false and true alarms of the detectors; ended, it goes on where it was.
alarms: $(READY)
	$(BIN)/python -m benchmarks.alarms --part report

# The same on the seeds that thresholds are chosen on.
alarms-tuning: $(READY)
	$(BIN)/python -m benchmarks.alarms --part tuning --out benchmarks/alarms_tuning.md

# Searches with and without stability feedback; ended, it goes on where it was.
effect: $(READY)
	$(BIN)/python -m benchmarks.effect

# What signals and detectors cost a training.
watching: $(READY)
	$(BIN)/python -m benchmarks.watching

# Draws the pictures of docs/stability.md.
occurrences: $(READY)
	$(BIN)/python -m benchmarks.occurrences

# Measures what the truth scores, and draws the pictures of docs/scores.md.
scores: $(READY)
	$(BIN)/python -m benchmarks.scores

gpu-check:
	$(PYTHON) -m benchmarks.gpu_check

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build
