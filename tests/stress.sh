#!/usr/bin/env bash
# Runs the tests at several speeds: on this machine alone, with the lab's hosts held to half of it, and beside a process
# that keeps a processor busy. What passes only at one speed fails here. Takes an hour and more.
#
# usage: tests/stress.sh      as root; needs the tools of requirements-dev.txt in PATH
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
summary=()
status=0
trap 'exit 130' INT TERM # pytest ends by itself after Ctrl-C, and the next round would begin

round() {
  local name=$1 verdict=passed start=$SECONDS
  shift
  echo "== $name"
  "$@" || { verdict=FAILED status=1; }
  summary+=("$(printf '%-6s %3d min  %s' "$verdict" $(((SECONDS - start + 30) / 60)) "$name")")
  echo "${summary[-1]}"
}

round 'all tests' make --no-print-directory test
round 'all tests, hosts held to half of the processors' env VCSP_LAB_CPU_PERCENT=50 make --no-print-directory test
# It outlives nothing: it asks at every turn whether this script is still there.
(while kill -0 $$ 2>/dev/null; do :; done) &
busy=$!
round 'all tests, beside a busy process' make --no-print-directory test
kill "$busy"
for number in 1 2 3; do
  round "migrations, faults and browser, $number of 3" pytest -m 'not long' \
    tests/integration/test_migration.py tests/integration/test_faults.py tests/unit/analysis/test_report_page_browser.py
done

printf '%s\n' '== summary' "${summary[@]}"
exit "$status"
