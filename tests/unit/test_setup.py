"""What is installed is what was locked, by a Python that runs, and images are pinned all at once or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from infra.doctor import _python

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "infra" / "setup"
IMAGES = [ROOT / "infra" / "images" / each / "requirements.txt" for each in ("serving", "platform")]
OURS = ("dev", "flights", "stack")
"""Extras that a checkout has."""
LOCKS = [ROOT / "requirements.lock", *IMAGES, ROOT / "requirements-ray.lock"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


def pins(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Read a lock: by name, the version and its hashes."""
    found: dict[str, tuple[str, list[str]]] = {}
    for block in re.split(r"\n(?=\S)", path.read_text().rstrip("\n")):
        first, *rest = block.split("\n")
        requirement = Requirement(first.removesuffix(" \\"))
        version = str(requirement.specifier).removeprefix("==")
        assert re.fullmatch(r"[0-9][^,*]*", version), first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in rest), first
        found[requirement.name] = version, rest
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_pin_but_torch_has_hashes_and_no_line_names_an_address(path: Path) -> None:
    found = pins(path)
    assert [name for name, (_, hashes) in found.items() if not hashes] == []
    assert "torch" not in found
    assert not [name for name in found if name.startswith(("nvidia-", "cuda-"))]
    assert "://" not in path.read_text()


def test_torch_is_pinned_by_version_alone() -> None:
    wanted = [each for each in PROJECT["dependencies"] if each.startswith("torch==")]
    assert (ROOT / "requirements-torch.lock").read_text().split("\n") == [*wanted, ""]


def test_ray_has_a_lock_of_its_own_of_what_is_in_no_other() -> None:
    (asked,) = PROJECT["optional-dependencies"]["ray"]
    found = pins(LOCKS[-1])
    assert f"ray=={found['ray'][0]}" == asked
    assert not found.keys() & pins(LOCKS[0]).keys()


def test_the_lock_holds_all_that_is_asked_for_and_images_hold_the_same_versions() -> None:
    locked = {name: version for name, (version, _) in pins(LOCKS[0]).items()}
    extras, platform = PROJECT["optional-dependencies"], pins(IMAGES[1])
    asked = [
        Requirement(each) for each in (*PROJECT["dependencies"], *extras["dev"], *extras["flights"], *extras["stack"])
    ]
    for each in asked:
        name = canonicalize_name(each.name)
        assert name in ("torch", "driftwheel") or locked[name] in each.specifier, each
    assert {canonicalize_name(Requirement(each).name) for each in extras["stack"]} <= platform.keys()
    for path in IMAGES:
        other = {name: version for name, (version, _) in pins(path).items() if name in locked}
        assert other.items() <= locked.items(), path


def test_the_pythons_that_make_looks_for_are_those_that_are_supported() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert sorted(PYTHONS) == [f"3.{minor}" for minor in range(30) if f"3.{minor}.1" in supported]
    assert re.findall(r"^IMAGE_(\S+) := python:(\S+)-slim", (ROOT / "Makefile").read_text(), re.MULTILINE) == [
        (version, version) for version in sorted(PYTHONS)
    ]


@pytest.mark.parametrize(
    ("version", "good"), [("3.11.0", True), ("3.13.9", True), ("3.10.14", False), ("3.20.0", False)]
)
def test_the_doctor_takes_the_pythons_that_are_supported(
    monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: {"Requires-Python": PROJECT["requires-python"]})
    assert _python(version).good is good
    assert bool(_python(version).remedy) is not good


@pytest.mark.parametrize("target", ["test-ray", "bench-ray"])
@pytest.mark.parametrize("environment", [".venv", ".venv-3.14"])
def test_ray_is_read_from_a_checkout_with_a_blank_in_its_path_for_each_python(
    tmp_path: Path, target: str, environment: str
) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", *(each.name for each in ROOT.glob("requirements*.lock"))):
        shutil.copy(ROOT / name, checkout)
    shown = subprocess.run(
        ["make", "--dry-run", f"VENV={environment}", "PYTHON=", target],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [shlex.split(each)[:2] for each in shown.stdout.splitlines() if each.startswith("PYTHONPATH=")]
    with_ray = [f"PYTHONPATH={checkout}:{checkout}/build/ray-{environment}", f"{environment}/bin/python"]
    assert lines == [with_ray] * (2 if target == "test-ray" else 1)
    assert f"--target build/ray-{environment} " in shown.stdout


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def interpreter(path: Path, version: str) -> None:
    script(path, f"printf '{version}\\t{path}\\n'")


def shim(path: Path) -> None:
    script(path, f"echo 'pyenv: {path.name}: command not found' >&2; exit 127")


def without_venv(path: Path, version: str) -> None:
    script(
        path, f"printf '{version}\\t{path}\\n'; echo \"ModuleNotFoundError: No module named 'ensurepip'\" >&2; exit 1"
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of commands where no other Python is found, and an empty home."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sh", "bash", "env", "grep", "sort", "sed", "paste", "dirname", "awk", "mktemp"):
        (commands / name).symlink_to(shutil.which(name) or "")
    return tmp_path


def find(place: Path, *versions: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SETUP / "find_python.sh"), *(versions or PYTHONS)],
        env={"PATH": str(place / "bin"), "HOME": str(place)} | variables,
        capture_output=True,
        text=True,
    )


def test_the_python_that_ci_proves_is_taken_where_it_runs_else_the_newest(place: Path) -> None:
    for version in ("3.11", "3.12", "3.13"):  # and no 3.14
        interpreter(place / "bin" / f"python{version}", version)
    assert find(place).stdout == f"{place}/bin/python3.11\n"
    shim(place / "bin" / "python3.11")
    assert find(place).stdout == f"{place}/bin/python3.13\n"
    without_venv(place / "bin" / "python3.13", "3.13")
    assert find(place).stdout == f"{place}/bin/python3.12\n"
    interpreter(place / ".pyenv" / "versions" / "3.11.7" / "bin" / "python3.11", "3.11")
    interpreter(place / ".pyenv" / "versions" / "3.11.10" / "bin" / "python3.11", "3.11")
    assert find(place).stdout == f"{place}/.pyenv/versions/3.11.10/bin/python3.11\n"


def test_one_that_is_called_python_alone_is_taken_too(place: Path) -> None:
    interpreter(place / "bin" / "python3", "3.10")
    interpreter(place / "bin" / "python", "3.12")
    assert find(place).stdout == f"{place}/bin/python\n"


def test_where_none_runs_it_says_what_was_found_and_what_to_install(place: Path) -> None:
    shim(place / "bin" / "python3.11")
    without_venv(place / "bin" / "python3.12", "3.12")
    interpreter(place / "bin" / "python3.13", "3.13 free-threaded")
    interpreter(place / "bin" / "python3", "3.15")
    done = find(place)
    assert (done.returncode, done.stdout) == (1, "")
    for said in (
        "expected Python 3.11, 3.12, 3.13, 3.14, one that runs",
        "python3.11: does not run (pyenv: python3.11: command not found)",
        "python3.12: cannot make a virtual environment",
        "apt install python3.12-venv",
        "python3.13: is Python 3.13 free-threaded",
        "python3: is Python 3.15",
        "make PYTHON=/path/to/python",
    ):
        assert said in done.stderr
    for path in (place / "bin").glob("python*"):
        path.unlink()
    assert "found\n  none\n" in find(place).stderr


def test_the_users_python_overrides_if_it_will_do(place: Path) -> None:
    interpreter(place / "bin" / "python3.11", "3.11")
    interpreter(place / "mine", "3.12")
    assert find(place, PYTHON=str(place / "mine")).stdout == f"{place}/mine\n"
    interpreter(place / "mine", "3.9")
    wrong = find(place, PYTHON=str(place / "mine"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "mine: is Python 3.9" in wrong.stderr
    assert "does not run" in find(place, PYTHON="python3.99").stderr


def test_a_real_python_is_found() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = find(Path.home(), version, PYTHON=sys.executable, PATH=os.environ["PATH"])
    assert Path(done.stdout.strip()).resolve() == Path(sys.executable).resolve(), done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment of this Python, whose uv writes down what it is asked and answers from a list."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    script(
        venv / "bin" / "uv",
        f'echo "$@" >>{tmp_path}/asked\n'
        'case "$*" in *--no-index*) exit ${LOCAL:-1};; *--dry-run*--torch-backend*) exit ${INDEX:-1};; esac',
    )
    return venv


def install(venv: Path, *options: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "UV_TORCH_BACKEND")}
    done = subprocess.run(
        [str(SETUP / "install.sh"), *options, str(venv), version],
        env=kept | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    asked = venv.parent / "asked"
    return done, [line for line in asked.read_text().splitlines() if "--dry-run" not in line] if asked.exists() else []


@pytest.mark.parametrize(
    ("variables", "backend", "warned"),
    [
        ({"LOCAL": "0"}, False, False),
        ({"INDEX": "0"}, True, False),
        ({}, False, True),
        ({"UV_TORCH_BACKEND": "cu130"}, False, False),  # uv reads it itself
    ],
)
def test_torch_is_the_build_for_this_machine_where_it_is_to_be_had(
    environment: Path, variables: dict[str, str], backend: bool, warned: bool
) -> None:
    done, asked = install(environment, **variables)
    assert done.returncode == 0, done.stderr
    first, second, third = asked
    assert "--constraint requirements.lock --requirement requirements-torch.lock" in first
    assert ("--torch-backend auto" in first) is backend
    assert ("gigabytes" in done.stdout) is warned
    assert "--require-hashes --requirement requirements.lock" in second
    assert "--no-deps --editable ." in third
    assert all("--require-build-hashes" in each for each in asked)


def test_a_bare_environment_has_no_torch(environment: Path) -> None:
    done, asked = install(environment, "--bare")
    assert done.returncode == 0, done.stderr
    assert not [each for each in asked if "torch" in each or "--compile-bytecode" in each]


@pytest.mark.slow
def test_an_environment_of_another_python_is_not_taken_for_the_one_asked_for(environment: Path) -> None:
    other = environment.parent / "other"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    script(other, f"case \"$2\" in *ensurepip*) printf '{version}\\t{other}\\n';; *) echo 3.99.0;; esac")
    for options in ((), ("--check",)):
        done, asked = install(environment, *options, PYTHON=str(other))
        assert done.returncode == 1
        assert "expected" in done.stderr
        assert "make clean" in done.stderr
        assert asked == []
        assert install(environment, "--check", PYTHON=sys.executable)[0].returncode == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that name images, and a docker that knows what a registry would answer."""
    for name in ("Makefile", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("images", "setup"):
        shutil.copytree(ROOT / "infra" / name, tmp_path / "infra" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def registry(checkout: Path, digit: str, lacks: str = "nothing") -> None:
    script(
        checkout / "docker",
        f'case "$*" in *{lacks}*) echo "no such image" >&2; exit 1;; pull*) exit 0;; esac\n'
        "for name; do :; done\nname=${name%:*}\n"
        f"echo other/name@sha256:{'f' * 64}; echo $name@sha256:{digit * 64}",
    )


def lock_images(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "infra" / "setup" / "lock_images.sh"), str(checkout / "docker")]
    return subprocess.run(command, capture_output=True, text=True)


def texts(checkout: Path) -> dict[str, str]:
    paths = [path for path in checkout.rglob("*") if path.is_file() and path.name != "docker"]
    return {str(path.relative_to(checkout)): path.read_text() for path in paths}


def test_images_are_pinned_all_at_once_and_again_by_what_the_tag_means_now(checkout: Path) -> None:
    before = {name: re.sub(r"@sha256:[0-9a-f]{64}", "", text) for name, text in texts(checkout).items()}
    for digit in "ab":
        registry(checkout, digit)
        done = lock_images(checkout)
        assert done.returncode == 0, done.stderr
        after = texts(checkout)
        pinned = f"@sha256:{digit * 64}"
        assert {name: text.replace(pinned, "") for name, text in after.items()} == before
        assert after["Makefile"].count(pinned) == len(PYTHONS)
        assert after["docker-compose.yml"].count(pinned) == 2
        for name in ("serving", "platform"):
            assert f"ARG BASE_IMAGE=python:3.11-slim{pinned}\n" in after[f"infra/images/{name}/Dockerfile"]
    registry(checkout, "c", lacks="postgres")
    assert lock_images(checkout).returncode == 1
    assert texts(checkout) == after


def test_a_bill_of_materials_names_the_wheels_that_an_image_installs(tmp_path: Path) -> None:
    from infra.setup.image_contents import contents

    for wheel in ("Flask_WTF-1.3.0-py3-none-any.whl", "only_built_with-2.0-py3-none-any.whl"):
        (tmp_path / wheel).write_bytes(wheel.encode())
    asked = tmp_path / "requirements.txt"
    asked.write_text(
        "flask-wtf==1.3.0 ; sys_platform != 'x' \\\n    --hash=sha256:00\npywin32==312 ; sys_platform == 'win32' \\\n"
        "    --hash=sha256:00\n"
    )
    digest = hashlib.sha256(b"Flask_WTF-1.3.0-py3-none-any.whl").hexdigest()
    assert [*contents(tmp_path, [asked])] == [f"flask-wtf==1.3.0 --hash=sha256:{digest}"]
    with pytest.raises(FileNotFoundError, match="found none"):  # and no bill that names nothing
        [*contents(tmp_path / "serving", [asked])]


def test_what_make_would_do_is_said_without_doing_it(checkout: Path) -> None:
    engine = checkout / "tests/containers/engine.sh"
    engine.parent.mkdir(parents=True)
    engine.write_text("#!/bin/sh\ntouch started\n")
    engine.chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock", "requirements-torch.lock"):
        shutil.copy(ROOT / name, checkout)
    said = subprocess.run(
        ["make", "-n", "test-containers"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    assert "tests/containers/engine.sh" in said
    assert not (checkout / "started").exists()
