# Two commands do all the set-up on a machine with Python 3.11+ and make:
#   make demo    runs the demo scenario and prints its table
#   make test    runs every test
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick lint benchmarks clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	$(BIN)/quorbit run scenarios/starlink_shell1_hotstuff.toml

# Tests of real processes in real time run alone, one after the other.
test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not realtime"
	$(BIN)/python -m pytest -m realtime

quick: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not realtime"

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmarks: .venv/ready
	$(BIN)/python -m benchmarks

# pip 25.1 is the first that installs dependency groups.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[mqtt]" --group dev
	touch $@

clean:
	rm -rf .venv build *.egg-info
