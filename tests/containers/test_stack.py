"""The stack of containers on a real engine: healthy, closed to strangers, turning by events, whole after kill -9.

Needs root, an engine and the images: ``make test-containers``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from expectations.errors import BackupError, StackError
from expectations.loading import load_use_case
from infra.compose.compose import Compose
from infra.compose.preparing import initialise
from infra.vault import Vault
from tasks.bundles.row_frames import jsonable
from tasks.collection.joining import join_sources
from tests.conftest import instant

ROOT = Path(__file__).parents[2]
PORT = 18443
NAME = "rentals"
SERVERS = ("postgres", "prefect", "mlflow", "evidently", "service", "worker", "page", "nginx")

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not os.environ.get("DOCKER_HOST"), reason="needs an engine: make test-containers"),
]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


class _Local(httpx.HTTPTransport):
    """Finds every name on this machine, as browsers find names below localhost."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(request)


class Stack:
    """The stack under test, seen from outside and, by the engine, from inside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.compose = folder, Compose(folder)
        lines = (folder / ".env").read_text().splitlines()
        self.secrets = dict(line.split("=", 1) for line in lines)
        self.trust = ssl.create_default_context(cafile=str(folder / ".stack" / "nginx" / "certificate.pem"))

    def client(self, page: str = "", login: bool = True) -> httpx.Client:
        host = f"{page}.localhost" if page else "localhost"
        headers, auth = {}, None
        if login and page:
            auth = ("admin", self.secrets["DRIFTWHEEL_PASSWORD"])
        elif login:
            headers = {"authorization": f"Bearer {self.secrets['DRIFTWHEEL_SERVICE_KEY']}"}
        transport = _Local(verify=self.trust)
        return httpx.Client(
            base_url=f"https://{host}:{PORT}", transport=transport, headers=headers, auth=auth, timeout=30
        )

    def champion(self) -> str:
        with self.client() as client:
            return str(client.get("/version").json()["usecases"][NAME]["champion"]["version"])

    def predict(self, rows: list[dict]) -> list[float]:
        with self.client() as client:
            answer = client.post(f"/{NAME}/invocations", json={"dataframe_records": rows})
        return answer.raise_for_status().json()["predictions"]

    def container(self, service: str) -> str:
        return self.compose.run("ps", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        return json.loads(docker("inspect", self.container(service)))[0]

    def driftwheel(self, *arguments: str) -> str:
        return docker("exec", self.container("worker"), "driftwheel", *arguments)

    def lake_ids(self) -> set[str]:
        code = (
            "import json; from infra.settings import Settings; from tasks.stores.lake import Lake; "
            f"found = Lake(Settings().places().lake, '{NAME}').scan('predictions').collect()['id']; "
            "print(json.dumps([len(found), found.to_list()]))"
        )
        length, ids = json.loads(docker("exec", self.container("worker"), "python3", "-c", code).splitlines()[-1])
        assert len(set(ids)) == length
        return set(ids)

    def versions(self) -> list[str]:
        with self.client("mlflow") as client:
            found = client.get("/api/2.0/mlflow/model-versions/search", params={"filter": f"name='{NAME}'"}).json()
        return sorted(each["version"] for each in found.get("model_versions", []))

    def flow_runs(self) -> set[str]:
        with self.client("prefect") as client:
            return {each["id"] for each in client.post("/api/flow_runs/filter", json={"limit": 200}).json()}


@pytest.fixture(scope="module")
def usecase_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import make_use_case

    return make_use_case.__wrapped__(tmp_path_factory.mktemp("made"))(NAME)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, usecase_folder: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "infra" / "compose", folder / "infra" / "compose")
    initialise(folder, "localhost", PORT, ())
    shutil.copytree(usecase_folder, folder / "usecases" / NAME)
    (folder / "usecases").chmod(0o755)
    running = Stack(folder)
    running.compose.run(
        "down", "--volumes", "--remove-orphans"
    )  # of a run that was killed: its volumes know other passwords
    try:
        running.compose.run("up", "--detach")
        running.compose.wait()
        yield running
    finally:
        print(running.compose.run("logs", "--no-color", "--tail=40")[-12_000:])
        running.compose.run("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def records(usecase_folder: Path) -> list[dict]:
    usecase = load_use_case(str(usecase_folder))
    rows = join_sources(usecase, since=None, until=instant("2011-05-01"), secret=b"k").rows
    columns = [name for name in rows.columns if name not in (usecase.spec.label.column, *usecase.spec.forbidden)]
    return jsonable(rows.select(columns))


def send(stack: Stack, rows: list[dict], batch: int = 200) -> list[str]:
    ids = []
    with stack.client() as client:
        for start in range(0, len(rows), batch):
            body = {"dataframe_records": rows[start : start + batch]}
            ids += client.post(f"/{NAME}/invocations", json=body).raise_for_status().json()["ids"]
    return ids


def wait(done: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if done():
                return
        except (httpx.HTTPError, subprocess.CalledProcessError):
            pass
        time.sleep(1)
    raise AssertionError("waited in vain")


def test_limits_and_privileges_are_as_declared(stack: Stack) -> None:
    for service in SERVERS:
        found = stack.inspect(service)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] == 512, service
        assert host["Init"], service
        assert not host["Privileged"], service
        assert found["Config"]["User"] not in ("", "0", "root"), service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert bool(host["PortBindings"]) == (service == "nginx"), service


def test_both_generations_of_compose_read_the_file_alike(stack: Stack) -> None:
    read = []
    for command in (["docker", "compose"], ["docker-compose"]):
        done = subprocess.run(
            [*command, "--profile", "docker", "config"], cwd=stack.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr.lower()
        read.append(yaml.safe_load(done.stdout))
    second, first = read
    for part in ("services", "volumes", "networks"):
        assert set(second[part]) == set(first[part])
    for name, service in second["services"].items():
        for key in ("image", "command", "environment", "user", "healthcheck", "restart"):
            assert _plain(service.get(key)) == _plain(first["services"][name].get(key)), (name, key)


def _plain(value: object) -> object:
    """Bring a value into a form both generations write alike: texts, and durations in one unit."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    text = str(value).replace("$$", "$")
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text)
    return str(int(found[1] or 0) * 60 + int(found[2] or 0)) if found and text else text


def test_what_is_stopped_or_was_never_started_does_not_do_well(stack: Stack) -> None:
    assert stack.compose.states()["register"] == "done"
    stack.compose.run("stop", "evidently")
    try:
        assert stack.compose.states()["evidently"] == "exited"
        with pytest.raises(StackError, match="evidently exited"):
            stack.compose.wait(2)
    finally:
        stack.compose.run("start", "evidently")
        stack.compose.wait()


def test_a_server_that_stands_still_is_not_healthy(stack: Stack) -> None:
    pid = stack.inspect("nginx")["State"]["Pid"]
    workers = [int(line) for line in docker("top", stack.container("nginx"), "-eo", "pid").split()[1:]]
    for each in {pid, *workers}:
        os.kill(each, signal.SIGSTOP)
    try:
        wait(lambda: stack.inspect("nginx")["State"]["Health"]["Status"] == "unhealthy", 90)
    finally:
        for each in {pid, *workers}:
            os.kill(each, signal.SIGCONT)
    stack.compose.wait()


def test_passwords_are_guessed_slowly_and_whoever_is_logged_in_goes_on(stack: Stack) -> None:
    with stack.client("reports") as client:
        assert client.get("/").status_code == 200
    answers: list[int] = []

    def guess(number: int) -> None:
        with stack.client("reports", login=False) as stranger:
            answers.append(stranger.get("/", auth=("admin", f"guess {number}")).status_code)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    with stack.client("reports") as client:
        assert client.get("/").status_code == 200
    for thread in threads:
        thread.join()
    assert set(answers) == {401, 429}
    assert answers.count(401) <= 8


def test_a_backup_that_cannot_read_something_is_none(stack: Stack, tmp_path: Path) -> None:
    hide = "mkdir -p /data/lake/hidden && : >/data/lake/hidden/part.parquet && chmod 0 /data/lake/hidden/part.parquet"
    docker("exec", stack.container("worker"), "sh", "-c", hide)
    try:
        with pytest.raises(StackError, match=r"part\.parquet.*Permission denied"):
            stack.compose.back_up(tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        docker("exec", stack.container("worker"), "rm", "-rf", "/data/lake/hidden")


def test_artifacts_may_lie_in_an_s3_compatible_store(stack: Stack) -> None:
    from moto.server import ThreadedMotoServer

    network = json.loads(docker("network", "inspect", f"{stack.folder.name}_outside"))[0]
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    server = ThreadedMotoServer(gateway, 0)
    server.start()
    before = (stack.folder / ".env").read_text()
    try:
        address = f"http://{gateway}:{server.get_host_and_port()[1]}"
        httpx.put(
            f"{address}/models", headers={"authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/x"}
        )
        (stack.folder / ".env").write_text(
            f"{before}MLFLOW_ARTIFACTS=s3://models/all\nMLFLOW_S3_ENDPOINT_URL={address}\n"
            "AWS_ACCESS_KEY_ID=k\nAWS_SECRET_ACCESS_KEY=s\n"
        )
        stack.compose.run("up", "--detach", "mlflow")
        stack.compose.wait()
        code = (
            "import mlflow, pathlib; mlflow.set_experiment('s3'); run = mlflow.start_run(); "
            "mlflow.log_text('whole', 'kept.txt'); "
            "print(mlflow.artifacts.load_text(run.info.artifact_uri + '/kept.txt'))"
        )
        said = docker("exec", stack.container("worker"), "python3", "-c", code)
        assert "whole" in said
        assert "kept.txt" in httpx.get(f"{address}/models?list-type=2").text
    finally:
        server.stop()
        (stack.folder / ".env").write_text(before)
        stack.compose.run("up", "--detach", "mlflow")
        stack.compose.wait()


def test_strangers_are_refused_everywhere(stack: Stack) -> None:
    for page in ("page", "prefect", "mlflow", "reports"):
        with stack.client(page, login=False) as client:
            assert client.get("/").status_code == 401
        with stack.client(page) as client:
            assert client.get("/").status_code == 200
    with stack.client(login=False) as client:
        for path in ("/version", "/metrics", "/docs", f"/{NAME}/invocations"):
            assert client.get(path).status_code == 401
        assert client.get("/livez").status_code == 200
    assert httpx.get(f"http://localhost:{PORT}").status_code == 400  # no TLS
    with stack.client("mlflow") as client:  # as a browser asks from the page itself, and from another
        path, body = "/ajax-api/2.0/mlflow/experiments/search", {"max_results": 5}
        own, other = f"https://mlflow.localhost:{PORT}", "https://evil.example"
        assert client.post(path, json=body, headers={"origin": own}).status_code == 200
        assert client.post(path, json=body, headers={"origin": "https://mlflow.localhost"}).status_code == 200
        assert client.post(path, json=body, headers={"origin": other}).status_code == 403
    inside = (
        "import urllib.request as ask, urllib.error as e\n"
        "for url in ('http://prefect:4200/api/flows/filter', 'http://mlflow:5000/api/2.0/mlflow/experiments/search'):\n"
        "    try: ask.urlopen(ask.Request(url, data=b'{}', headers={'content-type': 'application/json'})); print(200)\n"
        "    except e.HTTPError as error: print(error.code)\n"
    )
    assert set(docker("exec", stack.container("worker"), "python3", "-c", inside).split()) == {"401"}
    assert "DRIFTWHEEL_PASSWORD" not in docker("history", "--no-trunc", "driftwheel-platform:0.1.0")


def test_another_login_looks_until_it_is_named_an_operator(stack: Stack) -> None:
    users, settings = stack.folder / ".stack" / "nginx" / "users", stack.folder / ".env"
    before, known = settings.read_text(), users.read_text()
    reader, path = ("reader", "of this test"), f"/usecases/{NAME}/do/collect"
    digest = base64.b64encode(hashlib.sha1(reader[1].encode(), usedforsecurity=False).digest()).decode()

    def status(client: httpx.Client) -> int:
        return client.get(path, auth=reader).status_code

    try:
        with users.open("a") as file:  # in place: it keeps who may read it
            file.write(f"{reader[0]}:{{SHA}}{digest}\n")  # as `htpasswd -s` writes it
        with stack.client("page") as operator, stack.client("page", login=False) as other:
            shown = operator.get(path)
            assert shown.status_code == 200
            form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
            assert form["token"]
            assert other.get(path, auth=(reader[0], "a guess")).status_code == 401
            assert other.get(f"/usecases/{NAME}", auth=reader).status_code == 200
            refused = other.post(path, auth=reader, data=form, headers={"x-user": "admin"})
            assert refused.status_code == 403
            assert "reader may look at everything here" in refused.text
            settings.write_text(f"{before}DRIFTWHEEL_PAGE_OPERATORS=admin,reader\n")
            stack.compose.run("up", "--detach", "page")
            wait(lambda: status(other) == 200, 90)
    finally:
        users.write_text(known)
        settings.write_text(before)
        stack.compose.run("up", "--detach", "page")
        stack.compose.wait()


def test_the_wheel_turns_in_the_worker_by_events(stack: Stack, records: list[dict]) -> None:
    assert '"outcome": "done"' in stack.driftwheel("run", "loop", NAME, "--as-of", "2011-03-01", "--json")
    wait(lambda: stack.champion() == "1", 30)
    send(stack, [row for row in records if row["time"] >= "2011-03-01"])
    stack.driftwheel("run", "collect", NAME, "--as-of", "2011-05-02")
    with stack.client("prefect") as client:
        deployment = client.get(f"/api/deployments/name/monitor/{NAME}").json()["id"]
        parameters = {"usecase": NAME, "as_of": "2011-05-02T00:00:00Z"}
        made = client.post(f"/api/deployments/{deployment}/create_flow_run", json={"parameters": parameters})
        made.raise_for_status()
    wait(lambda: stack.champion() == "2")
    wait(lambda: "promoted" in stack.driftwheel("why", NAME, "--last", "1"), 30)
    assert stack.versions() == ["1", "2"]


def test_every_process_may_be_killed_and_nothing_is_lost(stack: Stack, records: list[dict]) -> None:
    acknowledged: list[str] = []
    refused, stop = [0], threading.Event()

    def load() -> None:
        body = {"dataframe_records": records[:3]}
        while not stop.is_set():
            try:
                with stack.client() as client:
                    while not stop.is_set():
                        answer = client.post(f"/{NAME}/invocations", json=body)
                        if answer.status_code == 200:
                            acknowledged.extend(answer.json()["ids"])
                        else:
                            refused[0] += 1
                        time.sleep(0.01)
            except httpx.HTTPError:
                refused[0] += 1
                time.sleep(0.2)

    runs, thread = stack.flow_runs(), threading.Thread(target=load)
    thread.start()
    try:
        for service in SERVERS:
            before = stack.inspect(service)["State"]
            os.kill(before["Pid"], signal.SIGKILL)
            wait(
                lambda service=service, before=before: (
                    stack.inspect(service)["State"]["StartedAt"] != before["StartedAt"]
                )
            )
            stack.compose.wait()
            seen = len(acknowledged)
            wait(lambda seen=seen: len(acknowledged) > seen + 10, 60)
    finally:
        stop.set()
        thread.join()
    assert len(acknowledged) > 200
    stack.driftwheel("run", "monitor", NAME, "--as-of", "2011-05-03")
    assert set(acknowledged) <= stack.lake_ids()
    assert runs <= stack.flow_runs()
    assert stack.versions() == ["1", "2"]


def _facts(stack: Stack) -> dict[str, object]:
    with stack.client("prefect") as client:
        deployments = client.post("/api/deployments/filter", json={}).json()
        automations = client.post("/api/automations/filter", json={}).json()
    return {
        "versions": stack.versions(),
        "runs": stack.flow_runs(),
        "deployments": sorted(each["id"] for each in deployments),
        "automations": sorted(each["id"] for each in automations),
        "why": stack.driftwheel("why", NAME, "--last", "50"),
        "ids": stack.lake_ids(),
    }


def test_a_second_up_changes_nothing_and_down_keeps_all_state(stack: Stack) -> None:
    before = _facts(stack)
    stack.compose.run("up", "--detach")
    stack.compose.run("exec", "-T", "nginx", "nginx", "-s", "reload")  # as for another certificate
    stack.compose.wait()
    assert _facts(stack) == before
    stack.compose.run("down")
    stack.compose.run("up", "--detach")
    stack.compose.wait()
    assert _facts(stack) == before
    wait(lambda: stack.champion() == "2", 30)


def test_a_release_waits_for_every_replica_and_all_are_harvested(stack: Stack, records: list[dict]) -> None:
    stack.compose.run("up", "--detach", "--scale", "service=2")
    try:
        stack.compose.wait()
        replicas = stack.compose.run("ps", "--quiet", "service").split()
        assert len(replicas) == 2
        stack.driftwheel("deploy", NAME, "--version", "1", "--strategy", "replace")
        assert [_served(stack, replica) for replica in replicas] == ["1", "1"]
        acknowledged = [id_ for _ in range(20) for id_ in send(stack, records[:3])]
        stack.driftwheel("run", "monitor", NAME, "--as-of", "2011-05-03")
        assert set(acknowledged) <= stack.lake_ids()
        stack.driftwheel("deploy", NAME, "--version", "2", "--strategy", "replace")
        assert [_served(stack, replica) for replica in replicas] == ["2", "2"]
        answered = [_answered(stack, replica) for replica in replicas]
        assert all(answered), answered
    finally:
        stack.compose.run("up", "--detach", "--scale", "service=1")
        stack.compose.wait()


def _ask(stack: Stack, replica: str, path: str) -> str:
    code = (
        "import sys, urllib.request as ask; "
        "print(ask.urlopen(ask.Request('http://127.0.0.1:8080' + sys.argv[1], headers={'x-api-key': sys.argv[2]}))"
        ".read().decode())"
    )
    return docker("exec", replica, "python3", "-c", code, path, stack.secrets["DRIFTWHEEL_SERVICE_KEY"])


def _served(stack: Stack, replica: str) -> str:
    return json.loads(_ask(stack, replica, "/version"))["usecases"][NAME]["champion"]["version"]


def _answered(stack: Stack, replica: str) -> float:
    found = re.search(rf'driftwheel_requests_total{{usecase="{NAME}"}} (\S+)', _ask(stack, replica, "/metrics"))
    assert found
    return float(found[1])


def _end() -> None:
    raise KeyboardInterrupt


def test_everything_is_lost_and_a_backup_brings_it_back(
    stack: Stack, records: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_PASSWORD", "for this test")
    expected = stack.predict(records[:50])
    stack.driftwheel("run", "monitor", NAME, "--as-of", "2011-05-03")
    before = _facts(stack)
    vault = Vault(f"restic:{tmp_path}/vault", "stack")
    vault.put(stack.compose.back_up(tmp_path / "made").folder)
    shutil.rmtree(tmp_path / "made")
    stack.compose.run("down", "--volumes")
    shutil.rmtree(stack.folder / ".stack")
    (stack.folder / ".env").unlink()
    shutil.rmtree(stack.folder / "usecases")

    (stack.folder / ".env").write_text("DRIFTWHEEL_VERSION=0\n")  # whatever lies there, the backup's own comes back
    taken = vault.take("latest", tmp_path / "taken")
    feed = stack.compose._feed
    with monkeypatch.context() as patch:  # killed in the middle: neither started nor taken for a stack
        patch.setattr(
            stack.compose, "_feed", lambda path, *rest: _end() if path.name == "lake.tar" else feed(path, *rest)
        )
        with pytest.raises(KeyboardInterrupt):
            stack.compose.restore(taken)
    with pytest.raises(StackError, match="whose restore did not come to its end"):
        initialise(stack.folder, "localhost", PORT, ())
    stack.compose.restore(taken)
    stack.compose.wait()
    with pytest.raises(BackupError, match="neither containers nor volumes"):
        stack.compose.restore(taken)

    after = _facts(stack)
    assert after["versions"] == before["versions"]
    assert after["runs"] == before["runs"]
    assert after["why"] == before["why"]
    assert before["ids"] <= after["ids"]
    wait(lambda: stack.champion() == "2", 30)
    assert stack.predict(records[:50]) == expected
    stack.driftwheel("run", "monitor", NAME, "--as-of", "2011-05-04")  # and the wheel goes on


def test_flows_run_in_containers_of_their_own_where_asked_for(stack: Stack) -> None:
    initialise(stack.folder, "localhost", PORT, (), "docker")
    stack.compose.run("up", "--detach")
    stack.compose.wait()
    with stack.client("prefect") as client:
        found = client.get(f"/api/deployments/name/monitor/{NAME}").json()
        assert found["work_pool_name"] == "driftwheel-docker"
        pool = client.get("/api/work_pools/driftwheel-docker").text
        assert "mem_limit" in pool
        assert not [name for name, secret in stack.secrets.items() if len(secret) > 20 and secret in pool]
        parameters = {"usecase": NAME, "as_of": "2011-05-05T00:00:00Z"}
        made = client.post(f"/api/deployments/{found['id']}/create_flow_run", json={"parameters": parameters})
        run = f"/api/flow_runs/{made.raise_for_status().json()['id']}"
        wait(lambda: client.get(run).json()["state_type"] in ("COMPLETED", "FAILED", "CRASHED"))
        ended = client.get(run).json()
    assert ended["state_type"] == "COMPLETED"
    assert ended["infrastructure_pid"].startswith("http+docker"), ended["infrastructure_pid"]
    wait(lambda: not docker("ps", "--quiet", "--filter", f"label=io.prefect.flow-run-id={ended['id']}").strip(), 30)
