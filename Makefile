# What one does here. `make` alone lists it. No step asks a question.

PORT ?= 8000
EXTRAS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
STAMPS := $(VENV)/.installed
# What an installation depends on: a change here installs again.
RECIPE := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run setup models test test-all check machine format bench bench-peers soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(STAMPS)/run models ## the server on port 8000 (PORT=... for another); Ctrl-C ends it
	@exec $(BIN)/antiphon serve --port $(PORT)

setup: $(STAMPS)/dev $(EXTRAS:%=$(STAMPS)/extra-%) models $(EXTRAS:%=models-of-%) ## only the set-up (EXTRAS="..." adds optional parts)

test: setup ## the tests of the default install
	@$(BIN)/python -m pytest -m "not slow and not browser"

test-all: $(STAMPS)/extra-browser $(STAMPS)/extra-piper setup models-of-piper ## the checks, then every test
	@$(MAKE) --no-print-directory check machine
	@$(BIN)/python -m pytest

check: $(STAMPS)/dev ## formatter, linter, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The turn machine: what decides when to speak. Its tests reach every branch of it, without a sleep.
MACHINE := turn utterance edges endpointing speculation replies playback cutting_in barge_in

machine: $(STAMPS)/dev ## the turn machine's tests, with its branch coverage
	@$(BIN)/python -m pytest -q tests/pipeline/test_turn.py tests/pipeline/test_endpointing.py \
	  tests/pipeline/test_playback.py tests/pipeline/test_edges.py tests/pipeline/test_turn_progress.py tests/pipeline/test_asked.py \
	  $(MACHINE:%=--cov=pipeline.%) --cov-branch --cov-report=term:skip-covered --cov-fail-under=100

format: $(STAMPS)/dev ## what the formatter and the linter can mend, mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## the benchmarks that README quotes
	@$(BIN)/python -m benchmarks

# Pipecat in an environment of its own: its pins are not ours.
PEER := .venv-pipecat

bench-peers: setup $(PEER)/.installed ## the same calls, to Pipecat
	@$(BIN)/python -m benchmarks.peers.pipecat

$(PEER)/.installed: benchmarks/peers/pipecat/requirements.txt | $(BIN)/python
	@echo "installing Pipecat into $(PEER): some 950 MB"
	@$(BIN)/python -m venv $(PEER)
	@$(PEER)/bin/python -m pip install -qq --disable-pip-version-check --no-input -r $<
	@touch $@

MINUTES ?= 30

soak: setup ## the long soak (MINUTES=... for another length)
	@$(BIN)/python -m benchmarks.soak $(MINUTES)

# --- The environment ------------------------------------------------------------------------------

models: | $(STAMPS)/run
	@$(BIN)/antiphon models pull

# What an extra speaks or listens with, besides the default models.
MODELS_OF_piper := piper-en-us-joe

models-of-%: models
	@$(if $(MODELS_OF_$*),$(BIN)/antiphon models pull $(MODELS_OF_$*),:)

# A python is taken by what it says when run: a name on PATH may be a shim that leads nowhere.
$(BIN)/python:
	@for python in $(PYTHON) python3.12 python3.11 python3; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    found=$$python; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Antiphon needs Python 3.11 or 3.12, and finds neither: install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A pip of 24.1 or later reports its progress; older ones come with Python 3.11.
$(STAMPS)/pip: constraints.txt | $(BIN)/python
	@mkdir -p $(STAMPS)
	@$(INSTALL) --upgrade pip
	@touch $@

$(STAMPS)/run: $(STAMPS)/pip $(RECIPE)
	@echo "installing Antiphon into $(VENV): some 600 MB, which takes a while"
	@$(INSTALL) -e .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/pip $(RECIPE)
	@echo "installing Antiphon and its development tools into $(VENV): some 750 MB, which takes a while"
	@$(INSTALL) -e ".[dev]"
	@touch $(STAMPS)/run $@

$(STAMPS)/extra-%: $(STAMPS)/dev
	@$(BIN)/python -c 'import sys; from importlib.metadata import metadata; extras = sorted(metadata("antiphon").get_all("Provides-Extra") or ()); "$*" in extras or sys.exit("there is no extra named $*; there are " + ", ".join(extras))'
	@echo "installing the extra $* into $(VENV)"
	@$(INSTALL) -e ".[$*]"
	@touch $@
