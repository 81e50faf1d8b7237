# One command for each need. `make run PORT=9000`, `make fuzz SECONDS=60`, `make test PYTHON=python3.12`: what is set
# with ?= can be given.

PYTHON ?= python3
PORT ?= 8787
VENV ?= .venv
# Test files that run at once. Each starts workers of its own, and some keep two cores busy.
JOBS ?= 2
SECONDS ?= 300

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517
MADE := $(VENV)/.made
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
# What writes the lock files. It resolves for every Python that pyproject.toml allows at once.
LOCK_TOOL := uv==0.13.9
LOCK_VENV := build/lock
# What knows the services that list known vulnerabilities.
AUDIT_TOOL := pip-audit==2.10.1
AUDIT_VENV := build/audit

.PHONY: help run test lint slow kernel fuzz chaos soak bench lock upgrade licences sbom audit clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN) ## Start the daemon, load a module over HTTP, run a first job; Ctrl-C ends it
	@$(BIN)/python examples/run_daemon.py $(PORT)

test: lint ## What CI runs: format, lint, types, tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(DEV) ## Format, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

slow: $(DEV) ## The tests that take longer than CI allows
	$(BIN)/python -m pytest -m slow

chaos: $(DEV) ## Fifteen hundred rounds of chaos; WASMQ_TEST_SEED=N repeats those of a seed, which is printed
	$(BIN)/python -m pytest -m slow -s tests/guarantees/test_chaos.py

soak: $(DEV) ## Five minutes of mixed load on a daemon
	$(BIN)/python -m pytest -m slow -s tests/guarantees/test_soak.py

fuzz: $(DEV) ## Fuzz each target for SECONDS (300) under coverage; what breaks one is left in build/fuzz
	$(BIN)/python -m tests.fuzz all --seconds $(SECONDS)

kernel: $(DEV) ## Of these, the walls on a kernel of their own, in an emulated machine
	$(BIN)/python -m pytest -m slow tests/kernel

bench: $(DEV) ## Measure wasmq side by side with its peers
	$(BIN)/python -m benchmarks

lock: $(LOCK_VENV)/.made ## Write requirements/ anew for pyproject.toml, keeping versions that still fit
	$(COMPILE) pyproject.toml --extra serve --extra postgres --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra serve --constraints requirements/dev.txt --output-file requirements/run.txt
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt

	@$(MAKE) --no-print-directory licences

upgrade: UPGRADE := --upgrade
upgrade: lock ## The same with the newest versions that pyproject.toml allows

licences: $(LOCK_VENV)/.made ## Write requirements/LICENCES.md and the bill of materials for the lock
	@rm -rf build/runtime build/runtime.txt
	@$(PYTHON) -m requirements.lock > build/runtime.txt
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--target build/runtime -r build/runtime.txt
	$(PYTHON) -m requirements.licences build/runtime
	@$(MAKE) --no-print-directory sbom

sbom: ## Write requirements/wasmq.cdx.json, which every wheel carries
	$(PYTHON) -m requirements.sbom

audit: $(AUDIT_VENV)/.made ## Look the locked packages up among known vulnerabilities; fails when one is known, or nobody answers
	@$(AUDIT_VENV)/bin/python -m requirements.audit

clean: ## Remove what can be made again
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(UPGRADE)

$(LOCK_VENV)/.made: Makefile
	$(venv)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(LOCK_TOOL)
	@touch $@

$(AUDIT_VENV)/.made: Makefile
	$(venv)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(AUDIT_TOOL)
	@touch $@

$(VENV)/.made:
	$(venv)
	@touch $@

$(RUN): $(VENV)/.made requirements/build.txt requirements/run.txt pyproject.toml
	@echo 'Installing wasmq into $(VENV)'
	@$(PIP) --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(VENV)/.made requirements/dev.txt pyproject.toml
	@echo 'Installing wasmq and what tests it into $(VENV)'
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Makes a virtual environment where the target is, or says in one line why it cannot.
define venv
	@command -v $(PYTHON) >/dev/null || \
		{ echo 'make: there is no $(PYTHON): apt-get install python3-venv, or make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: wasmq needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V): make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'make: $(PYTHON) cannot make a virtual environment: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(@D)
endef
