# Everything runs in .venv, with the versions of requirements.lock. PYTHON may name another 3.11 or newer.
PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin
SETUP := .venv/.complete
# an organisation's own certificate authority is known to the system, not to uv
export UV_SYSTEM_CERTS ?= true
# where Python may not keep what it has compiled, each process compiles all of MLflow anew: seconds of CPU each
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo up test test-slow bench bench-peers lint fmt docs lock clean

setup: $(SETUP)

$(SETUP): requirements.lock setup.cfg pyproject.toml scripts/setup
	PYTHON=$(PYTHON) scripts/setup
	@touch $@

demo: $(SETUP) ## a model's whole life on real data; ARGS=--exit ends it by itself
	$(BIN)/python -m demo $(ARGS)

up: $(SETUP) ## everything on one machine, until Ctrl-C
	$(BIN)/mlflow-ext up $(ARGS)

test: $(SETUP) ## the whole suite but the slow sweeps
	scripts/test -m "not slow" $(ARGS)

test-slow: $(SETUP) ## the slow sweeps
	scripts/test -m slow $(ARGS)

bench: $(SETUP) ## measurements against peers
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(SETUP) ## MLServer, BentoML and Ray Serve beside ours, each in an environment of its own
	$(BIN)/python -m benchmarks peers $(ARGS)

lint: $(SETUP)
	scripts/check

fmt: $(SETUP)
	scripts/fmt

docs: $(SETUP) ## checks that the docs are complete and their links hold
	scripts/test tests/architecture $(ARGS)

lock: $(SETUP) ## newest versions within the ranges of setup.cfg
	scripts/lock

clean:
	rm -rf .venv build dist *.egg-info
