#!/usr/bin/env bash
# Resolve the versions anew: `make lock` keeps what is pinned where it can, and asks the index for every hash again;
# `make lock UPGRADE=--upgrade` raises all, `make lock UPGRADE="--upgrade-package mlflow"` one.
#
#   lock.sh UV [UV'S OPTIONS]
#
# One resolution for all Pythons and platforms that are supported. A hash for each file of a release, as the index lists
# them, so neither wheels that lie on this machine nor an index of its own count; and no line names an address.
# torch is pinned by version alone, in a file of its own: which build of it is right, and what that build of CUDA brings,
# depends on the machine.
set -euo pipefail
uv=$1
shift
cd "$(dirname "$0")/../.."
unset UV_FIND_LINKS UV_TORCH_BACKEND
new=$(mktemp -d)
trap 'rm -r "$new"' EXIT

# FILE: its pins without hashes; uv keeps these versions, but takes hashes that stand there for all there are
pins() { sed -n 's/^\([a-z0-9][^\\]*[^ \\]\).*/\1/p' "$1"; }

# FILE INPUT UV'S OPTIONS
resolve() {
  local file=$1 input=$2
  shift 2
  mkdir -p "$new/$(dirname "$file")"
  pins "$file" >"$new/all"
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links "$@" --output-file "$new/all" "$input"
  awk '/^[^ ]/ { kept = !/^(torch|triton|nvidia-[^=]*|cuda-[^=]*)==/ } kept' "$new/all" >"$new/$file"
  if grep -n :// "$new/$file"; then
    echo "$file: expected pins and hashes alone, found an address" >&2
    exit 1
  fi
}

resolve requirements.lock pyproject.toml --extra dev "$@"
sed -n 's/^\(torch==[^ +]*\).*/\1/p' "$new/all" | sort -u >"$new/requirements-torch.lock"
# of these the service runs nothing: what LightGBM learns with, and what tokenizers download by
unused=(scipy huggingface-hub colorama filelock fsspec hf-xet httpcore2 httpx2 httpx2-jsfetch pyyaml tqdm truststore)
resolve infra/images/serving/requirements.txt infra/images/serving/requirements.in \
  --constraint "$new/requirements.lock" "${unused[@]/#/--no-emit-package=}"
resolve infra/images/platform/requirements.txt pyproject.toml --extra flights --extra stack --extra containers --extra lineage \
  --constraint "$new/requirements.lock" --constraint "$new/requirements-torch.lock"
# what Ray needs beside all that: it is installed by itself, where it is asked for
resolve requirements-ray.lock pyproject.toml --extra ray \
  --constraint "$new/requirements.lock" --constraint "$new/requirements-torch.lock"
awk 'NR == FNR { if (/^[^ ]/) known[$1]; next } /^[^ ]/ { kept = !($1 in known) } kept' \
  "$new/requirements.lock" "$new/requirements-ray.lock" >"$new/all"
mv "$new/all" "$new/requirements-ray.lock"
for file in requirements.lock requirements-torch.lock requirements-ray.lock infra/images/{serving,platform}/requirements.txt; do
  cp "$new/$file" "$file"
done
