# The testbed's commands; `make` alone lists them. Everything runs in .venv, which is made when it is wanted.

# The Python that .venv is made of, and what the commands below can be told.
PYTHON ?= python3
SCENARIO ?= quick
export SCENARIO
ARGS ?=

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# No bytecode ahead of use: of the thousands of files of Ansible's package, hardly any is ever read.
PIP_OPTIONS := --quiet --disable-pip-version-check --no-compile
# exec: the recipe's shell gives way to the command, so that Ctrl-C and the exit status are the command's own.
RUN = @PATH="$(BIN):$$PATH"; export PATH; exec

.DEFAULT_GOAL := help
.PHONY: help venv experiment lab provision teardown test test-unit test-integration test-long lint bench bench-policies build browser clean

help: ## list the targets
	@echo 'usage: make TARGET [SCENARIO=quick] [ARGS="options of ansible-playbook"]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '%-20s%s\n' "$$name" "$$text"; done

experiment: $(VENV)/.requirements ## run SCENARIO from an empty machine to Table 3 (as root, in the embedded lab)
	$(RUN) ansible-playbook experiment.yml -e scenario="$$SCENARIO" $(ARGS)

lab: $(VENV)/.requirements ## make or mend the embedded lab only
	$(RUN) ansible-playbook playbooks/lab.yml $(ARGS)

provision: $(VENV)/.requirements ## turn the hosts of the inventory into migration hosts only
	$(RUN) ansible-playbook playbooks/provision.yml $(ARGS)

teardown: $(VENV)/.requirements ## remove the embedded lab; results stay
	$(RUN) ansible-playbook playbooks/teardown.yml $(ARGS)

test: $(VENV)/.requirements-dev browser ## all that the continuous integration runs
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-unit
	@$(MAKE) --no-print-directory test-integration

test-unit: $(VENV)/.requirements-dev ## tests that need no host
	$(RUN) pytest --numprocesses 2 --dist worksteal tests/unit $(ARGS)

test-integration: $(VENV)/.requirements-dev ## tests on the embedded lab, real migrations among them (as root)
	$(RUN) pytest tests/integration -m 'not long' $(ARGS)

test-long: $(VENV)/.requirements-dev ## the tests that take too long for every change (as root)
	$(RUN) pytest tests/integration -m long $(ARGS)

lint: $(VENV)/.requirements-dev ## style, types, documentation of the plugins, and whether the collection builds
	$(RUN) tests/lint.sh

bench: $(VENV)/.requirements ## measure what the engine costs (as root, on the lab of `make lab provision`)
	$(RUN) python -m benchmarks engine $(ARGS)

bench-policies: $(VENV)/.requirements ## measure the prefetch policies (as root, in the embedded lab)
	$(RUN) ansible-playbook experiment.yml -e scenario=benchmarks/policies.yml $(ARGS)
	$(RUN) python -m benchmarks policies

build: $(VENV)/.requirements ## build the collection into build/
	$(RUN) ansible-galaxy collection build --force --output-path build

browser: ## install Debian's Chromium, which the tests of the web report use, where there is no browser (as root)
	@for program in chromium chromium-browser google-chrome google-chrome-stable; do \
	  ! command -v $$program >/dev/null || exit 0; done; \
	  apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null

venv: $(VENV)/.requirements ## make or update .venv

clean: ## remove what tools have left here; .venv and results stay
	rm -rf .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache build tests/output
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamps say for which requirements .venv was made.
$(VENV)/.requirements: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '$(PYTHON) is missing or older than Python 3.11: install a newer one, or name one: make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python cannot make virtual environments here: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing Python packages into $(VENV) (once) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements.txt
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	@echo 'Installing tools for tests into $(VENV) ...'
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements-dev.txt
	@touch $@
