# The testbed's commands; `make` alone lists them. Everything runs in .venv, which is made when it is first needed.

# The Python that .venv is made with, and what the commands below can be given.
PYTHON ?= python3
SCENARIO ?= quick
export SCENARIO
ARGS ?=

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Do not compile ahead of use: hardly any of the thousands of files in Ansible's package is ever imported.
PIP_OPTIONS := --quiet --disable-pip-version-check --no-compile
# exec replaces the recipe's shell, so that Ctrl-C reaches the command and its exit status is the recipe's.
RUN = @PATH="$(BIN):$$PATH"; export PATH; exec

.DEFAULT_GOAL := help
.PHONY: help venv experiment lab provision teardown test test-unit test-integration test-long test-stress lint docs bench bench-policies build browser clean

help: ## list the targets
	@echo 'usage: make TARGET [SCENARIO=quick] [ARGS="options of ansible-playbook"]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '%-20s%s\n' "$$name" "$$text"; done

experiment: $(VENV)/.requirements ## run SCENARIO from an empty machine to Table 3 (as root, in the embedded lab)
	$(RUN) ansible-playbook experiment.yml -e scenario="$$SCENARIO" $(ARGS)

lab: $(VENV)/.requirements ## only make or repair the embedded lab
	$(RUN) ansible-playbook playbooks/lab.yml $(ARGS)

provision: $(VENV)/.requirements ## only turn the inventory's hosts into migration hosts
	$(RUN) ansible-playbook playbooks/provision.yml $(ARGS)

teardown: $(VENV)/.requirements ## remove the embedded lab; results stay
	$(RUN) ansible-playbook playbooks/teardown.yml $(ARGS)

test: $(VENV)/.requirements-dev browser ## everything that CI runs (as root)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-unit
	@$(MAKE) --no-print-directory test-integration

test-unit: $(VENV)/.requirements-dev ## tests that need no host
	$(RUN) pytest --numprocesses 2 --dist worksteal tests/unit $(ARGS)

test-integration: $(VENV)/.requirements-dev ## tests in the embedded lab, with real migrations (as root)
	$(RUN) pytest tests/integration -m 'not long' $(ARGS)

test-long: $(VENV)/.requirements-dev ## tests that take too long for every change (as root)
	$(RUN) pytest tests/integration -m long $(ARGS)

test-stress: $(VENV)/.requirements-dev browser ## all tests at several speeds, hosts held back, machine busy (as root, an hour and more)
	$(RUN) tests/stress.sh

lint: $(VENV)/.requirements-dev ## style, types, plugin documentation, and whether the collection builds
	$(RUN) tests/lint.sh

docs: $(VENV)/.requirements ## update the generated parts of docs/
	$(RUN) python docs/generate.py

bench: $(VENV)/.requirements ## measure what the engine costs (as root, after `make lab provision`)
	$(RUN) python -m benchmarks engine $(ARGS)

bench-policies: $(VENV)/.requirements ## measure the prefetch policies (as root, in the embedded lab)
	$(RUN) ansible-playbook experiment.yml -e scenario=benchmarks/policies.yml $(ARGS)
	$(RUN) python -m benchmarks policies

build: $(VENV)/.requirements ## build the collection into build/
	$(RUN) ansible-galaxy collection build --force --output-path build

browser: ## install Chromium for the tests of the web report, unless there is a browser (as root)
	@for program in chromium chromium-browser google-chrome google-chrome-stable; do \
	  ! command -v $$program >/dev/null || exit 0; done; \
	  apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null

venv: $(VENV)/.requirements ## make or update .venv

clean: ## remove what tools left here; .venv and results stay
	rm -rf .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache build tests/output
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamps say which requirements .venv was made for.
$(VENV)/.requirements: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '$(PYTHON) is missing or older than Python 3.11: install a newer one, or choose one: make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python cannot make virtual environments here: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing Python packages into $(VENV) (once) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements.txt
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	@echo 'Installing test tools into $(VENV) ...'
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements-dev.txt
	@touch $@
