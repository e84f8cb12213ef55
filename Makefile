# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv itself.
# Needs git, make and a Python of at least 3.11; no Postgres, no docker, root or not.

PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	>/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test chaos proof lint types clean

demo: $(READY)
	$(BIN)/durable demo

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

# A minute of every fault; longer by hand: `python -m bench chaos --minutes 30`.
chaos: $(READY)
	$(BIN)/python -m bench chaos --seed 1 --minutes 1

# Every fault point of the canonical workflows, and every pair of verbs as two sessions: minutes, and
# so a command of its own.
proof: $(READY)
	$(BIN)/python -m pytest -m points -n 2 --dist load -rP \
		tests/proof tests/store/test_races.py tests/models tests/end_to_end $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python -p tests/typing

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .durable dist

$(READY): pyproject.toml
ifeq ($(PYTHON),)
	@echo "There is no Python 3.11, 3.12 or 3.13 with venv and pip here. Install one" \
		"(on Debian: apt install python3 python3-venv), then run this again." >&2; exit 1
endif
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,dev]'
	touch $(READY)
