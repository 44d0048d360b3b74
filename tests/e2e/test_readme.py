"""What the README tells a newcomer to do works as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from flows.cli import main
from infra.ports import any_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent / "driftwheel"


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"`?driftwheel (?:\{)?([a-z]+)", README)) - {"keeps", "is", "on"}
    assert named <= set(main.commands)
    targets = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_place_it_names_exists() -> None:
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for place in re.findall(r"`((?:expectations|tasks|infra|flows|tests)/[\w./]*)`", page):
            assert (ROOT / place).exists(), place


READING = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMED = {
    "import driftwheel",
    "kill -9",
    "mlflow models serve",
    "curl --cacert",
    "restic forget",
    "monitor rising",
    "columns / level",
}
NAMED |= {"undetermined", "new category", "out of range", "share of"}  # what is said of a column that drifted
NAMED |= {"not measured", "person asked"}  # what the page says
"""What is named in a sentence, and is no command that a reader types."""
CANARY = "driftwheel deploy pumps --version 2 --strategy canary --steps 0.5 --step 10m"
TRAFFIC = (
    "curl -s http://127.0.0.1:8080/pumps/invocations -H 'content-type: text/csv' --data-binary @pumps/readings.csv"
)
ASK = """curl -s http://127.0.0.1:8080/pumps/invocations -H 'content-type: application/json' -d '{"dataframe_records":
  [{"time": "2024-02-01T10:00:00Z", "pump": "north", "pressure": 5.1, "vibration": 1.9}]}'"""
INFER = """curl -s http://127.0.0.1:8080/v2/models/pumps/infer -H 'content-type: application/json' -d '{"inputs": [
  {"name": "time", "shape": [1], "datatype": "BYTES", "data": ["2024-02-01T10:00:00Z"]},
  {"name": "pump", "shape": [1], "datatype": "BYTES", "data": ["north"]},
  {"name": "pressure", "shape": [1], "datatype": "FP64", "data": [5.1]},
  {"name": "vibration", "shape": [1], "datatype": "FP64", "data": [1.9]}]}'"""
ASK_RIDES = (
    ASK.partition("\n")[0].replace("pumps", "rides")
    + """
  [{"time": "2011-10-03T08:00:00Z", "holiday": 0, "workingday": 1}]}'"""
)
DECIDE = "driftwheel decide flights-replay --dry-run --policy mine.yaml"
LOOK = (
    """driftwheel rows pumps clean --where "pump == 'north' and time >= '2024-01-20T06:00Z' and pressure > 2" --csv"""
)
ALONE = (
    "python -m infra.serving --releases ~/.driftwheel/releases --journal ~/.driftwheel/journal --port 8080 --workers 2"
)

RUN: dict[str, str | tuple[int, str]] = {
    "source .venv/bin/activate": "",
    "driftwheel new rides --from expectations/bikes/data/rides.csv.gz --target bikers": "together with registered",
    "driftwheel check rides": "one prediction",
    "driftwheel add rides && driftwheel up --detach": "driftwheel is up",
    "driftwheel run loop rides --as-of 2011-10-01": "version 1 is the champion",
    ASK_RIDES: '"predictions":[',
    "python pumps/make_data.py": "",
    "driftwheel check pumps": "one prediction",
    "driftwheel replay pumps --compare": "0 failed",
    "driftwheel backtest pumps": "advice: ",
    "driftwheel backtest pumps --policy mine.yaml --json found.json": "advice: ",
    DECIDE: "would be",
    "driftwheel why flights-replay": "  decision ",
    "driftwheel add pumps": "pumps is registered from",
    "driftwheel run loop pumps --as-of 2024-02-01": "version 1 is the champion",
    ASK: '"predictions":[0.',
    INFER: '"model_version":"1"',
    LOOK: ",north,",
    "driftwheel run collect pumps --as-of 2024-03-01": "done",
    "driftwheel run train pumps --as-of 2024-03-01": "gain over the champion",
    "driftwheel why pumps": "version 2 is the champion",
    "driftwheel rollback pumps": "version 1 is the champion",
    CANARY: "version 2 is the champion",
    "driftwheel status": "RUNNING",
    "driftwheel doctor": "✓ service: RUNNING, answers",
    "driftwheel keys add my-app --scope predict": "dw_my-app_",
    "driftwheel score pumps --input lake:clean --output predictions.parquet": "2,880 rows predicted by version 2",
    "driftwheel backup /vault": "every one with its hash",
    "driftwheel restore --verify /vault/driftwheel-…": "sound: ",
    "driftwheel restore /vault/driftwheel-…": "restored ",
    # of docs/operating.md
    "driftwheel promote USECASE --version N": "version 1 is the champion",
    "driftwheel deploy USECASE --strategy canary --steps 0.05,0.25 --step 10m": (1, "the first one comes at 47.8%"),
    "driftwheel deploy USECASE --version N": "version 2 is the champion",
    "driftwheel keys add NAME --scope feedback": "dw_my-source_",
    "driftwheel keys remove NAME": "my-app is no longer taken",
    "driftwheel keys remove platform": "the platform made itself another",
    "driftwheel remove pumps": "goes on answering /pumps with version 2",
    "driftwheel schema > usecase.schema.json": "",
    "driftwheel --help": "Close the loop of machine learning",
    "driftwheel parts --check": "✓ gates metric",
    "driftwheel down": "stopped",
    ALONE: '"predictions":[0.',
    "python -m tasks.stores.journal SEGMENT": '"ids":[',
    "driftwheel stack init --use-case flights": "made .stack/nginx/certificate.pem",
    "DRIFTWHEEL_SERVICE_KEYS=.stack/keys/keys.json driftwheel keys add NAME": "dw_my-app_",
    "driftwheel stack init --domain example.org --port 443": "kept DRIFTWHEEL_DOMAIN=localhost of .env",
    "python tests/benchmarks/judgement.py --only speed": "Processor seconds",
}
"""Commands in the order a reader types them, and what each must say; one that is refused, with its exit code."""
GIVEN: dict[str, dict[str, str]] = {
    "driftwheel why flights-replay": {"flights": "pumps"},
    DECIDE: {"flights": "pumps"},
    "driftwheel promote USECASE --version N": {"USECASE": "pumps", "--version N": "--version 1"},
    "driftwheel deploy USECASE --version N": {"USECASE": "pumps", "--version N": "--version 2"},
    "driftwheel deploy USECASE --strategy canary --steps 0.05,0.25 --step 10m": {"USECASE": "pumps --version 2"},
    "driftwheel keys add NAME --scope feedback": {"NAME": "my-source"},
    "driftwheel keys remove NAME": {"NAME": "my-app"},
    "DRIFTWHEEL_SERVICE_KEYS=.stack/keys/keys.json driftwheel keys add NAME": {"NAME": "my-app"},
    "driftwheel restore /vault/driftwheel-…": {"driftwheel restore": "DRIFTWHEEL_HOME=restored driftwheel restore"},
    "python -m tasks.stores.journal SEGMENT": {"SEGMENT": "~/.driftwheel/journal/pumps/*/predictions-*"},
}
"""What stands for the words of a command that a reader replaces."""
SUBSTITUTED = {
    "/vault": "vault",
    "driftwheel-…": "driftwheel-*",
    "--step 10m": "--step 10s",
    "--windows 100": "--windows 1",
    "tests/benchmarks/": f"{shlex.quote(str(ROOT))}/tests/benchmarks/",
    "expectations/bikes/data/": f"{shlex.quote(str(ROOT))}/expectations/bikes/data/",
    ".venv/bin/activate": shlex.quote(str(BIN.parent / "activate")),
}
"""What is typed otherwise in the test, so that it ends soon and writes nowhere else."""
AS = {
    "driftwheel new NAME --from ADDRESS --target COLUMN": (
        "driftwheel new rides --from expectations/bikes/data/rides.csv.gz --target bikers"
    ),
    "driftwheel check USECASE": "driftwheel check pumps",
    "driftwheel check digits": "driftwheel check pumps",
    "driftwheel replay digits": "driftwheel replay pumps --compare",
    "driftwheel backtest flights": "driftwheel backtest pumps",
    "driftwheel why --trials": "driftwheel why pumps",
    "driftwheel status --json": "driftwheel status",
    "driftwheel parts task": "driftwheel parts --check",
    "driftwheel rollback USECASE": "driftwheel rollback pumps",
    "driftwheel why USECASE": "driftwheel why pumps",
    "driftwheel rows USECASE TABLE": LOOK,
    "driftwheel keys add NAME --scope predict": "driftwheel keys add my-app --scope predict",
    "driftwheel run loop USECASE": "driftwheel run loop pumps --as-of 2024-02-01",
    "driftwheel add NAME": "driftwheel add pumps",
    "driftwheel restore …": "driftwheel restore /vault/driftwheel-…",
    "driftwheel why --json": "driftwheel why pumps",
    TRAFFIC: CANARY,
}
"""Commands that are typed with, or as, another one."""
STACK, VAULT, CI = "tests/containers/test_stack.py", "tests/containers/test_vault.py", ".ci/run"
ELSEWHERE = {
    "driftwheel rows shop raw --decrypt": ("tests/unit/test_encryption.py", '"--head", "9", "--decrypt")'),
    "driftwheel personal-keys list": ("tests/unit/test_encryption.py", 'call("personal-keys", "list", "--json")'),
    "driftwheel personal-keys rotate": ("tests/unit/test_encryption.py", 'call("personal-keys", "rotate")'),
    "driftwheel lineage ID": ("tests/integration/test_watching.py", '["lineage", ids[100]]'),
    "driftwheel prove ID": ("tests/integration/test_watching.py", '["prove", ids[100]]'),
    "driftwheel evidence USECASE": ("tests/unit/test_evidence.py", 'ask("evidence", "rentals")'),
    "driftwheel evidence USECASE --verify FOLDER": (
        "tests/unit/test_evidence.py",
        'ask("evidence", "rentals", "--verify", str(folder))',
    ),
    "driftwheel profile USECASE": ("tests/integration/test_profile.py", '["profile", "rentals"'),
    "driftwheel suggest USECASE": ("tests/unit/test_suggesting.py", 'call("suggest")'),
    "driftwheel suggest USECASE --write": ("tests/unit/test_suggesting.py", 'call("suggest", "--write")'),
    "driftwheel value USECASE": ("tests/integration/test_watching.py", 'main, ["value", str(home / "watched")]'),
    "driftwheel quarantine USECASE list": ("tests/unit/test_quarantine.py", 'call("list")'),
    "driftwheel quarantine USECASE release --held": ("tests/unit/test_quarantine.py", 'call("release", "--held")'),
    "driftwheel quarantine USECASE replay": ("tests/unit/test_quarantine.py", 'call("replay")'),
    "driftwheel quarantine USECASE release --reason EXPECTATION": (
        "tests/unit/test_quarantine.py",
        'call("release", "--reason", BIKERS)',
    ),
    """driftwheel forget USECASE --where "customer == 'Ann'" --dry-run""": (
        "tests/unit/test_forgetting.py",
        """call("--where", f'customer = "{NAME}"', "--dry-run", "--json")""",
    ),
    "make data": ("tests/unit/test_mail.py", "main(tmp_path)"),  # what it does with what it fetched
    "make demo": ("tests/e2e/test_replay.py", "as `make demo` does"),
    "make site": (CI, "make site"),
    "make test": (CI, "make test\n"),
    "make test-browser": (CI, "make test-browser"),
    "make test-containers": (CI, "make test-containers"),
    "make stack-up": (STACK, 'compose.run("up", "--detach")\n    stack.compose.wait()'),
    "make stack-down": (STACK, 'compose.run("down")'),
    "make wheels": ("Makefile", "images: wheels"),  # what test-containers makes first
    "make sbom": ("tests/containers/test_image.py", "build/sbom/{name}.cdx.json"),  # which test-containers makes first
    "make images": ("Makefile", "$(AGAIN) --no-print-directory images sbom DOCKER"),  # by test-containers
    "make lock-images": ("tests/unit/test_setup.py", "lock_images.sh"),
    "driftwheel add --trust FOLDER": ("tests/unit/test_trusted_code.py", 'call("add", "--trust", str(folder))'),
    "driftwheel alert test USECASE": ("tests/integration/test_messages.py", '["alert", "test", str(folder)]'),
    "driftwheel alert acknowledge USECASE KEY": (
        "tests/integration/test_messages.py",
        '["alert", "acknowledge", "rentals", "held"]',
    ),
    "driftwheel list": ("tests/e2e/test_cli.py", 'call("list", "--json")'),
    "driftwheel parts --reference": ("tests/unit/test_parts.py", "page.read_text() == write_reference()"),
    ".venv/bin/driftwheel up": ("tests/e2e/test_cli.py", 'call("up", "--detach")'),
    "driftwheel report USECASE MOMENT": (
        "tests/integration/test_surroundings.py",
        '"report": ["rentals", "2011-02-15"]',
    ),
    "driftwheel adopt taken --model model.txt --from rides.csv --target late --clock time": (
        "tests/unit/test_adopting.py",
        'adopt("--clock", "at")',
    ),
    "hf download sentence-transformers/all-MiniLM-L6-v2 config.json model.safetensors tokenizer.json "
    "--local-dir minilm": (
        "tests/unit/test_encoders.py",
        'name="hf"',
    ),  # it fetches: all that is tested is that it is there, and takes these
    "driftwheel deploy USECASE --new-signature": ("tests/integration/test_rollout.py", "new_signature=True"),
    "docker compose up register": (STACK, 'states()["register"] == "done"'),
    "docker compose up --detach": (STACK, 'compose.run("up", "--detach")'),
    "docker compose up --detach page": (STACK, 'compose.run("up", "--detach", "page")\n            wait('),
    "docker compose up --detach nginx": (STACK, 'compose.run("up", "--detach", "mlflow")'),
    "docker compose exec worker driftwheel why flights": (STACK, 'stack.driftwheel("why", NAME'),
    "docker compose exec nginx nginx -s reload": (STACK, '"nginx", "nginx", "-s", "reload"'),
    "driftwheel stack init --flows-in docker": (STACK, '"localhost", PORT, (), "docker")'),
    "driftwheel stack backup /vault": (STACK, "compose.back_up(tmp_path"),
    "driftwheel stack restore …": (STACK, "compose.restore(taken)"),
    "driftwheel stack restore --verify …": (VAULT, 'call("stack", "restore", vault, "--verify")'),
    "driftwheel backup restic:s3:https://host/bucket": (VAULT, 'call("backup", vault)'),
    "driftwheel restore restic:REPOSITORY [--snapshot ID]": (VAULT, 'call("restore", vault)'),
    "kubectl apply -k infra/kubernetes": (
        "tests/unit/test_kubernetes.py",
        '["kubectl", "kustomize"',
    ),  # built, not applied
}
"""Commands that need an engine, a registry or an hour: the test (or what CI runs) that runs them, and its words."""
BY_HAND = {
    f"make bench{each}"
    for each in (
        *("", "-causes", "-data", "-estimates", "-interference", "-intervals", "-judgement", "-lives", "-new"),
        *("-policies", "-ray", "-serving", "-streams", "-suggest", "-warm", "-windows"),
    )
} | {"make torture", "make tour"}
"""Measurements, of minutes, and pictures: all that is tested is that make knows them and finds what they run."""


def in_blocks(text: str) -> set[str]:
    """Every command of the blocks: comments gone, a quote that goes on in the next line kept whole."""
    found, whole = set(), ""
    for kind, block in READING.findall(text):
        assert kind in ("", "text", "python", "yaml"), kind
        for line in block.splitlines() if not kind else ():
            whole = f"{whole}\n{line}" if whole else line
            if whole.count("'") % 2 == 0:
                found.add(re.sub(r"\s+#.*", "", whole))
                whole = ""
    return found


def in_sentences(text: str) -> set[str]:
    """Every command in the sentences and tables: all of several words of which the first may be a program."""
    spans = {" ".join(each.split()) for each in re.findall(r"`([^`]+)`", READING.sub("", text))}
    alerts = set(re.findall(r"^\| `([a-z]+ [a-z ]+)` \|", text, re.MULTILINE))
    typed = (each for each in spans if re.match(r"(\w+=\S+ )*[a-z./]+ ", each))
    return {in_full(each) for each in typed if each not in alerts | NAMED}


def in_full(command: str) -> str:
    """Return a command with the program that a sentence may leave out, as in "`stack init`"."""
    return f"driftwheel {command}" if " " in command and command.split(maxsplit=1)[0] in main.commands else command


def synopses(text: str) -> set[str]:
    """Return what the table of commands shows: of each its words, and what it may be given."""
    cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    spans = [each for cell in cells for each in re.findall(r"`([^`]+)`", cell)]
    return {each if each.startswith("driftwheel") else f"driftwheel {each}" for each in spans}


PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))]
SHOWN = synopses((ROOT / "docs/commands.md").read_text())
INLINE = {each for page in PAGES for each in in_sentences(page)} - SHOWN
BARE = {each for each in INLINE if re.fullmatch(r"driftwheel [a-z]+( (add|init|restore|list|remove)(/[a-z]+)*)?", each)}
"""Commands that a sentence names, without what they are given."""
COMMANDS = {each for page in PAGES for each in in_blocks(page)} | (INLINE - BARE)


def test_every_command_is_run_by_a_test() -> None:
    run = RUN.keys() | AS.keys() | ELSEWHERE.keys() | BY_HAND
    assert COMMANDS - run == set()
    shown_short = {"driftwheel " + each for each in ("status", "doctor", "list", "down", "remove pumps")}
    assert run - COMMANDS - SHOWN - BARE <= shown_short | {"driftwheel restore /vault/driftwheel-…"}
    assert set(AS.values()) <= RUN.keys()
    assert GIVEN.keys() <= RUN.keys()


@pytest.mark.parametrize("command", ELSEWHERE)
def test_another_test_runs_what_this_one_does_not(command: str) -> None:
    place, words = ELSEWHERE[command]
    assert words in (ROOT / place).read_text()


@pytest.mark.parametrize("command", sorted(BY_HAND))
def test_make_knows_what_is_measured_by_hand(command: str) -> None:
    target = command.removeprefix("make ")
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    scripts = re.findall(r"tests/\S+\.py", recipe[1])
    assert scripts
    assert all((ROOT / script).exists() for script in scripts)


@pytest.mark.parametrize("command", sorted(BARE | SHOWN))
def test_every_command_that_is_named_is_run_too(command: str) -> None:
    first = command.split()[1]
    assert any(f"driftwheel {first}" in each for each in (*RUN, *ELSEWHERE)), command


@pytest.mark.parametrize("command", sorted(each for each in INLINE | SHOWN if each.startswith("driftwheel")))
def test_every_command_in_a_sentence_is_one(command: str) -> None:
    words = re.sub(r"\{(\S+?)[,|]\S*\}", r"\1", command.replace("[", "").replace("]", "")).split()[1:]
    words = words[: words.index(">")] if ">" in words else words
    found: click.Command = main
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        found = found.commands[words.pop(0).partition("/")[0]]
    found.make_parser(click.Context(found)).parse_args(words)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """A reader's shell: the example's files are there, the home has an odd name."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (pumps/[\w.]+)[^\n]*\n(.*?)```", README, re.DOTALL):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert sorted(path.name for path in (tmp_path / "pumps").iterdir()) == [
        "make_data.py",
        "suite.yaml",
        "usecase.yaml",
    ]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))
    }
    home = tmp_path / "hö me"
    home.mkdir()
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    environment |= {"HOME": str(home)}
    (tmp_path / "mine.yaml").write_text("{trigger: trial, release_cost: 0.2}\n")
    port = str(any_port())
    environment |= {f"DRIFTWHEEL_{name}_PORT": "0" for name in ("PREFECT", "MLFLOW", "EVIDENTLY", "PAGE")}
    environment |= {"DRIFTWHEEL_SERVICE_PORT": port}

    def call(command: str) -> subprocess.CompletedProcess[str]:
        typed = command
        for stands, instead in (*GIVEN.get(command, {}).items(), *SUBSTITUTED.items()):
            typed = typed.replace(stands, instead)
        typed = typed.replace(":8080", f":{port}").replace("--port 8080", f"--port {port}")
        return subprocess.run(  # each in a shell of its own, in which the first of the block was typed
            ["bash", "-c", f"source {shlex.quote(str(BIN.parent))}/activate\n{typed}"],
            cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=280,
        )  # fmt: skip

    yield call
    call("driftwheel down")


Shell = Callable[[str], subprocess.CompletedProcess[str]]


def under_traffic(shell: Shell) -> subprocess.CompletedProcess[str]:
    """Release step by step while another shell sends what README says, again and again: some comes in the step."""
    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(shell, CANARY)
        while not released.done():
            sent = shell(TRAFFIC)
            assert len(json.loads(sent.stdout)["predictions"]) == 4368, (sent.stdout[:500], sent.stderr)
            time.sleep(1)
        return released.result()


def alone(shell: Shell) -> subprocess.CompletedProcess[str]:
    """Ask a service that runs alone, and end it."""
    ready = "curl -s --retry 60 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/readyz"
    return shell(f"{ALONE} & server=$!\n{ready}\n{ASK}\nkill $server; wait $server")


SPECIAL = {CANARY: under_traffic, ALONE: alone}
"""Commands that end only with something else."""
LATER = ("driftwheel why pumps", "driftwheel status", "driftwheel doctor")
"""What is read again until it is so: an event starts a release, and servers of a busy machine may be silent."""


@pytest.mark.timeout(1800)  # forty commands, each a process, most of them with servers
@pytest.mark.system
def test_what_a_reader_types_ends_as_it_is_said(shell: Shell) -> None:
    for command, said in RUN.items():
        status, expected = (0, said) if isinstance(said, str) else said
        began = time.monotonic()
        done = SPECIAL[command](shell) if command in SPECIAL else shell(command)
        while command in LATER and (done.returncode or expected not in done.stdout) and time.monotonic() < began + 120:
            time.sleep(1)
            done = shell(command)
        print(f"{time.monotonic() - began:6.1f} s  {command}")
        assert done.returncode == status, (command, done.stdout, done.stderr)
        assert expected in done.stdout + (done.stderr if status else ""), (command, done.stdout, done.stderr)
