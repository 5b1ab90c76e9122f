# make demo   a whole room on this machine: five nodes train one adapter together
# make test   the tests (make test-fast leaves out the slow ones, make test-netns needs root)
# Both set everything up the first time; later that costs nothing.

# The first that runs and is new enough: a name on the PATH may be an empty shim.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; \
	echo python3)
BIN := .venv/bin
ARGS ?=

.PHONY: help setup demo test test-again test-fast test-netns soak fuzz lint bench sim upgrade clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile
	@echo "also: make setup | test-again | test-fast | lint | test-netns | soak | fuzz | bench | sim | upgrade | clean      options: make demo ARGS='--nodes 3'"

setup:
	@$(PYTHON) scripts/setup_env.py

demo: setup
	@$(BIN)/fedtui demo $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

# Only what failed the last time.
test-again: setup
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS)

test-fast: setup
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

# Rooms on a small network of namespaces, which fails. Needs root; elsewhere the tests say so.
test-netns: setup
	@command -v nft >/dev/null && command -v ip >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get install -y -qq iproute2 nftables; } || true
	$(BIN)/python -m pytest -m netns tests/netns $(ARGS)

# Eight nodes, a toy workload, random faults: ARGS='--minutes 20 --nodes 8'
soak: setup
	$(BIN)/python -m tests.soak $(ARGS)

# Each parser of foreign bytes, ten minutes long: ARGS='--seconds 60 envelope json'
fuzz: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m tests.benchmarks $(ARGS)

sim: setup
	$(BIN)/python -m p2p.sim $(ARGS)

upgrade:
	@$(PYTHON) scripts/setup_env.py --upgrade

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
