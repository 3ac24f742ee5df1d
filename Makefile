# install: a venv with uv inside, pinned by constraints.txt. Everything else depends on it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHELL := /bin/bash
# test processes; each takes whole files, the long ones first (tests/conftest.py)
WORKERS ?= 2
# Compiled modules are kept beside the environment, also where PYTHONDONTWRITEBYTECODE is set: uv compiles nothing at installation, and
# a test that starts Python would compile torch anew, which is most of its time.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install quickstart test check docs bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fabloom needs Python 3.11 or newer; set PYTHON=python3.x"; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev,bench,docs,mlflow,onnx,s3,tensorboard]'
	touch $(STAMP)

quickstart: install
	$(BIN)/fabloom run one-step

# one thread a process: threads that spin at a barrier would take the other process's core
test: export OMP_NUM_THREADS := 1
test: install
	@find $(PYTHONPYCACHEPREFIX) -type d -name 'pytest-of-*' -prune -exec rm -rf {} + 2>/dev/null || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/typing/check.py

docs: install
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/methods/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: install
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/offline_data.py

clean:
	rm -rf $(VENV) .fabloom build *.egg-info
