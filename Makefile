# steep_repl: everything one does with it, by name. `make help` lists it.
#
#   PG_CONFIG=/path/to/pg_config   the server to build for; otherwise one is looked for, and built when there is none
#   PG_MAJOR=17                    its major version; 18 is the default

SHELL := bash
.DEFAULT_GOAL := help

PG_MAJOR ?= 18
export PG_MAJOR
ifneq ($(PG_CONFIG),)
export PG_CONFIG
endif

.PHONY: help
help: ## List these targets
	@printf 'Targets (PG_CONFIG and PG_MAJOR choose the server):\n\n'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name what; do printf '%-17s %s\n' "$$name" "$$what"; done

.PHONY: deps
deps: ## Install or build what is missing: PostgreSQL, libclang, cargo-pgrx
	@bash scripts/install-deps.sh

.PHONY: pg-config
pg-config: ## Print the path of the pg_config that is built for
	@bash scripts/find-postgres.sh || { [ -n "$$PG_CONFIG" ] || echo 'error: no PostgreSQL $(PG_MAJOR) found; run make deps' >&2; exit 1; }

.PHONY: install
install: deps ## Build the extension and install it into that server
	@bash scripts/install-extension.sh

PREFIX ?= /usr/local

.PHONY: install-cli
install-cli: deps ## Build steep-repl and install it (PREFIX=/usr/local)
	@cargo install --locked --quiet --force --no-track --path crates/cli --root "$(PREFIX)"

.PHONY: demo
demo: ## Initialize a node under load on two throw-away servers (DEMO_MB=1000)
	@bash scripts/demo.sh

.PHONY: test
test: ## Build, install, and run the tests: each scenario once
	@bash scripts/test.sh

.PHONY: test-all
test-all: ## Run the whole matrix of tests (STEEP_REPL_SEED=n repeats a run)
	@bash scripts/test.sh all

.PHONY: check
check: ## Check format, lints, documentation and dependencies
	@bash scripts/check.sh

.PHONY: bench
bench: ## Measure against built-in sync and pg_dump; writes bench/RESULTS.md
	@bash bench/run.sh

.PHONY: screenshots
screenshots: ## Make the pictures of the terminal UI anew (docs/pictures)
	@bash scripts/screenshots.sh

.PHONY: clean
clean: ## Remove what was built here (installed servers stay)
	@cargo clean
