# Everything a person does with a checkout. Each target gets what it needs by itself, and a second run is quick.
#
#   make lab     open JupyterLab on the quick start notebook        make test   the tests
#   make demo    run it and its second part headless, print them    make lint   the checks
#                (on a real cluster: make demo KUBECONFIG=FILE)
#   make bench   the benchmarks                                     make help   this list
#   make hub     a hub on this machine: log in, choose hardware, get JupyterLab

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.9
# One stamp per content of what is installed: a changed lock or package list installs again, nothing else does.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
# Links into the checkout instead of copies. An installation must not write through them, so they go before it.
LINKS := $(VENV)/share/jupyter/labextensions/jupyterlab-kf $(VENV)/share/jupyter/jupyterlab_kf/profiles.yaml
PORT ?= 8888
# A kubeconfig counts when it is named on make's own command line: one that lies in the environment may be production's.
ON_CLUSTER := $(if $(filter command,$(firstword $(origin KUBECONFIG))),--kubeconfig "$(KUBECONFIG)")
# The panels of JupyterLab, built where node is there; without it everything else works.
TEST_PANELS := if command -v npm >/dev/null; then npm test --silent; else echo "npm is not on the PATH: TypeScript is not tested"; fi
PANELS := jupyterlab_kf/labextension/static/style.js

# Some environments say to keep no bytecode: then each run of the tests would compile what pytest rewrites anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install lab hub demo provision test unit lint fix real-cluster real-cluster-stop test-real test-live record bench lock protos schemas wire screenshots clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

install: $(STAMP) $(PANELS)

$(STAMP): requirements.lock pyproject.toml
	@echo "installing into $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "apt-get install python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); \
	  else echo "Python's venv module is missing (Debian: python3-venv)"; exit 1; fi; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement requirements.lock
	@mkdir -p jupyterlab_kf/labextension
	@rm -rf $(LINKS) jupyterlab_kf/labextension/install.json
	@SKIP_JUPYTER_BUILDER=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -rf $(LINKS)
	@ln -s $(CURDIR)/jupyterlab_kf/labextension $(VENV)/share/jupyter/labextensions/jupyterlab-kf
	@ln -s $(CURDIR)/hub_config/profiles.yaml $(VENV)/share/jupyter/jupyterlab_kf/profiles.yaml
	@rm -f $(VENV)/.installed-* && touch $@

$(PANELS): package.json package-lock.json $(shell find labextension -path labextension/lib -prune -o -type f -print) | $(STAMP)
	@if command -v npm >/dev/null; then \
	  echo "building the panels of JupyterLab"; \
	  { test node_modules/.package-lock.json -nt package-lock.json || npm ci --silent; } \
	    && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent build:prod >$(VENV)/panels.log 2>&1 || { cat $(VENV)/panels.log; exit 1; }; \
	else echo "npm is not on the PATH: the panels of JupyterLab are not built (everything else works)"; fi

lab: install
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --port=$(PORT) docs/notebooks/quickstart.ipynb

hub: install
	$(BIN)/jupyter kf hub

demo: install
	$(BIN)/python tests/tools/demo.py docs/notebooks/quickstart.ipynb $(ON_CLUSTER)
	$(if $(ON_CLUSTER),@echo "its second part needs Katib and Seldon there: tests/tools/demo.py docs/notebooks/lifecycle.ipynb $(ON_CLUSTER)",\
	  $(BIN)/python tests/tools/demo.py docs/notebooks/lifecycle.ipynb)

# What the tests need: made once (a real Kubernetes takes minutes), kept in the cache folder.
provision: install
	@$(BIN)/python tests/tools/provision.py
	@$(BIN)/python tests/real/cluster.py build

test: provision
	@$(TEST_PANELS)
	@$(BIN)/python tests/tools/suites.py unit replay contract real browser hub

unit: install
	@$(TEST_PANELS)
	$(BIN)/python -m pytest -x tests/unit

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v npm >/dev/null; then npm run --silent lint; else echo "npm is not on the PATH: TypeScript is not checked"; fi

fix: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A real Kubernetes with Kubeflow's real operators on this machine, built once (Go; the real node needs root and Linux).
real-cluster: install
	@$(BIN)/python tests/real/cluster.py start --node=auto --frameworks mpi

real-cluster-stop: install
	@$(BIN)/python tests/real/cluster.py stop --all

test-real: provision
	@$(BIN)/python tests/tools/suites.py real

# The whole table of jobs, live on the real operators (make test plays a part of it, another one each day).
test-live: provision
	KF_LIVE=all $(BIN)/python -m pytest tests/real/test_record.py

# Write the records of the real operators anew, on purpose.
record: provision
	$(BIN)/python tests/real/record.py

bench: install
	$(BIN)/python tests/bench/run.py

lock: install
	$(BIN)/uv pip compile --quiet pyproject.toml --group dev --extra hub --universal --generate-hashes --no-header --output-file requirements.lock
	for one in training sdk katib; do $(BIN)/uv pip compile --quiet tests/clients/kubeflow-$$one.in --python-version 3.11 \
	  --generate-hashes --no-header --output-file tests/clients/kubeflow-$$one.lock; done

screenshots: install
	$(BIN)/python tests/tools/screenshots.py

wire: install
	$(BIN)/python tests/tools/generate_wire.py

protos: install
	$(BIN)/python tests/tools/generate_protos.py

schemas: install
	$(BIN)/python tests/tools/generate_schemas.py
	$(BIN)/python tests/tools/generate_definitions.py

clean:
	rm -rf $(VENV) node_modules labextension/lib jupyterlab_kf/labextension dist build .mypy_cache .ruff_cache .pytest_cache
