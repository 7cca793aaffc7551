# The front door: people and CI call these targets and nothing else. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LS_VENV := .venv-labelstudio
LS_VERSION := 1.23.2
# Extra arguments for pip, for example --index-url of a mirror.
PIP_ARGS ?=
# Where torch and torchvision come from, for example PyTorch's CPU index (2.5 GB smaller).
TORCH_INDEX ?=
IMAGES ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-real check lint format test test-fast test-real run demo doctor audit docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: requirements.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@if [ -n "$(TORCH_INDEX)" ]; then \
		$(PY) -m pip install -q $(PIP_ARGS) --index-url $(TORCH_INDEX) 'torch>=2.6,<2.14' 'torchvision>=0.21,<0.29'; fi
	@echo "Installing requirements.txt into $(VENV) (about a minute, up to 5 GB with CUDA)"
	@$(PY) -m pip install -q $(PIP_ARGS) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q $(PIP_ARGS) -r requirements-dev.txt
	@touch $(VENV)/.installed $@

$(LS_VENV)/.installed-$(LS_VERSION):
	@echo "Installing Label Studio $(LS_VERSION) into $(LS_VENV) (about two minutes)"
	@test -x $(LS_VENV)/bin/python || $(PYTHON) -m venv $(LS_VENV)
	@$(LS_VENV)/bin/python -m pip install -q $(PIP_ARGS) label-studio==$(LS_VERSION)
	@touch $@

setup: $(VENV)/.installed ## create .venv and install what the backend needs
setup-dev: $(VENV)/.installed-dev ## the same with the tools of developers
setup-real: $(LS_VENV)/.installed-$(LS_VERSION) ## Label Studio and Chromium for the tests against the real thing
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null) \
		|| { echo "Please install Chromium: the browser tests need it."; exit 1; }

run: setup ## start Redis, workers and server on port 9090; Ctrl-C ends all
	@exec $(PY) -m backend up

demo: setup ## the whole loop with a real Label Studio; IMAGES=folder for your own pictures
	@exec $(PY) -m backend demo $(if $(IMAGES),--images "$(IMAGES)")

doctor: setup ## check every hop and say what to do
	@exec $(PY) -m backend doctor

check: lint test-fast ## lint, types, room borders and fast tests, under a minute

lint: setup-dev
	@$(VENV)/bin/ruff check -q . && $(VENV)/bin/ruff format -q --check .
	@$(VENV)/bin/mypy
	@said=$$($(VENV)/bin/lint-imports --no-cache) || { echo "$$said"; exit 1; }

test-fast: setup-dev
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 -m "not real and not slow and not gpu"

test-real: setup-dev setup-real ## only the tests against a real Label Studio and browser
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -m real

test: setup-dev setup-real lint ## everything: set up, check and all tests
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -raR --reruns 1 -n 2 -m "not real"
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -raR --reruns 1 -m real

format: setup-dev ## format and repair what ruff can
	@$(VENV)/bin/ruff format -q . && $(VENV)/bin/ruff check -q --fix .

audit: setup-dev ## known advisories against what is installed (asks PyPI)
	@$(PY) -m pip_audit --skip-editable -r requirements.txt

docs: setup ## write the generated tables of README and docs anew
	@$(PY) -m backend settings --write

clean: ## remove environments and caches (not .data)
	rm -rf $(VENV) $(LS_VENV) .cache .pytest_cache .mypy_cache .ruff_cache
