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
.PHONY: help run setup models test test-all clients check machine format explore bench bench-peers soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(STAMPS)/run models ## the server on port 8000 (PORT=... for another); Ctrl-C ends it
	@exec $(BIN)/antiphon serve --port $(PORT)

setup: $(STAMPS)/dev $(EXTRAS:%=$(STAMPS)/extra-%) models $(EXTRAS:%=models-of-%) ## only the set-up (EXTRAS="..." adds optional parts)

test: setup ## the tests of the default install
	@$(BIN)/python -m pytest -m "not slow and not browser"

HEAVY := tests/contract tests/cluster_ray

test-all: $(STAMPS)/extra-browser $(STAMPS)/extra-balancer $(STAMPS)/extra-piper $(STAMPS)/extra-gpu $(STAMPS)/extra-realtimestt $(STAMPS)/extra-ray $(STAMPS)/extra-languages setup models-of-piper models-of-languages clients ## the checks, then every test
	@$(MAKE) --no-print-directory check machine
	@# PyTorch and Ray fill a process with millions of objects and threads of their own.
	@$(BIN)/python -m pytest $(HEAVY); heavy=$$?; $(BIN)/python -m pytest $(HEAVY:%=--ignore=%) && exit $$heavy

check: $(STAMPS)/dev ## formatter, linter, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The turn machine: what decides when to speak. Its tests reach every branch of it, without a sleep.
MACHINE := turn turn_state turn_closing turn_config user utterance edges endpointing assistant asides speculation replies reply playback latency \
  cutting_in barge_in signals events marks echo ends

MACHINE_TESTS := $(patsubst %,tests/pipeline/test_%.py,turn endpointing playback edges turn_progress asked asides ends muting marks echo)

machine: $(STAMPS)/dev ## the turn machine's tests: its branch coverage, then all of them, random conversations too
	@# The coverage is that of the written examples: what chance finds differs from run to run.
	@$(BIN)/python -m pytest -q -m "not hypothesis" $(MACHINE_TESTS) \
	  $(MACHINE:%=--cov=pipeline.%) --cov-branch --cov-report=term:skip-covered --cov-fail-under=100
	@# Every event in every state, too, and random conversations.
	@$(BIN)/python -m pytest -q $(MACHINE_TESTS) tests/pipeline/test_turn_states.py \
	  tests/pipeline/test_turn_invariants.py tests/pipeline/test_turn_under_load.py

format: $(STAMPS)/dev ## what the formatter and the linter can mend, mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

ROUNDS ?= 10
explore: $(STAMPS)/dev ## the property tests with other examples each round, until one fails: ROUNDS=10
	@for round in $$(seq $(ROUNDS)); do $(BIN)/python -m pytest -q -x -m hypothesis --hypothesis-profile=default || exit; done

bench: $(STAMPS)/extra-piper setup models-of-piper ## the benchmarks that README quotes
	@$(BIN)/python -m benchmarks
	@ANTIPHON_TTS_ENGINE=piper $(BIN)/python -m benchmarks latency

# Peers in environments of their own: their pins are not ours.
PEERS := pipecat fastkokoro

bench-peers: setup $(PEERS:%=.venv-%/.installed) ## the same calls to Pipecat, the same requests to fastkokoro
	@$(BIN)/python -m benchmarks.peers.pipecat
	@$(BIN)/python -m benchmarks.peers.fastkokoro

.venv-%/.installed: benchmarks/peers/%/requirements.txt | $(BIN)/python
	@echo "installing $* into $(@D): some 1 GB"
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --no-input -r $<
	@touch $@

# Clients of the Realtime API, each with its own pins in an environment of its own. One that cannot be
# installed here is left out, and its test is skipped with what is written down.
CLIENTS := openai_python openai_agents pydantic_ai livekit pipecat agents_js
CLIENT := tests/clients

clients: $(CLIENTS:%=$(CLIENT)/%/.installed) ## only the clients that the tests run: some 1.4 GB

$(CLIENT)/agents_js/.installed: $(CLIENT)/agents_js/package-lock.json
	@echo "installing the client agents_js"
	@cd $(@D) && rm -f .installed .not-installed && \
	  if npm ci --no-audit --no-fund --loglevel=error 2> .not-installed; \
	  then rm .not-installed && touch $(@F); \
	  else echo "it could not be installed: $$(tail -n 1 .not-installed)"; fi

$(CLIENT)/%/.installed: $(CLIENT)/%/requirements.txt | $(BIN)/python
	@echo "installing the client $*"
	@cd $(@D) && rm -rf .venv .installed .not-installed && \
	  if $(CURDIR)/$(BIN)/python -m venv .venv && \
	    .venv/bin/python -m pip install -q --disable-pip-version-check --no-input -r requirements.txt 2> .not-installed; \
	  then rm .not-installed && touch $(@F); \
	  else echo "it could not be installed: $$(tail -n 1 .not-installed)"; fi

MINUTES ?= 30

soak: $(STAMPS)/extra-browser setup ## the long soak (MINUTES=... for another length), then as long a call in a browser
	@$(BIN)/python -m benchmarks.soak $(MINUTES)
	@PAGE_MINUTES=$(MINUTES) $(BIN)/python -m pytest -q tests/browser/test_long_call.py

# --- The environment ------------------------------------------------------------------------------

models: | $(STAMPS)/run
	@$(BIN)/antiphon models pull

# What an extra speaks or listens with, besides the default models.
MODELS_OF_piper := piper-en-us-joe
MODELS_OF_languages := whisper-base

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

# What an extra installs without what it asks for: docs/decisions/0002-dependencies.md says why.
ALONE_OF_gpu := kokoro==0.9.4 misaki==0.9.4
ALONE_OF_realtimestt := RealtimeSTT==1.1.2

$(STAMPS)/extra-%: $(STAMPS)/dev
	@$(BIN)/python -c 'import sys; from importlib.metadata import metadata; extras = sorted(metadata("antiphon").get_all("Provides-Extra") or ()); "$*" in extras or sys.exit("there is no extra named $*; there are " + ", ".join(extras))'
	@echo "installing the extra $* into $(VENV)"
	@$(INSTALL) -e ".[$*]"
	@$(if $(ALONE_OF_$*),$(INSTALL) --no-deps $(ALONE_OF_$*),:)
	@touch $@
