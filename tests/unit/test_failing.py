"""How a command ends that could not do its work, and what the adapters say of faults that are not theirs."""

from __future__ import annotations

import errno
import io
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from expectations.errors import AccessError, BusyError, DriftwheelError, StorageError, UnreachableError
from expectations.loading import load_use_case
from flows.cli import main
from flows.failing import Commands
from infra.environment import without_proxy
from infra.settings import Settings
from tasks.deployment import releasing
from tasks.stores import service as clients
from tasks.stores.files import scratch, storage_error_in, storing
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tasks.stores.retries import repeated
from tasks.stores.service import ServiceClient
from tasks.stores.whole_files import replace_file
from tests.fronts import always, front, times

BIN = Path(sys.executable).parent / "driftwheel"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DRIFTWHEEL_DEBUG", raising=False)
    before = dict(os.environ)
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)


# --- the command line -------------------------------------------------------------------------------------------------


@click.group(cls=Commands)
@click.option("--debug", is_flag=True)
def commands(debug: bool) -> None:
    if debug:
        os.environ["DRIFTWHEEL_DEBUG"] = "1"


@commands.command()
def divide() -> None:
    print(1 // 0)


@commands.command()
def expect() -> None:
    raise DriftwheelError("a thing", "another", "Do something")


@commands.command()
def interrupt() -> None:
    raise KeyboardInterrupt


@commands.command()
def hang() -> None:
    print("hanging", flush=True)
    time.sleep(60)


@commands.command()
def talk() -> None:
    for _ in range(100_000):
        print("many words")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_that_has_no_room_is_no_fault_of_ours() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ended = subprocess.run([BIN, "parts"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == 1
    assert "room for what is printed" in ended.stderr
    assert "No space left on device" in ended.stderr


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_is_no_file_of_ours(closed: str, home: Path) -> None:
    """Its number would be the next opened file's: the database's, which then held what is printed."""
    script = f"exec {shlex.quote(str(BIN))} list {closed}"
    ended = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ("flights" in ended.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert (home / "platform.db").read_bytes()[:15] == b"SQLite format 3"


@pytest.mark.parametrize(
    "where", [["why", "b\udce4r"], ["check", "b\udce4r"], ["rows", "bikes", "raw", "--where", "\udce4"]]
)
def test_arguments_that_are_no_utf_8_are_wrong_use(where: list[str]) -> None:
    done = CliRunner().invoke(main, where)
    assert done.exit_code == 2
    assert "\\udce4" in done.output
    assert "is not UTF-8" in done.output


@pytest.mark.parametrize(
    "command", [["restore"], ["new", "x", "--target", "y", "--from"], ["rows"], ["check"], ["suggest"]]
)
def test_a_path_of_any_length_is_no_fault_of_ours(command: list[str]) -> None:
    for path in ("x" * 300, "x/" * 4000, "x" * 5000 + "-replay"):
        arguments = [*command, path, *(["raw"] if command == ["rows"] else [])]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 1
        assert "Expected " in done.output
        assert "fault of driftwheel" not in done.output


@pytest.mark.process
def test_a_current_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {shlex.quote(str(BIN))} new x --from y.csv --target z"
    ended = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "Expected a current folder\nfound    one that was removed\n→ Change into one that is there (cd)\n"
    )


def test_a_fault_of_ours_is_one_line_and_its_trace_is_kept(home: Path) -> None:
    done = CliRunner().invoke(commands, ["divide"])
    assert done.exit_code == 1
    kept = home / "logs" / "faults.log"
    assert done.output == (
        "This is a fault of driftwheel: ZeroDivisionError: integer division or modulo by zero; "
        f"run again with --debug for the trace (it is kept in {kept})\n"
    )
    assert "in divide" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("arguments", [["--debug", "divide"], ["divide", "--debug"], ["expect", "--debug"]])
def test_debug_shows_the_trace_wherever_it_stands(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 1
    assert "Traceback" in done.output


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free some room"), (errno.EROFS, "Mount that disk"), (errno.EFBIG, "Raise the limit")],
)
@pytest.mark.parametrize("path", [None, "/a/file"])
def test_a_disk_that_cannot_be_written_is_no_fault_of_ours_whoever_writes(
    number: int, remedy: str, path: str | None, home: Path
) -> None:
    @click.group(cls=Commands)
    def others() -> None: ...

    @others.command()
    def write() -> None:
        raise OSError(number, os.strerror(number), path)

    done = CliRunner().invoke(others, ["write"])
    assert done.exit_code == 1
    assert f"to write to {path or 'a disk that this needs'}" in done.output
    assert remedy in done.output
    assert not home.exists()  # no trace is kept: there is no fault


def test_a_trace_that_cannot_be_kept_is_no_second_fault(home: Path) -> None:
    home.write_text("")
    done = CliRunner().invoke(commands, ["divide"])
    assert done.output.endswith("run again with --debug for the trace\n")


def test_what_the_server_keeps_of_a_run_is_not_repeated_at_the_terminal() -> None:
    from prefect.logging.handlers import PrefectConsoleHandler

    from flows.local_runs import quietly

    def work() -> None:
        logging.getLogger("prefect.engine").error("Traceback of a run")
        logging.getLogger("tasks.stores").warning("waiting for another")

    handler = PrefectConsoleHandler(stream=io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        quietly(work)()
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.console.file.getvalue().strip() == "waiting for another"


def test_an_interruption_is_one_word() -> None:
    done = CliRunner().invoke(commands, ["interrupt"])
    assert (done.exit_code, done.output) == (130, "interrupted\n")


def _start(command: str) -> subprocess.Popen[str]:
    code = f"from tests.unit.test_failing import commands; commands(['{command}'])"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_and_a_call_to_end_leave_no_trace(number: signal.Signals) -> None:
    """A command that is called to end does what it does last: servers it started for itself are stopped."""
    with _start("hang") as process:
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "interrupted\n")


@pytest.mark.slow
def test_a_reader_that_goes_is_told_nothing() -> None:
    with _start("talk") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_every_lower_group_and_command_is_covered() -> None:
    assert isinstance(main, Commands)  # what it catches, it catches of all below it


def test_remove_says_that_the_service_goes_on(home: Path) -> None:
    from tasks.stores.desired_state import Served
    from tasks.stores.releases import Releases

    Settings().platform().add_use_case("pumps", home, "digest")
    Releases(home / "releases").set_desired("pumps", champion=Served(bundle="b", version="7"))
    done = CliRunner().invoke(main, ["remove", "pumps"])
    assert done.exit_code == 0
    assert "goes on answering /pumps with version 7" in done.output


def test_the_doctor_gives_no_address_to_what_has_none() -> None:
    from infra.doctor import _program
    from infra.supervised import Health

    assert _program(Health("runner", "RUNNING", True, "", "log"), "").found == "RUNNING, answers"
    assert _program(Health("mlflow", "RUNNING", False, "http://x", "log"), "").found == "RUNNING, silent at http://x"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free some room"), (errno.EROFS, "Mount that disk"), (errno.EACCES, "Let the user")],
)
def test_what_the_system_says_becomes_what_to_do(number: int, remedy: str) -> None:
    with (
        pytest.raises(StorageError, match=f"to write the keys to /x; found .*{remedy}"),
        storing("write the keys to", "/x"),
    ):
        raise OSError(number, os.strerror(number), "/x/keys.json")


def test_of_a_tree_the_first_file_that_failed_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "astray").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"no such file.*astray\. Check the path"), storing("copy", tmp_path):
        shutil.copytree(tmp_path / "a", tmp_path / "b")


def test_a_fault_of_the_disk_is_found_in_words_of_rust() -> None:
    said = "Generic LocalFileSystem error: Unable to copy data: No space left on device (os error 28)"
    assert "Free some room" in storage_error_in("write", "/lake", said).remedy
    assert storage_error_in("write", "/lake", "Kernel error: no such table") is None


def test_half_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "folder", "new")  # the file is whole, and cannot take its place
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "state"]


def test_a_lock_somebody_holds_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    def lock() -> AbstractContextManager[None]:
        return alone(tmp_path / "lock", "another release", seconds=0)

    with lock(), pytest.raises(BusyError, match="another release that holds it"), lock():
        pass
    with lock():
        pass


def test_where_nothing_can_be_kept_for_a_moment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(StorageError, match="TMPDIR"), scratch():
        pass


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(status: int) -> None:
    with (
        front(fault=always(404)) as behind,
        front(behind.url, times(status, 2)) as server,
        ServiceClient(server.url) as service,
    ):
        with pytest.raises(UnreachableError, match="status 404"):  # what it answers once it does
            service.ask("GET", "/version")
        assert [answered for _, _, answered in server.asked] == [status, status, 0]


@pytest.mark.parametrize("status", [500, 404])
def test_what_stays_is_asked_once(status: int) -> None:
    with front(fault=always(status)) as server, ServiceClient(server.url) as service:
        with pytest.raises(UnreachableError, match=str(status)):
            service.ask("GET", "/version")
        assert len(server.asked) == 1


def test_a_key_that_is_refused_is_shown_again_for_seconds_as_it_may_be_new() -> None:
    with front(fault=always(401)) as server, ServiceClient(server.url) as service:
        with pytest.raises(AccessError, match="401"):
            service.ask("GET", "/version")
        assert 1 < len(server.asked) < 20


def test_a_server_that_comes_back_is_not_lost() -> None:
    answers: Iterator[object] = iter([httpx.ConnectError("refused"), httpx.ReadError("reset"), "there"])

    def ask() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert repeated(ask) == "there"
    with pytest.raises(httpx.UnsupportedProtocol):
        repeated(lambda: httpx.get("nonsense://there"))


@contextmanager
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ServiceClient, list[socket.socket]]]:
    """A service that takes every connection and answers none; a client of it that gives up soon."""
    asked: list[socket.socket] = []
    monkeypatch.setattr(clients, "_SECONDS", 0.3)

    def take() -> None:
        while True:
            try:
                asked.append(listener.accept()[0])
            except OSError:  # it is closed
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        with ServiceClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as service:
            yield service, asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in asked:
        each.close()


def test_a_silent_service_is_not_asked_again_where_that_would_take_longer_than_the_patience_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "repeated", lambda request: request())
    with silent(monkeypatch) as (service, asked):
        with pytest.raises(UnreachableError, match="no answer in time"):
            service.ask("GET", "/version", 0.5)
        assert len(asked) == 1


def test_the_silence_of_a_service_begins_when_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "SILENCE_SECONDS", 0.2)
    job = Job(load_use_case("bikes"), Settings().places(), datetime.now(UTC))
    with silent(monkeypatch) as (service, asked):
        with pytest.raises(UnreachableError, match="no answer in time"):
            releasing._await(job, service, 1, lambda _: True, "bundle")
        assert len(asked) == 1


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("", "localhost,127.0.0.1,::1"),
        ("corp.example, 127.0.0.1", "corp.example,127.0.0.1,localhost,::1"),
        ("*", "*"),
    ],
)
def test_this_machine_is_kept_from_proxies_beside_what_stands_there(
    known: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", known)
    assert without_proxy() == {"no_proxy": expected, "NO_PROXY": expected}
    assert Settings().child_environment()["no_proxy"] == expected


def test_no_client_of_ours_asks_a_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with front(fault=always(500)) as proxy, front(fault=always(404)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with ServiceClient(server.url) as service, pytest.raises(UnreachableError, match="404"):
            service.ask("GET", "/version")
        assert len(server.asked) == 1
        assert proxy.asked == []
