# The commands that people type. `make` alone lists them. Each makes the environment it needs in .venv.

SHELL := /bin/bash
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
EXTENSION_SOURCES := setup.py pyproject.toml $(wildcard featurestore/*/*.pyx featurestore/*/*.pxd featurestore/*/*.h) \
    clients/python/setup.py clients/python/pyproject.toml \
    $(wildcard clients/python/featurestore_client/*/*.pyx clients/python/featurestore_client/*/*.pxd clients/python/featurestore_client/*/*.h)

.DEFAULT_GOAL := help
.PHONY: help demo test sanitize torture soak serve bench bench-peers proto lint format wheels image clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv takes dependency groups, pip does from 25.1: so pip is brought up to date first.
.venv/made:
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) .venv
else
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
endif
	@touch $@

# Installed editable with the compiled kernel in place; made again when the sources of the kernel or the dependencies change.
.venv/installed: .venv/made $(EXTENSION_SOURCES)
	@echo "installing featurestore and its tools into .venv"
ifdef UV
	uv pip install --quiet --python $(BIN)/python -e clients/python -e . --group test
else
	$(BIN)/python -m pip install --quiet -e clients/python -e . --group test
endif
	@$(BIN)/python -c 'import featurestore_client.http2' 2> /dev/null || echo "without libnghttp2's headers: gRPC goes over grpcio;" \
	    "apt-get install libnghttp2-dev, then make clean, for the native engine"
	@touch $@

# The tools of a dependency group, by its name.
.venv/bench .venv/demo .venv/engines .venv/wheels: .venv/installed
ifdef UV
	uv pip install --quiet --python $(BIN)/python --group $(@F)
else
	$(BIN)/python -m pip install --quiet --group $(@F)
endif
	@touch $@

demo: .venv/demo ## real flights become features that a model reads, end to end
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/flights/demo.py

test: .venv/bench lint ## everything that is promised: lint, types, generated code, tests
	@# Processes start by the hundred there: their modules are compiled once, wherever Python may write.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --dist loadfile

sanitize: .venv/bench ## the compiled parts under sanitizers, a million changed conversations, memory order on ARM64 too
	$(BIN)/python -m tests.sanitize --fuzz-sequences $(or $(FUZZ_SEQUENCES),1000000)

torture: .venv/bench ## kill -9 a working server a thousand times, and look for each acknowledged write; a random walk beside a model
	$(BIN)/python -m tests.faults.torture --rounds $(or $(TORTURE_ROUNDS),1000)
	$(BIN)/python -m tests.faults.walk --steps $(or $(WALK_STEPS),5000)

soak: .venv/bench ## 20 minutes of mixed work, in one process and in several: each answer checked, memory and files flat
	$(BIN)/python -m tests.faults.soak --seconds $(or $(SOAK_S),1200)
	$(BIN)/python -m tests.faults.soak --seconds $(or $(SOAK_S),1200) --workers 2

serve: .venv/installed ## start a server on 127.0.0.1:7400
	$(BIN)/featurestore serve

bench: .venv/bench ## all cases against their peers, into bench/results/local
	$(BIN)/python -m bench all

# Each peer in an environment of its own, below .venv/peers; Debian's servers by apt-get where this user may.
bench-peers: .venv/bench ## install and start Redis, memcached, LMDB, Quorin and Feast, and measure beside them: bench/results/peers.*
	$(BIN)/python -m bench.environments
	$(BIN)/python -m bench peers --json bench/results/peers.json --plot bench/results/peers.png

proto: .venv/installed ## generate the protobuf code
	$(BIN)/python proto/generate.py

lint: .venv/bench ## style, types, and that generated code is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python proto/generate.py --check

format: .venv/installed ## put the code in the house style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# Each from its sdist, so that nothing else of the tree gets in. auditwheel puts the library in, and names the glibc that is needed.
wheels: .venv/wheels ## wheels of both distributions into dist/, the client's with libnghttp2 in it, installed and tried
	rm -rf dist build/dist
	FEATURESTORE_HTTP2=required $(BIN)/python -m build --outdir build/dist clients/python
	$(BIN)/python -m build --outdir build/dist .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/dist/*.whl
	$(BIN)/python -m pytest tests/packaging/test_wheels.py

image: ## build the container image without a registry, run it, read a feature from it
	bash docker/build-image.sh

clean: ## remove what the other targets made
	rm -rf .venv build dist *.egg-info clients/python/build clients/python/*.egg-info
	find featurestore clients -name "*.so" -delete -o -name "*.c" -delete
