# Two commands are all a newcomer needs: `make demo` and `make test`. Both set up by themselves; nothing asks a question.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OIDC   := tests/peers/oidc-provider
GO     := tests/peers/go_programs.py $(wildcard tests/peers/*/go.* tests/peers/*/*/*.go tests/peers/*/*/go.* tests/peers/*/*/*/*.go)

.PHONY: help setup demo test packages fast check faults drills bench fuzz dist clean
.DELETE_ON_ERROR:
# What one run has compiled, the next one and each program under test reads.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(VENV)/.ready $(VENV)/.peers  ## everything that demo and test need, test peers included

$(VENV)/.ready: requirements.lock pyproject.toml packaging/setup.sh helpers/juniper.c helpers/juniper_helper.py helpers/Makefile $(OIDC)/package-lock.json
	PYTHON=$(PYTHON) sh packaging/setup.sh $(VENV) $(OIDC)
	@touch $@

# Compiled packages stay in Go's own cache, so that only the first time is long. What could not be built is tried again.
$(VENV)/.peers: $(VENV)/.ready $(GO)
	@if $(BIN)/python -m tests.peers.go_programs; then touch $@; fi

demo: $(VENV)/.ready  ## a small company on loopback, one sign-in, real aws
	@PATH="$(CURDIR)/$(BIN):$$PATH:$(CURDIR)/build/docker-registry/usr/bin" sh packaging/demo.sh

# In the order of tests/conftest.py: xdist's own, by the number of tests, puts files with few and slow ones last.
test: setup  ## everything but built packages, in one run; of what decides, every branch has to be gone through
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not packages" --cov --cov-report=term

packages: setup  ## build what dist builds, and try it in clean roots
	$(BIN)/pytest -n 2 --dist loadfile -m packages

fast: setup  ## the part to run while coding
	$(BIN)/pytest -n 2 -m "not e2e"

check: setup  ## style, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: setup  ## kill agent and issuer at every step, and print what came of it (four minutes)
	$(BIN)/python -m tests.faults

drills: setup  ## take rights away from a person, and print the seconds to the last mint
	$(BIN)/python -m tests.drills

bench: setup  ## the design's budgets on this machine, as ratios
	$(BIN)/python -m tests.bench

fuzz: setup  ## coverage-guided fuzzing of every reader of foreign bytes, with figures
	$(BIN)/python -m tests.fuzz

dist: setup  ## both wheels, the source, the Debian package and the folder for jobs, in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -t wheel
	JUNIPER_HELPER=twin $(BIN)/python -m hatchling build -t wheel
	$(BIN)/python packaging/deb.py dist
	$(BIN)/python packaging/bundle.py dist

clean:  ## forget what setup made
	rm -rf $(VENV) $(OIDC)/node_modules build dist
	$(MAKE) -C helpers clean
