# Two commands from a fresh clone: `make sweep`, `make test`. Both make .venv from constraints.txt first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests. On two cores, two were faster than three or four: each imports everything once.
WORKERS ?= 2

.PHONY: sweep test types tests test-avx2 test-reliability docs clean

# What depends on numbers: run a second time with the instructions that any x86 processor of the last decade has.
NUMERIC := tests/contracts tests/networks tests/training tests/io/test_checkpoint.py tests/io/test_store.py \
	tests/io/test_reference.py tests/analysis/verify/test_verification.py
AVX2 := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2

sweep: $(VENV)/installed
	$(BIN)/python sweeps/fixed_tau.py --scale quick

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs=2 types tests

# At once, since mypy uses one core.
types: $(VENV)/installed
	$(BIN)/mypy

tests: $(VENV)/installed
	$(BIN)/pytest -n $(WORKERS)

test-avx2: $(VENV)/installed
	$(AVX2) $(BIN)/pytest -n $(WORKERS) $(NUMERIC)

# One after the other: each of these runs a sweep on both cores.
test-reliability: $(VENV)/installed
	$(BIN)/pytest -m slow tests/sweeps -k "everything_killed or crash or full_disk or (test_two_drivers and once) or killed_machine or (test_same_code and the_command)"

# The site, into site/: a warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

# The environment is remade when a pin or the project's metadata changes.
$(VENV)/installed: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("tsrnn needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
