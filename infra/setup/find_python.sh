#!/usr/bin/env bash
# Print the path of the Python to set up with: $PYTHON where it is given, else the first that runs of the versions,
# in their order.
#
#   find_python.sh 3.11 3.13 3.12
#
# A command that is there is not yet one that runs: a shim of pyenv may print an error alone, and a distribution's
# Python may come without the modules that make a virtual environment. Interpreters of pyenv are found without its shims.
set -uo pipefail

passed=()

# COMMAND VERSIONS...: print its path if it runs, is of one of these versions and can make a virtual environment
usable() {
  local command=$1 found version path
  shift
  found=$("$command" -c '
import sys, sysconfig
kind = sys.implementation.name if sys.implementation.name != "cpython" else ""
kind = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else kind
print("%d.%d%s" % (*sys.version_info[:2], kind and " " + kind), sys.executable, sep="\t")
import ensurepip, venv' 2>&1 </dev/null)
  local status=$?
  version=${found%%$'\t'*} path=${found#*$'\t'}
  path=${path%%$'\n'*}
  if [[ $found != *$'\t'* ]]; then
    passed+=("$command: does not run (${found%%$'\n'*})")
  elif [[ " $* " != *" $version "* ]]; then
    passed+=("$command: is Python $version")
  elif ((status)); then
    passed+=("$command: cannot make a virtual environment (${found##*$'\n'}; Debian and Ubuntu: apt install python$version-venv)")
  else
    echo "$path"
    return 0
  fi
  return 1
}

main() {
  local version candidate pyenv
  if [[ -n ${PYTHON:-} ]]; then
    usable "$PYTHON" "$@" && return
  else
    pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
    for version in "$@"; do
      while read -r candidate; do
        [[ -n $candidate ]] && usable "$candidate" "$version" && return
      done < <(type -ap "python$version"; printf '%s\n' "$pyenv/$version".*/bin/"python$version" | sort -Vr | grep -v '\*')
    done
    while read -r candidate; do # whatever is called just python may be one of them too
      [[ -n $candidate ]] && usable "$candidate" "$@" && return
    done < <(type -ap python3 python)
  fi
  {
    echo "expected Python $(printf '%s\n' "$@" | sort -V | paste -sd, - | sed 's/,/, /g'), one that runs; found"
    printf '  %s\n' "${passed[@]-none}"
    echo "Install one (apt install python3-venv, brew install python@$2, uv python install $1)," \
      "or name one: make PYTHON=/path/to/python"
  } >&2
  return 1
}

main "$@"
