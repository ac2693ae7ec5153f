# The project's commands; `make` alone lists them.
SHELL := /bin/bash
PY := .venv/bin/python
# Two threads at most a process: everything here is measured on two cores.
export OMP_NUM_THREADS ?= 2
# The checkout itself, whatever else is installed.
export PYTHONPATH := $(CURDIR)
PYTEST_ARGS ?=
# Processes that share the suite, file by file.
TEST_JOBS ?= 2
# Combinations that `make matrix` tries; none named: all.
MATRIX ?=

.DEFAULT_GOAL := help
.PHONY: help env demo test test-gpu lint format docs coverage dist matrix

help:  ## list the commands
	@echo "make demo     set up, train on the built-in data, write work_dirs/demo/report.md"
	@echo "make test     set up, then lint, types and the whole test suite"
	@echo "make test-gpu the tests that need a GPU (make test runs them where there is one)"
	@echo "make lint     set up, then the checks of style, types, spelling and imports only"
	@echo "make format   let ruff rewrite the code in place"
	@echo "make docs     set up, then build the documentation site: work_dirs/docs/index.html"
	@echo "make coverage the whole test suite with the lines that it runs counted: work_dirs/coverage/index.html"
	@echo "make dist     set up, then build sdist and wheel into dist/"
	@echo "make matrix   a slice of the suite on the oldest and newest versions and the forks (20 GB)"
	@echo "              (MATRIX=oldest, newest or forks: that combination only)"
	@echo "make env      set up only: .venv, about 5 min the first time"
	@echo "MMS_PYTHON=/path/to/python3.11 names the interpreter; PYTEST_ARGS goes to pytest"
	@echo "(PYTEST_ARGS='--random-order' shuffles the order of the tests)."

env:
	@bash tools/setup_env.sh

demo: env  ## the main job on the built-in data
	@$(PY) tools/demo/run.py

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m codespell_lib mms_plugin tools tests configs docs *.md
	PATH="$(CURDIR)/.venv/bin:$$PATH" lint-imports

# The suite runs on the CPU, so that it shows the same everywhere; GPU tests follow.
test: lint
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS)
	@if nvidia-smi -L 2>/dev/null | grep -q GPU; then $(MAKE) --no-print-directory test-gpu; fi

test-gpu: env
	CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_integration/test_gpu.py

format: env
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: env  ## the documentation site; a warning is an error
	$(PY) -m sphinx -q -W --keep-going -j auto -d work_dirs/docs.doctrees docs work_dirs/docs
	@echo "work_dirs/docs/index.html"

# Also counts what the commands run that tests start.
coverage: env
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --dist loadfile --cov \
		--cov-report=term:skip-covered --cov-report=html $(PYTEST_ARGS)

dist: env
	$(PY) -m build --no-isolation

# Environments of its own, under .matrix: neither .venv nor its packages are used.
matrix:
	@python3 tools/misc/matrix.py $(MATRIX)
