#!/usr/bin/env bash
# Pin the images that ours are built from, and those the stack runs beside them, by digest: `make lock-images`.
#
#   lock_images.sh [DOCKER]
#
# Each tag that is written in one of the files below is pulled, and what came is written behind it: NAME:TAG@sha256:….
# Again, it pins what the tags mean now. IMAGE_REGISTRY=host:port/ asks a mirror for the same names. Nothing is written
# unless all answer.
set -euo pipefail
docker=${1:-docker}
cd "$(dirname "$0")/../.."
files=(Makefile docker-compose.yml infra/images/*/Dockerfile)
place='(_IMAGE:-|BASE_IMAGE=|^IMAGE_[0-9.]+ := )'
name='[a-z0-9./-]+:[a-z0-9.-]+'

edits=()
for tag in $(sed -nE "s#.*$place($name).*#\2#p" "${files[@]}" | sort -u); do
  "$docker" pull --quiet "${IMAGE_REGISTRY:-}$tag" >/dev/null
  digest=$("$docker" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "${IMAGE_REGISTRY:-}$tag" |
    sed -nE "s#^(docker\.io/|library/)*${IMAGE_REGISTRY:-}${tag%:*}@(sha256:[0-9a-f]{64})\$#\2#p" | head -1)
  if [[ -z $digest ]]; then
    echo "expected a digest of $tag from a registry, found none: was it made here instead of pulled?" >&2
    exit 1
  fi
  echo "$tag@$digest"
  edits+=(-e "s#$place${tag//./\\.}(@sha256:[0-9a-f]{64})?([} ]|\$)#\1$tag@$digest\3#")
done
sed -i.bak -E "${edits[@]}" "${files[@]}"
rm "${files[@]/%/.bak}"
