#!/usr/bin/env bash
# Runs ansible-test sanity on the collection as it would be built. ansible-test must run inside
# .../ansible_collections/vcsp/testbed and takes every file there for part of the collection, so it gets a copy of what
# Git tracks or would add.
#
# usage: tests/sanity.sh      with ansible-test and git in PATH; the first run needs PyPI
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
copy=$stage/ansible_collections/vcsp/testbed
mkdir -p "$copy"
# The links under collections/ point back here. A file that is deleted but not yet committed is still listed.
git ls-files -z --cached --others --exclude-standard -- . ':!collections' |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  tar --null --files-from=- --create --file=- | tar --extract --file=- --directory "$copy"

# ansible-test keeps an environment per test in the home directory, so give it one of its own. It would download pip for
# them from its project's server; use the pip of the Python that runs this instead.
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
# Skipped: pylint and pep8, which ruff and mypy cover with our own settings; yamllint, which ansible-lint runs; changelog,
# for which tests/lint.sh runs antsibull-changelog; pslint, as there is no PowerShell; shellcheck, which is not on PyPI:
# the result must not depend on what a machine has installed.
sanity --skip-test import --skip-test pylint --skip-test pep8 --skip-test yamllint --skip-test changelog \
  --skip-test pslint --skip-test shellcheck || status=1
# What runs on hosts must import with nothing but Python. Controller plugins may use requirements.txt, which this test
# does not install; the unit tests import those.
sanity --test import plugins/modules/ plugins/module_utils/ || status=1
exit "$status"
