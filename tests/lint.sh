#!/usr/bin/env bash
# Checks style, types, playbooks, plugin documentation and the changelog, and that the collection builds. Runs every
# check, and fails if any does.
#
# usage: tests/lint.sh      with the tools of requirements-dev.txt in PATH
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
failed=()

check() {
  local name=$1
  shift
  echo "== $name"
  "$@" || failed+=("$name")
}

builds() {
  local target status=0
  target=$(mktemp -d)
  ansible-galaxy collection build --output-path "$target" >/dev/null && tar --list --file "$target"/*.tar.gz >"$target/list" || status=1
  # Links would point out of the collection; results or environments would make it huge.
  if grep -E '^(collections|results|\.venv|tests/output)/' "$target/list"; then
    echo 'galaxy.yml: build_ignore lets these into the collection' >&2
    status=1
  fi
  rm -rf "$target"
  return "$status"
}

check 'ruff check' ruff check .
check 'ruff format' ruff format --check .
check mypy mypy
check ansible-lint ansible-lint --offline
check changelog antsibull-changelog lint
check 'collection build' builds
check 'ansible-test sanity' tests/sanity.sh

if ((${#failed[@]})); then
  printf 'lint failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
