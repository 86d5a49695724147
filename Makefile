# Everything a person does with a checkout. `make help` lists it.
# Python 3.11 to 3.13; choose another with `make PYTHON=python3.12 …`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETTING ?= normal
export MLFLOW_DISABLE_TELEMETRY := true
# Without compiled modules beside the sources, each of some thousand processes of the tests would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow docs soak fuzz bench study lint format install install-dev install-gpu lock audit secrets backup restore \
	clean check-machine

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 16

demo: install  ## Install, then run a whole small study on real images
	$(BIN)/sweeper launch --grid demo

test: install-dev lint  ## Install, check, and run the fast tests
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: install-dev  ## The tests with real training and real faults
	$(BIN)/pytest -m slow -n 3 --dist loadfile --no-loadscope-reorder --durations=25

docs: install-dev  ## The site in docs/_build, from the pages and the docstrings; a broken link fails
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs 2 docs docs/_build
	@echo docs/_build/index.html

soak: install-dev  ## Kill a sweep at random moments KILLS=60 times, with SEED if you like, and compare
	$(BIN)/python -m tests.system.faults.soak --kills $(or $(KILLS),60) $(if $(SEED),--seed $(SEED))

fuzz: install-dev  ## Grids, exported sweeps, image files and requests at random for MINUTES=10
	FUZZ_MINUTES=$(or $(MINUTES),10) $(BIN)/pytest -m slow tests/system/fuzz --timeout 0

bench: install-dev  ## Speed against what one would use instead; SETTING=quick, normal (default) or long
	$(BIN)/python -m benchmarks --setting $(SETTING)

study: install  ## The study of docs/study.md from nothing, some hours: DATA=folder; SETTING=quick for a tenth
	$(BIN)/python -m benchmarks.study.run --data $(DATA) --to $(or $(TO),study) --setting $(SETTING)

lint: install-dev  ## Style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev  ## Bring the code into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.cpu  ## What the program needs, without a GPU
install-dev: $(VENV)/.dev  ## What the tests need besides
install-gpu: $(VENV)/.gpu  ## What the program needs, with an NVIDIA GPU

# Exactly the locked versions, each checked against its hash. uv is quick and compiles in parallel (importing TensorFlow
# uncompiled takes three times as long); where it cannot reach the index, as behind a mirror that only pip knows, pip
# does the same.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/bin/uv
	@echo "installing $< into $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --only-binary :all: --require-hashes -r $< \
		|| $(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r $<
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
$(VENV)/bin/uv: requirements/uv.txt | check-machine
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

check-machine:
	@command -v $(PYTHON) >/dev/null || { echo "sweeper needs Python 3.11 to 3.13: apt-get install python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "sweeper needs Python 3.11 to 3.13, $(PYTHON) is `$(PYTHON) -V`; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "sweeper needs venv: apt-get install python3-venv"; exit 2; }
	@command -v git >/dev/null || { echo "sweeper needs git: apt-get install git"; exit 2; }

lock: install-dev  ## Resolve pyproject.toml anew into requirements/
	@for extra in dev:"--extra cpu --extra dev" cpu:"--extra cpu" gpu:"--extra gpu"; do \
		name=$${extra%%:*}; constraint=; [ $$name = dev ] || constraint="-c requirements/dev.txt"; \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header --extra build --extra postgres --extra s3 $${extra#*:} $$constraint pyproject.toml -o requirements/$$name.txt >/dev/null; \
	done
	@grep -oE '^uv==[^ ]+' requirements/uv.txt | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header - -o requirements/uv.txt >/dev/null

audit: install-dev  ## Known vulnerabilities of the locked packages, where somebody can be asked
	@$(BIN)/python deploy/audit.py

secrets:  ## Random passwords and tokens for docker compose, in secrets/ and .env (never overwritten)
	@deploy/secrets.sh

backup:  ## Save what the services of docker compose keep; TO=FOLDER, or backups/ and the time
	@deploy/backup.sh $(TO)

restore:  ## Put a backup into this host's empty volumes: FROM=FOLDER; FORCE=1 deletes what they hold
	@deploy/restore.sh "$(FROM)" $(if $(FORCE),--force)

clean:  ## Remove what was installed and cached here (no results: those are in SWEEPER_HOME)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache docs/_build docs/api
