"""The service's image alone: small, without privileges, and it drains before it ends."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.utils import canonicalize_name

from infra.environment import commit
from infra.ports import any_port
from tasks.stores.desired_state import Served
from tasks.stores.keys import Keys
from tasks.stores.releases import Releases
from tests.containers.test_stack import docker
from tests.integration.test_service import made, sample

__all__ = ["made"]
IMAGE = "driftwheel-serving:0.1.0"
MEGABYTE = 2**20

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not os.environ.get("DOCKER_HOST"), reason="needs an engine: make test-containers"),
]


@pytest.fixture
def container(tmp_path: Path, made) -> Iterator[tuple[str, httpx.Client]]:
    releases, keys = Releases(tmp_path / "releases"), Keys(tmp_path / "keys" / "keys.json")
    releases.add("rentals", made[1].folder, made[1].digest)
    releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    key = keys.add("test", ["predict", "admin"])
    (tmp_path / "journal").mkdir()
    subprocess.run(["chmod", "-R", "a+rX", str(tmp_path), *map(str, tmp_path.parents)][:4], check=True)
    (tmp_path / "journal").chmod(0o777)
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    port = any_port()
    name = docker(
        "run", "--detach", "--init", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--volume", f"{tmp_path}/releases:/data/releases:ro",
        "--volume", f"{tmp_path}/keys:/run/keys:ro", "--volume", f"{tmp_path}/journal:/data/journal",
        "--publish", f"127.0.0.1:{port}:8080", IMAGE,
    ).strip()  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": key})
    try:
        for _ in range(200):
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield name, client
    finally:
        client.close()
        docker("rm", "--force", name)


def test_it_answers_without_privileges_in_little_memory_and_drains(container, made, tmp_path: Path) -> None:
    name, client = container
    for _ in range(50):
        client.post("/invocations", json={"dataframe_records": sample(made, 100)}).raise_for_status()
    resident = sum(
        int(line.split()[1]) * 1024
        for line in docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/status").splitlines()
        if line.startswith("VmRSS")
    )
    assert resident < 250 * MEGABYTE
    assert docker("exec", name, "id", "-u").strip() == "10001"
    refused = subprocess.run(["docker", "exec", name, "touch", "/opt/x"], capture_output=True, text=True)
    assert "Read-only file system" in refused.stderr
    docker("stop", "--time", "15", name)
    assert json.loads(docker("inspect", name))[0]["State"]["ExitCode"] == 0
    assert [path.suffix for path in (tmp_path / "journal" / "rentals").glob("*/*")] == [".msgpack"]


def test_it_is_small_and_holds_only_what_serving_needs() -> None:
    sizes = {each: json.loads(docker("image", "inspect", each))[0]["Size"] for each in (IMAGE, "python:3.11-slim")}
    assert sizes[IMAGE] - sizes["python:3.11-slim"] < 400 * MEGABYTE
    found = json.loads(docker("image", "inspect", IMAGE))[0]["Config"]
    assert found["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert len(found["Labels"]["org.opencontainers.image.revision"]) == 40
    assert found["Healthcheck"]["Test"]
    listed = docker("run", "--rm", "--entrypoint", "ls", IMAGE, "/opt/driftwheel/lib/python3.11/site-packages")
    for name in ("torch", "prefect", "mlflow", "pandas", "sklearn", "scipy", "huggingface_hub", "pip"):
        assert name not in listed.split()


@pytest.mark.parametrize("name", ["serving", "platform"])
def test_its_bill_of_materials_names_what_is_installed(name: str) -> None:
    listed = docker(
        "run", "--rm", "--entrypoint", "python3", f"driftwheel-{name}:0.1.0", "-c",
        "from importlib.metadata import distributions as found; print(*(f'{e.name}=={e.version}' for e in found()))",
    ).split()  # fmt: skip
    installed = {(canonicalize_name(each.split("==")[0]), each.split("==")[1]) for each in listed}
    bill = json.loads(Path(f"build/sbom/{name}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "driftwheel")
    named = {(each["name"], each["version"]) for each in bill["components"]}
    # the environment's own tools are in no lock, and one package is for Pythons before 3.11.3 alone
    assert {name for name, _ in installed - named} - {"pip", "setuptools"} == {"driftwheel"}
    assert {name for name, _ in named - installed} <= {"async-timeout"}
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])


def test_the_image_proves_a_bundle_before_it_is_served(made, tmp_path: Path) -> None:
    import shutil

    from expectations.errors import ReleaseError
    from tasks.bundles.manifest import seal
    from tasks.deployment.imaging import has_image, prove_in_image

    assert has_image(IMAGE, commit())
    assert not has_image(IMAGE, "of another commit")
    assert not has_image("driftwheel-serving:never", commit())
    prove_in_image(made[1].folder, made[1].digest, IMAGE)
    with pytest.raises(ReleaseError, match="altered"):
        prove_in_image(made[1].folder, made[2].digest, IMAGE)
    other = tmp_path / "other"
    shutil.copytree(made[1].folder, other)
    golden = json.loads((other / "golden.json").read_text())
    golden["predictions"][0] += 1
    (other / "golden.json").write_text(json.dumps(golden))
    digest = seal(other, made[1].manifest)
    with pytest.raises(ReleaseError, match="a difference of"):
        prove_in_image(other, digest, IMAGE)
