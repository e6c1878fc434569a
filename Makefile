# Every target does its own set-up: on a fresh machine `make demo` and `make test` need only Python >= 3.11, make and a network.
# The stamps in .venv say what is installed; they are renewed when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

# A viewer test needs a screen: the one at hand, else a virtual one, else those tests are skipped and say so.
SCREEN := $(if $(DISPLAY)$(WAYLAND_DISPLAY),,$(if $(shell command -v xvfb-run),xvfb-run -a,))
# Without the system's graphics libraries Qt cannot be imported, and pytest-qt would end the whole run.
PYTEST = $(SCREEN) $(BIN)/python -m pytest $(shell $(BIN)/python -c 'import PySide6.QtTest' 2>/dev/null || echo -p no:pytest-qt)

.PHONY: setup demo test test-long bench bench-peers lint

setup: $(VENV)/.dev

demo: $(VENV)/.core
	$(BIN)/superres demo

# In two processes, each of one thread, a file of tests in one of them; files of long tests come first (tests/conftest.py).
# Compiled modules are kept, even where the environment says otherwise: tests start a hundred processes.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

# With eight times the examples of every law, all kinds of damaged files, all ablations and all ways to be killed: an hour.
test-long: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= SUPERRES_TEST_KILLS=20 $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --long

# Speed and memory, in one table at the end. What needs real images is about quality, and takes hours: run it by file.
bench: $(VENV)/.dev
	$(PYTEST) tests/benchmarks -m "not realdata" -o faulthandler_timeout=0

# Other tools beside superres, each in an environment of its own below .peers (about 3 GB).
bench-peers: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/compare_peers.py

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "superres needs Python >= 3.11; run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing superres into $(VENV) (about 1.3 GB, one to three minutes) ..."
	$(INSTALL) -e .
	@touch $@

# What is needed to develop includes the core.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing superres and its development tools into $(VENV) (about 1.9 GB, two to four minutes) ..."
	$(INSTALL) -e ".[dev]"
	@touch $(VENV)/.core $@
