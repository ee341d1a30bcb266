# The testbed's commands; `make` alone lists them. Everything runs in .venv, which is made when it is first needed.

# The Python that .venv is made with, and what the commands below can be given.
PYTHON ?= python3
SCENARIO ?= quick
RESULTS ?= results/latest
BASELINE ?=
NEW ?= results/latest
ARGS ?=
# Of `make soak` and `make faults`; FRESH=1 forgets what earlier runs of them have done.
COUNT ?=
SEED ?= 1
FRESH ?=
# The guest of `make soak`: debian, or bare under KVM.
SYSTEM ?= debian
LONG_RUN = $(if $(COUNT),--count "$(COUNT)") --seed "$(SEED)" $(if $(FRESH),--fresh) $(ARGS)
export SCENARIO RESULTS BASELINE NEW

# A shell set up for other playbooks must not steer these: of its settings only the ones named in docs/commands.md hold.
KEPT := ANSIBLE_BECOME_PASSWORD_FILE ANSIBLE_CONNECTION_PASSWORD_FILE ANSIBLE_FORCE_COLOR ANSIBLE_HOME \
  ANSIBLE_LOCAL_TEMP ANSIBLE_LOG_PATH ANSIBLE_NOCOLOR ANSIBLE_VAULT_IDENTITY_LIST ANSIBLE_VAULT_PASSWORD_FILE \
  ANSIBLE_VERBOSITY
CONFIG := $(CURDIR)/ansible.cfg
IGNORED := $(sort $(filter-out $(KEPT) ANSIBLE_CONFIG,$(filter ANSIBLE_%,$(.VARIABLES))) \
  $(filter PYTHONHOME PYTHONPATH,$(.VARIABLES)) $(if $(filter-out $(CONFIG),$(ANSIBLE_CONFIG)),ANSIBLE_CONFIG))
unexport $(IGNORED)
export ANSIBLE_CONFIG := $(CONFIG)
# Ansible runs in UTF-8 only; what is shown is English whatever the locale, and this one is installed everywhere.
export LC_ALL := C.UTF-8

# In all others, the shell and Python's virtual environments find their files.
$(if $(strip $(foreach character,$$ " ' : `,$(findstring $(character),$(CURDIR)))),\
  $(error The folder $(CURDIR) has one of $$ " ' : ` in its name, which virtual environments cannot have: rename it))

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Another one, with an Ansible that .venv does not have.
NEWEST := build/newest
# Do not compile ahead of use: hardly any of the thousands of files in Ansible's package is ever imported.
PIP_OPTIONS := --quiet --disable-pip-version-check --no-compile
# Nobody is there to answer: no question, no restart of services, and a wait for whoever else installs.
APT := </dev/null DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
  apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold
# Ansible would say it with a traceback.
HOME_CHECK = files="$${ANSIBLE_HOME:-$$HOME/.ansible}"; \
  [ -z "$$HOME" ] || { mkdir -p "$$files" && [ -w "$$files" ]; } 2>/dev/null || { echo >&2 \
  "Ansible keeps files in $$files, which cannot be written: set HOME or ANSIBLE_HOME to a folder of yours."; exit 1; }
# A plain "su" keeps a PATH without root's programs and may keep a TMPDIR that is gone: Debian's packages need both.
# exec replaces the recipe's shell, so that Ctrl-C reaches the command and its exit status is the recipe's.
RUN = @$(if $(IGNORED),echo 'Configured by $(CONFIG); ignored: $(IGNORED)' >&2; )$(HOME_CHECK); \
  [ -d "$$TMPDIR" ] || unset TMPDIR; PATH="$(BIN):$$PATH:/usr/local/sbin:/usr/sbin:/sbin"; export PATH; exec

# Removed, to be made anew, where it was moved with its folder or the system's Python was replaced. One that is a link
# belongs to another checkout.
$(shell [ -L $(VENV) ] || [ ! -e $(VENV)/.requirements ] || { grep -qF "$$(pwd -P)/$(VENV)/bin/python" $(VENV)/bin/pip \
  && $(VENV)/bin/python -c 'import ansible'; } 2>/dev/null || rm -rf $(VENV))

# One after the other also where MAKEFLAGS has -j: "make lab provision" needs the order. Tests run as "make test" says.
ifneq ($(MAKECMDGOALS),lint test-unit)
.NOTPARALLEL:
endif

.DEFAULT_GOAL := help
.PHONY: help experiment smoke report compare nightly doctor lab provision teardown \
  test test-unit test-integration test-long test-hosts test-newest test-stress faults soak lint docs bench \
  bench-policies bench-nights build browser venv clean

help: ## list the targets
	@echo 'usage: make TARGET [SCENARIO=quick] [ARGS="options of the command, such as -i inventory/mylab or -v"]'
	@sed -n -e 's/^##@ /\n/p' -e 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do \
	  if [ "$$text" ]; then printf '  %-20s%s\n' "$$name" "$$text"; else printf '%s\n' "$$name"; fi; done
	@echo; echo 'Settings come from $(CONFIG), which names the inventory (the embedded lab).'

##@ Experiments
experiment: $(VENV)/.requirements ## run SCENARIO from an empty machine to Table 3 (as root, in the embedded lab)
	$(RUN) ansible-playbook experiment.yml -e scenario="$$SCENARIO" $(ARGS)

smoke: $(VENV)/.requirements ## see in a minute or two whether everything works: the smallest scenario (as root)
	$(RUN) ansible-playbook experiment.yml -e scenario=smoke $(ARGS)

doctor: $(VENV)/.requirements ## list what would stop SCENARIO here, and what to do; changes nothing (as root)
	$(RUN) ansible-playbook playbooks/doctor.yml -e scenario="$$SCENARIO" $(ARGS)

report: $(VENV)/.requirements ## print Table 3 of RESULTS (default: the newest) and write its figures and page
	$(RUN) python -m analysis report $(ARGS) "$$RESULTS"

compare: $(VENV)/.requirements ## say whether NEW (default: the newest) is worse than BASELINE, two results
	@[ "$$BASELINE" ] || { echo 'Compare with which results? make compare BASELINE=results/... [NEW=results/...]' >&2; exit 2; }
	$(RUN) python -m analysis compare $(ARGS) "$$BASELINE" "$$NEW"

nightly: $(VENV)/.requirements ## run a night, and fail if it is worse than those before it (as root, in the embedded lab)
	$(RUN) python -m analysis nightly run $(ARGS)

##@ Hosts
lab: $(VENV)/.requirements ## make or repair the embedded lab
	$(RUN) ansible-playbook playbooks/lab.yml $(ARGS)

provision: $(VENV)/.requirements ## turn the inventory's hosts into migration hosts
	$(RUN) ansible-playbook playbooks/provision.yml $(ARGS)

teardown: $(VENV)/.requirements ## remove the embedded lab; results stay
	$(RUN) ansible-playbook playbooks/teardown.yml $(ARGS)

##@ Benchmarks
bench: $(VENV)/.requirements ## measure what the engine costs (as root, after `make lab provision`)
	$(RUN) python -m benchmarks engine $(ARGS)

bench-policies: $(VENV)/.requirements ## measure the prefetch policies (as root, in the embedded lab)
	@$(MAKE) --no-print-directory experiment SCENARIO=benchmarks/policies.yml
	$(RUN) python -m benchmarks policies

bench-nights: $(VENV)/.requirements ## run real nights, unchanged and made worse, and see what verdicts say (as root, 2 hours)
	$(RUN) sh -c 'python -m benchmarks nights $(ARGS) && python -m benchmarks power'

##@ Development
test: $(VENV)/.requirements-dev browser ## everything that CI runs (as root)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-unit
	@$(MAKE) --no-print-directory test-integration

test-unit: $(VENV)/.requirements-dev ## tests that need no host
	$(RUN) pytest --numprocesses 2 --dist worksteal tests/unit -m 'not long' $(ARGS)

test-integration: $(VENV)/.requirements-dev ## tests in the embedded lab, with real migrations (as root)
	$(RUN) pytest tests/integration -m 'not long' $(ARGS)

test-long: $(VENV)/.requirements-dev ## tests that take too long for every change (as root)
	$(RUN) pytest tests/unit tests/integration -m long $(ARGS)

test-hosts: $(VENV)/.requirements-dev ## tests on embedded hosts with an operating system of their own (as root)
	$(RUN) pytest tests/integration/test_hosts.py tests/integration/test_guide.py $(ARGS)

test-newest: ## unit tests and migrations with the newest Ansible that PYTHON (3.12 or later) takes (as root)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { \
	  echo 'Newer Ansible than in requirements.txt needs Python 3.12: make test-newest PYTHON=python3.13' >&2; exit 1; }
	@echo 'Installing the newest Ansible into $(NEWEST) ...'
	@$(PYTHON) -m venv $(NEWEST)
	@for file in requirements.txt requirements-dev.txt; do \
	  sed -E 's/^(ansible|ansible-core)==.*/\1/' $$file >$(NEWEST)/$$file; done
	@$(NEWEST)/bin/python -m pip install $(PIP_OPTIONS) --upgrade -r $(NEWEST)/requirements-dev.txt
	@touch $(NEWEST)/.requirements $(NEWEST)/.requirements-dev
	@$(NEWEST)/bin/python -c 'from importlib.metadata import version; print("ansible-core", version("ansible-core"))'
	@$(MAKE) --no-print-directory VENV=$(NEWEST) test-unit
	@$(MAKE) --no-print-directory VENV=$(NEWEST) test-integration ARGS='-k test_migration'

test-stress: $(VENV)/.requirements-dev browser ## all tests at several speeds, hosts held back, machine busy (as root, an hour and more)
	$(RUN) tests/stress.sh

faults: $(VENV)/.requirements-dev ## inject every fault in every phase COUNT times over all runs, and tabulate (as root)
	$(RUN) python -m tests.integration.fault_suite --page docs/results/faults.md $(LONG_RUN)

soak: $(VENV)/.requirements-dev ## migrate a guest back and forth COUNT times over all runs, faults at random (as root)
	$(RUN) python -m tests.integration.soak --system "$(SYSTEM)" \
	  --page docs/results/soak$(if $(filter bare,$(SYSTEM)),-bare).md $(LONG_RUN)

lint: $(VENV)/.requirements-dev ## style, types, plugin documentation, and whether the collection builds
	$(RUN) tests/lint.sh

docs: $(VENV)/.requirements ## update the generated parts of docs/
	$(RUN) python docs/generate.py

build: $(VENV)/.requirements ## build the collection into build/
	$(RUN) ansible-galaxy collection build --force --output-path build

browser: ## install Chromium for the tests of the web report, unless there is a browser (as root)
	@for program in chromium chromium-browser google-chrome google-chrome-stable; do \
	  ! command -v $$program >/dev/null || exit 0; done; \
	$(APT) install --no-install-recommends chromium >/dev/null 2>&1 || \
	{ $(APT) update && $(APT) install --no-install-recommends chromium >/dev/null; } || \
	{ echo 'apt cannot install Chromium: see above, or install it or Chrome yourself.' >&2; exit 1; }

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
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements.txt || { \
	  echo 'pip could not install them. If it found no versions, it cannot reach its index: pip config list' >&2; exit 1; }
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	@echo 'Installing test tools into $(VENV) ...'
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -r requirements-dev.txt
	@touch $@
