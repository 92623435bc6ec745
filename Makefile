# Everything a person or a machine does with this checkout. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help venv lock run check format test test-long bench bench-full packages clean

BIN := .venv/bin
# Workers of pytest: one for each core.
WORKERS ?= auto
# More arguments for pytest, as in: make test PYTEST_ARGS='-k codec'
PYTEST_ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

venv: ## make or renew the private environment .venv
	@./bootstrap

run: venv ## start the demo: the center, its network and a few messages a second
	@exec $(BIN)/restante demo

check: venv ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

format: venv ## repair what lint and formatting can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

packages: ## install the Debian packages that tests use, where that is permitted
	@./bootstrap packages

test: packages check ## check, then every test, PostgreSQL and Kannel included
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

test-long: packages check ## the same with the caps of fuzz, crash and soak tests lifted
	RESTANTE_LONG=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m 'long or not long' --timeout 3600 $(PYTEST_ARGS)

bench: venv ## print the most telling benchmark tables in about three minutes, as ratios taken in one run
	$(BIN)/python bench/run.py quick

bench-full: venv ## print all of them: every number of binds and window, a million rows; GROWN=10000000 for ten
	$(BIN)/python bench/run.py full $(if $(GROWN),--grown $(GROWN)) $(if $(ONLY),--only $(ONLY))

lock: venv ## renew the locks from requirements*.in (UPGRADE=1 takes newer versions)
	$(BIN)/uv pip compile --quiet --no-config $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --no-config $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' -c requirements.txt \
	  requirements.in requirements-test.in requirements-dev.in -o requirements-test.txt
	@./bootstrap

clean: ## remove what was made here: environment, caches, builds
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './node_modules/*' -exec rm -rf {} +
