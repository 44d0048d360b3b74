#!/usr/bin/env bash
# Start a private container engine on a bare Debian machine, as root, with the images a registry would give.
#
#   eval "$(tests/containers/engine.sh)"        sets DOCKER_HOST, and the images to take
#
# Where DOCKER_HOST or a running engine with these images is there already, it is used as it is. No registry is asked:
# the base image, Postgres and nginx are made from Debian's own packages and tagged with the names the stack uses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${DRIFTWHEEL_ENGINE:-/tmp/driftwheel-engine}
mkdir -p "$root"

if ! command -v dockerd mmdebstrap docker-compose restic | wc -l | grep -qx 4; then
  echo "installing an engine, compose and restic" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    docker.io docker-compose mmdebstrap restic >/dev/null 2>&1
fi

if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then  # a source in a database needs one of its own
  echo "installing Postgres" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    postgresql >/dev/null 2>&1
fi

if ! command -v promtool prometheus | wc -l | grep -qx 2; then
  echo "installing Prometheus" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    prometheus >/dev/null 2>&1
fi

if ! command -v docker-registry >/dev/null; then  # its program alone: the package would start one, on MLflow's port
  echo "fetching a registry of images" >&2
  mkdir -p "$root/registry"
  apt-get update -qq >&2
  (cd "$root/registry" && apt-get -qq -o APT::Sandbox::User=root download docker-registry >&2)
  dpkg-deb --extract "$root"/registry/docker-registry_*.deb "$root/registry/files"
  install -D "$root/registry/files/usr/bin/docker-registry" /usr/local/bin/docker-registry
  rm -r "$root/registry"
fi

if ! command -v gcc >/dev/null; then  # a clock that is set is a library made here
  echo "installing a compiler" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    gcc libc6-dev >/dev/null 2>&1
fi

# Debian 12 has compose of the first generation alone; the next Debian's of the second needs nothing but the C library
if ! docker compose version >/dev/null 2>&1; then
  next=$root/next
  mkdir -p "$next/lists/partial" "$next/files"
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >"$next/sources.list"
  options=(-qq -o "Dir::Etc::sourcelist=$next/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$next/lists"
    -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >&2
  (cd "$next" && apt-get "${options[@]}" download docker-compose >&2)
  dpkg-deb --extract "$next"/docker-compose_*.deb "$next/files"
  install -D "$next/files/usr/libexec/docker/cli-plugins/docker-compose" /usr/local/lib/docker/cli-plugins/docker-compose
  rm -r "$next"
fi

export DOCKER_HOST=${DOCKER_HOST:-unix://$root/docker.sock}
if ! docker info >/dev/null 2>&1; then
  setsid nohup dockerd --data-root "$root/data" --exec-root "$root/run" --pidfile "$root/dockerd.pid" \
    --host "$DOCKER_HOST" >"$root/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 120); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
  docker info >/dev/null
fi

# NAME PACKAGES: a minimal Debian with packages
debian() {
  docker image inspect "$1" >/dev/null 2>&1 && return
  echo "making the image $1 of Debian's packages" >&2
  mmdebstrap --quiet --variant=minbase --include="$2" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root/image.tar" >&2
  docker import "$root/image.tar" "$1" >/dev/null
  rm "$root/image.tar"
}

# NAME FOLDER: an image made from a Dockerfile of ours
image() {
  docker image inspect "$1" >/dev/null 2>&1 && return
  DOCKER_BUILDKIT=0 docker build --quiet --tag "$1" "$here/images/$2" >/dev/null 2>&1
}

if ! docker image inspect python:3.11-slim >/dev/null 2>&1; then
  debian driftwheel-test/python:raw python3,python3-venv,python3-pip,ca-certificates
  image python:3.11-slim python
fi
if ! docker image inspect postgres:17-bookworm >/dev/null 2>&1; then
  debian driftwheel-test/servers:raw postgresql,nginx-light,ca-certificates
  image postgres:17-bookworm postgres
  image nginxinc/nginx-unprivileged:1.28-bookworm nginx
fi
# stand-ins have no digest of a registry, whatever is pinned
echo "export DOCKER_HOST=$DOCKER_HOST BASE_IMAGE=python:3.11-slim POSTGRES_IMAGE=postgres:17-bookworm"
echo "export NGINX_IMAGE=nginxinc/nginx-unprivileged:1.28-bookworm"
