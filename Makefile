# Every habit of this project is one verb; `make` lists them. CI calls the same verbs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests start hundreds of processes: each would compile everything anew where the environment forbids caches.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# Extra words for the verb, as in `make test ARGS="-k holds"`.
ARGS ?=
# What `make lint` compares the contract with; empty means: work it out (tools/check_contract.py).
BREAKING_AGAINST ?=
# uv only writes the lock; nobody needs it to install.
UV_VERSION := 0.13.8

# The environment is stamped by content, not by time: a fresh checkout has fresh times but the same lock.
# The folder's own path takes part because a virtual environment cannot be moved.
content_of = $(shell { echo '$(CURDIR)'; cat $(1); } 2>/dev/null | cksum | cut -d' ' -f1)
LOCKED := $(VENV)/locked-$(call content_of,requirements.lock)
INSTALLED := $(VENV)/installed-$(call content_of,requirements.lock pyproject.toml clients/python/pyproject.toml clients/testing/pyproject.toml)
# What generates the Python client lives apart from what is run: it has to be older.
GENERATORS := .cache/generators
GENERATORS_LOCKED := $(GENERATORS)/locked-$(call content_of,tools/generators/requirements.lock)
# The same packages, but of gRPC the newest that there are.
NEWEST := .cache/newest
NEWEST_LOCKED := $(NEWEST)/locked-$(call content_of,requirements.lock)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## list the verbs
	@awk 'BEGIN { FS = ":.*## " } /^[a-z.-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: up
up: $(VENV) ## run the ledger, with an embedded PostgreSQL unless DEFTER_DATABASE_URL is set
	@$(BIN)/defter up $(ARGS)

.PHONY: test
# Four workers for two cores: many tests wait for a server, a database or a clock, and three left a third of both
# cores idle. Some take a minute, so whoever has nothing left takes over from the others.
test: $(VENV) ## run the tests on two cores; ARGS go to pytest
	@$(PYTEST) -n 4 --dist worksteal $(ARGS)

.PHONY: test-fast
# The way between two edits: the rules, but for the longest of the generated tests, and some calls from the wire to
# the disk.
test-fast: $(VENV) ## run in half a minute what needs little more than the rules
	@$(PYTEST) -n 2 --dist worksteal --ignore tests/unit/reconciliation/test_compare_properties.py \
		tests/unit tests/wire/test_health.py tests/wire/test_batches.py tests/wire/test_absent_limits.py $(ARGS)

.PHONY: newest
# A security release of grpcio must never be out of reach. What is newest is looked up each time.
newest: $(NEWEST_LOCKED) ## run the wire tests on the newest grpcio and its stock server, nothing tuned
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
		grpcio grpcio-health-checking grpcio-reflection grpcio-status
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e clients/python -e .
	@$(NEWEST)/bin/python -m pip freeze --disable-pip-version-check | grep -E '^(grpcio.*|protobuf)=='
	@DEFTER_CALLS_AHEAD=0 DEFTER_BATCH_SCHEDULING=false \
		$(NEWEST)/bin/python -m pytest -n 3 --dist worksteal tests/wire $(ARGS)

.PHONY: simulate
simulate: $(VENV) ## run many histories of the border; ARGS="--histories 10000 --first 0", --seeds N runs one again
	@$(BIN)/python -m tests.simulation.border $(ARGS)

.PHONY: seeded-faults
seeded-faults: $(VENV) ## find faults of every class among 100,000 sound payments; PAYMENTS=N takes others
	@DEFTER_SEEDED_PAYMENTS=$(or $(PAYMENTS),100000) $(PYTEST) -q -s -p no:xdist \
		tests/integration/reconciliation/test_seeded_faults.py $(ARGS)

.PHONY: roll-out
roll-out: $(VENV) ## run the pages of a roll-out from telemetry to ENFORCED, beside a legacy system that plays on
	@$(BIN)/python -m pytest -q -s -p no:xdist tests/integration/test_roll_out.py $(ARGS)

.PHONY: failover
failover: $(VENV) ## promote a synchronous standby under load, again and again; ARGS="--times 20"
	@$(BIN)/python -m tests.failover $(ARGS)

.PHONY: upgrade
upgrade: $(VENV) ## upgrade a large database from each earlier revision under traffic; ARGS="--records N --from 0012"
	@$(BIN)/python -m tests.upgrade $(ARGS)

.PHONY: screenshots
screenshots: $(VENV) ## take the pictures of the console's pages for docs/console, from what `make up` shows
	@$(BIN)/python -m tests.console.screenshots

.PHONY: mutate
mutate: $(VENV) ## remove one line of codec and store at a time: something must turn red; ARGS="--every 20"
	@$(BIN)/python -m tools.mutate $(ARGS)

.PHONY: attack
attack: $(VENV) ## send an edge 20,000 hostile requests; ARGS="--count N --seed N"
	@$(BIN)/python -m tests.edge.hostile $(ARGS)

.PHONY: lint
lint: $(VENV) $(GENERATORS_LOCKED) ## check style, types, layers, the contract and what is generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/python -m tools.generate_stubs --check
	$(BIN)/python -m tools.generate_client --check
	$(BIN)/python -m tools.generate_go --check
	$(BIN)/python -m tools.check_go
	$(BIN)/python -m tools.generate_typescript --check
	$(BIN)/python -m tools.generate_dashboards --check
	$(BIN)/python -m tools.generate_configuration --check
	$(BIN)/python -m tools.generate_grpcurl --check
	$(BIN)/python -m tools.check_contract $(BREAKING_AGAINST)

.PHONY: gen
gen: $(VENV) $(GENERATORS_LOCKED) ## regenerate the clients, the dashboards, the configuration reference and the calls by grpcurl
	@$(BIN)/python -m tools.generate_stubs
	@$(BIN)/python -m tools.generate_client
	@$(BIN)/python -m tools.generate_go
	@$(BIN)/python -m tools.generate_typescript
	@$(BIN)/python -m tools.generate_dashboards
	@$(BIN)/python -m tools.generate_configuration
	@$(BIN)/python -m tools.generate_grpcurl

.PHONY: migrate
migrate: $(VENV) ## bring the database schema to the newest version
	@$(BIN)/defter migrate $(ARGS)

.PHONY: bench
bench: $(VENV) ## measure load and scale in one go
	@$(BIN)/python -m bench $(ARGS)

.PHONY: format
format: $(VENV) ## format Python and protos in place
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/buf format --write

.PHONY: lock
lock: ## rewrite requirements.lock from pyproject.toml; ARGS=--upgrade takes newer versions
	@test -x .cache/lock/bin/uv || $(PYTHON) -m venv .cache/lock
	@.cache/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@.cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--extra dev --extra otel --no-emit-package defter-client --custom-compile-command "make lock" \
		--output-file requirements.lock $(ARGS) pyproject.toml
	@.cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --output-file tools/generators/requirements.lock $(ARGS) \
		tools/generators/requirements.in

.PHONY: clean
clean: ## remove the environment and every cache; the embedded database stays
	@rm -rf clients/typescript/node_modules clients/typescript/dist clients/typescript/.build
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not a file target: whether the environment is current is decided by its stamps alone.
.PHONY: $(VENV)
$(VENV): $(INSTALLED)

# Starting from an empty environment drops what the lock no longer names.
$(LOCKED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Defter needs Python 3.11 or newer; set PYTHON=")'
	@echo "Installing the locked packages into $(VENV) (once per change of requirements.lock)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(NEWEST_LOCKED):
	@echo "Installing the locked packages into $(NEWEST) (once per change of requirements.lock)"
	@$(PYTHON) -m venv --clear $(NEWEST)
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(GENERATORS_LOCKED):
	@echo "Installing the generators into $(GENERATORS) (once per change of tools/generators/requirements.lock)"
	@$(PYTHON) -m venv --clear $(GENERATORS)
	@$(GENERATORS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r tools/generators/requirements.lock
	@touch $@

# The build backend is one of the locked packages, so no isolated build environment is fetched.
$(INSTALLED): $(LOCKED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e clients/python -e . -e clients/testing
	@rm -f $(VENV)/installed-*
	@touch $@
