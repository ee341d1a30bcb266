#!/usr/bin/env bash
# Run ansible-test sanity on the collection as it would be built. ansible-test wants to stand inside
# .../ansible_collections/vcsp/testbed and takes every file there for part of the collection, so it gets a copy of what
# Git knows or would add.
#
# usage: tests/sanity.sh      needs ansible-test, git and, the first time, PyPI
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
copy=$stage/ansible_collections/vcsp/testbed
mkdir -p "$copy"
# The links under collections/ lead back here; a file that is deleted but not committed yet is still listed.
git ls-files -z --cached --others --exclude-standard -- . ':!collections' |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  tar --null --files-from=- --create --file=- | tar --extract --file=- --directory "$copy"

# ansible-test makes an environment for each test and keeps them in the home directory: here, in one of its own. It would
# download pip for them from its project's server; the Python that runs this has a pip to give.
home=$root/.ansible/sanity
mkdir -p "$home/.ansible/test/cache"
pip_version=$(python3 -c 'from ansible_test._internal.python_requirements import get_venv_packages
from types import SimpleNamespace
import sys
print(get_venv_packages(SimpleNamespace(version="%d.%d" % sys.version_info[:2]))["pip"])')
printf 'import ensurepip\n\nensurepip.bootstrap()\n' >"$home/.ansible/test/cache/get_pip_${pip_version//./_}.py"

export XDG_CONFIG_HOME=${XDG_CONFIG_HOME:-$HOME/.config} # of pip
export HOME=$home LC_ALL=C.UTF-8
sanity() {
  ansible-test sanity --color no --python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" "$@"
}
cd "$copy"
status=0
# pylint and pep8: ruff and mypy see to that with the project's own settings. yamllint: ansible-lint runs it. changelog:
# tests/lint.sh runs antsibull-changelog. pslint: there is no PowerShell here. shellcheck: PyPI does not have it, and what
# passes must not depend on the machine.
sanity --skip-test import --skip-test pylint --skip-test pep8 --skip-test yamllint --skip-test changelog \
  --skip-test pslint --skip-test shellcheck || status=1
# What runs on hosts must import with nothing but Python there. Plugins of the controller may use requirements.txt, which
# this test does not install; the unit tests import them.
sanity --test import plugins/modules/ plugins/module_utils/ || status=1
exit "$status"
