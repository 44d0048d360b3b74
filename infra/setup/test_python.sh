#!/usr/bin/env bash
# Run the tests that a version of Python can break without starting servers, in an environment of its own: those that
# take little time, and of properties a fifth of the examples, as `make test` takes them all.
#
#   test_python.sh FOLDER VERSION
#
# Several may run at once, so each prints what it has to say at its end.
set -euo pipefail
venv=$1 version=$2
log=build/python-$version.log
mkdir -p build
echo "Python $version: testing, see $log"
{ "$(dirname "$0")/install.sh" --bare "$venv" "$version" &&
  DRIFTWHEEL_WITHOUT_TORCH=1 "$venv/bin/python" -m pytest --hypothesis-profile fast -m "not slow" \
    tests/architecture tests/unit tests/properties; } \
  >"$log" 2>&1 && status=0 || status=$?
echo "Python $version:"
cat "$log"
exit $status
