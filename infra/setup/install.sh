#!/usr/bin/env bash
# Make a virtual environment, or bring one up to date with the lock.
#
#   install.sh FOLDER VERSIONS...          VERSIONS of Python, the first is preferred; $PYTHON overrides them
#   install.sh --check FOLDER VERSIONS...  say whether the one in FOLDER is that of $PYTHON
#   install.sh --bare FOLDER VERSIONS...   without torch and nothing compiled, for a quick test
#
# Everything is held against the hashes of requirements.lock, what builds packages and uv itself included. torch alone
# is pinned by version: which build of it is right depends on the machine.
set -euo pipefail
here=$(dirname "$0")
mode=
[[ $1 != --* ]] || { mode=$1 && shift; }
venv=$1
shift
lock=requirements.lock
began=$SECONDS

version_of() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

if found=$(version_of "$venv/bin/python"); then
  if [[ -n ${PYTHON:-} ]]; then
    wanted=$(version_of "$("$here/find_python.sh" "$@")")
    if [[ $wanted != "$found" ]]; then
      echo "expected $venv with Python $wanted, as PYTHON=$PYTHON; found one with $found." \
        "Remove it (make clean), or put another beside it (VENV=.venv-${wanted%.*})" >&2
      exit 1
    fi
  fi
  [[ $mode != --check ]] || exit 0
  echo "bringing $venv (Python $found) up to date"
else
  python=$("$here/find_python.sh" "$@")
  echo "setting up $venv with Python $(version_of "$python") ($python): some minutes, about 3 GB of disk"
  "$python" -m venv --clear "$venv"
fi

if [[ ! -x $venv/bin/uv ]]; then
  awk '/^[^ ]/ { kept = /^uv==/ } kept' "$lock" >"$venv/uv.lock"
  "$venv/bin/python" -m pip install --quiet --require-hashes --requirement "$venv/uv.lock"
fi

uv() { "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --build-constraints "$lock" --require-build-hashes "$@"; }

compile=(--compile-bytecode)
if [[ $mode == --bare ]]; then
  compile=()
else
  # The user's word for the build (UV_TORCH_BACKEND) goes first, then a wheel that lies on this machine (UV_FIND_LINKS).
  # Else uv looks for a graphics card and asks the index of torch's own builds, CPU's where there is none. Whether that
  # answers is seen before anything is fetched.
  torch=(--requirement requirements-torch.lock)
  if [[ -z ${UV_TORCH_BACKEND:-} ]] && ! uv --dry-run --no-deps --no-index "${torch[@]}" 2>/dev/null; then
    if UV_HTTP_TIMEOUT=5 UV_HTTP_CONNECT_TIMEOUT=5 UV_HTTP_RETRIES=0 \
      uv --dry-run --no-deps --torch-backend auto "${torch[@]}" 2>/dev/null; then
      torch+=(--torch-backend auto)
    else
      echo "  no index with builds of torch for this machine answers: taking the package index's own" \
        "(on Linux that is CUDA's, some gigabytes more)"
    fi
  fi
  echo "  $(<requirements-torch.lock)"
  uv "${compile[@]}" --constraint "$lock" "${torch[@]}"
fi
echo "  $(grep -c '^[^ ]' "$lock") packages of $lock"
uv ${compile[@]+"${compile[@]}"} --require-hashes --requirement "$lock"
uv --no-deps --editable .
echo "  done in $((SECONDS - began)) s"
