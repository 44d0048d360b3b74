"""`make lock-images` against a real registry: what it wrote is what is pulled, whatever the tag means later."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.compose.images import unpinned_images
from infra.ports import any_port
from tests.containers.test_stack import docker
from tests.e2e.conftest import wait

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"([a-z0-9][a-z0-9./-]*:[a-z0-9.-]+)@(sha256:[0-9a-f]{64})")

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not os.environ.get("DOCKER_HOST"), reason="needs an engine: make test-containers"),
]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry of this machine, which the engine trusts without TLS as it is on loopback."""
    port = any_port()
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    with (tmp_path / "registry.log").open("w") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait(lambda: answers(f"http://127.0.0.1:{port}/v2/"), 30)
            yield f"127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.ConnectError:
        return False


def publish(registry: str, tag: str, content: str) -> None:
    """Give a tag of the registry an image of its own."""
    made = subprocess.run(
        ["docker", "build", "--quiet", "--tag", registry + tag, "-"],
        input=f"FROM scratch\nLABEL content={content}\n",
        capture_output=True, text=True, check=True, env=os.environ | {"DOCKER_BUILDKIT": "0"},
    ).stdout.strip()  # fmt: skip
    docker("push", "--quiet", registry + tag)
    docker("image", "rm", "--force", registry + tag, made)


def test_what_was_pinned_is_pulled_also_when_its_tag_means_another(registry: str, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "docker-compose.yml"):
        shutil.copy(ROOT / name, checkout)
    for name in ("images", "setup"):
        shutil.copytree(ROOT / "infra" / name, checkout / "infra" / name)
    files = [checkout / "Makefile", checkout / "docker-compose.yml", *checkout.glob("infra/images/*/Dockerfile")]
    for path in files:  # as if nobody had pinned them
        path.write_text(PINNED.sub(r"\1", path.read_text()))
    written = "".join(path.read_text() for path in files)
    tags = set(re.findall(r"(?m)(?:_IMAGE:-|BASE_IMAGE=|^IMAGE_[0-9.]+ := )([a-z0-9./:-]+)", written))
    assert len(tags) == 6  # Python's of four versions, Postgres's, nginx's
    for tag in tags:
        publish(registry, tag, "first")

    environment = {name: value for name, value in os.environ.items() if not name.endswith("_IMAGE")}
    done = subprocess.run(
        [str(checkout / "infra" / "setup" / "lock_images.sh"), "/usr/bin/docker"],
        env=environment | {"IMAGE_REGISTRY": registry}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    pinned = {match[1]: match[2] for path in files for match in PINNED.finditer(path.read_text())}
    assert set(pinned) == tags
    kinds = {"accept": "application/vnd.docker.distribution.manifest.v2+json"}
    for tag, digest in pinned.items():
        name, _, version = tag.rpartition(":")
        answer = httpx.head(f"http://{registry}v2/{name}/manifests/{version}", headers=kinds)
        assert answer.headers["docker-content-digest"] == digest
        docker("image", "rm", "--force", registry + tag)
        publish(registry, tag, "second")
        assert httpx.head(answer.url, headers=kinds).headers["docker-content-digest"] != digest
        pull = f"{registry}{name}@{digest}"
        docker("pull", "--quiet", pull)
        assert docker("image", "inspect", "--format", "{{.Config.Labels.content}}", pull).strip() == "first"
        docker("image", "rm", "--force", pull)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("POSTGRES_IMAGE", "NGINX_IMAGE"):
            patch.delenv(name, raising=False)
        assert unpinned_images(checkout) == ()
