"""The manifests fit together, and ask for no more than a restricted namespace allows."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"
LABELS = {"app.kubernetes.io/name": "driftwheel-service"}


def read(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Every manifest by kind and name: as kustomize builds them where kubectl is here, else as they are written."""
    resources = read(FOLDER / "kustomization.yaml")[0]["resources"]
    assert sorted(resources) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = [each for each in yaml.safe_load_all(done.stdout) if each]
        assert {each["metadata"].get("namespace", "driftwheel") for each in found} == {"driftwheel"}
    else:
        found = [each for name in resources for each in read(FOLDER / name)]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_the_pods_keep_to_the_restricted_policy(manifests) -> None:
    assert (
        manifests["Namespace", "driftwheel"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    )
    pod = manifests["StatefulSet", "service"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert ("ServiceAccount", pod["serviceAccountName"]) in manifests
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_what_is_named_is_there(manifests) -> None:
    service = manifests["StatefulSet", "service"]["spec"]
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for each in service["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in each
    ]
    assert all(("PersistentVolumeClaim", claim) in manifests for claim in claims)
    assert ("Service", service["serviceName"]) in manifests
    target = manifests["HorizontalPodAutoscaler", "service"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in manifests
    assert "replicas" not in service  # else every `apply` would undo what the autoscaler did


def test_only_the_service_is_cut_off_from_the_network(manifests) -> None:
    policy = manifests["NetworkPolicy", "service"]["spec"]
    assert LABELS.items() <= policy["podSelector"]["matchLabels"].items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy
    kept = manifests["PodDisruptionBudget", "service"]["spec"]["selector"]["matchLabels"]
    assert LABELS.items() <= kept.items()


def test_the_image_is_of_this_version() -> None:
    (image,) = read(FOLDER / "kustomization.yaml")[0]["images"]
    assert image["newTag"] == version("driftwheel")


def test_ray_has_the_pinned_version_a_token_and_no_secret_of_the_platform_on_its_workers() -> None:
    cluster, network = read(FOLDER / "ray" / "cluster.yaml")
    pinned = re.findall(r"^ray==(\S+)", (FOLDER.parents[1] / "requirements-ray.lock").read_text(), re.MULTILINE)
    assert [cluster["spec"]["rayVersion"]] == pinned
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    for group in (cluster["spec"]["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert "envFrom" not in container or group is not workers
        assert container["image"].endswith(f":{version('driftwheel')}")
    selected = network["spec"]["podSelector"]["matchLabels"]
    assert selected == {"ray.io/cluster": cluster["metadata"]["name"]}
