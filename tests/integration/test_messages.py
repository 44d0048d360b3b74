"""Messages to real sockets: what each kind of server is sent, and what becomes of them where it is down or odd."""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from apprise.manager_plugins import NotificationManager
from apprise.plugins import NotifyBase
from click.testing import CliRunner

from expectations.alerts import AlertTarget
from expectations.slots import ALERT_RULES
from flows.cli import main
from infra.settings import Settings
from tasks.stores import alerts
from tasks.stores.alerts import Channel, Sent, deliver
from tasks.stores.database import Database
from tasks.stores.finding_kinds import KINDS, describe, words_of
from tasks.stores.messages import Calendar
from tests.fronts import serving

TOKEN = "AbCdEf012345678"
PAGE = "http://127.0.0.1:8070"
KINDS_OF_SERVER = ("webhook", "ntfy", "gotify", "mail")
MODES = {
    "500": "it answered 500",
    "garbage": "it cannot be reached, or did not answer in time",
    "slow": "it cannot be reached, or did not answer in time",
    "down": "it cannot be reached, or did not answer in time",
}

MAIL = "the mail server cannot be reached, or did not take it"


@dataclass
class Server:
    """A server of one kind: how it behaves, and what it got; what it got wrong it remembers as a complaint."""

    kind: str
    mode: str = "well"
    port: int = 0
    got: list[dict[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        # a silent server is given up soon; one that answers may take its time on a busy machine
        self.seconds = 0.5 if self.mode in ("slow", "garbage", "down") else 20

    @property
    def address(self) -> str:
        """Return its address as a use case has it."""
        host, waits = f"127.0.0.1:{self.port}", f"cto={self.seconds}&rto={self.seconds}"
        return {
            "webhook": f"json://{host}/hook?{waits}",
            "ntfy": f"ntfy://{host}/alerts?{waits}",
            "gotify": f"gotify://{host}/{TOKEN}?{waits}",
            "mail": f"mailto://{host}?from=loop@example.org&to=ann@example.org&{waits}",
        }[self.kind]


def _take(server: Server, path: str, headers: dict[str, str], body: bytes) -> None:
    """Hold a request against what the server's documentation asks for."""
    if server.kind == "ntfy" and headers.get("content-type") != "application/json":
        # PUT or POST /topic with the file as its body, and the rest as parameters (docs.ntfy.sh/publish, attachments)
        asked = {name: values[-1] for name, values in parse_qs(path.partition("?")[2]).items()}
        wrong = (
            path.partition("?")[0] != "/alerts" or not asked.get("filename") or len(asked["message"].encode()) > 4096
        )
        server.got.append({"title": asked.get("title", ""), "body": asked["message"]})
        server.pictures.append(body)
        if wrong:
            server.complaints.append(f"{path} {headers}")
        return
    sent = json.loads(body)
    if server.kind == "ntfy":  # POST / with topic, title, message, priority 1 to 5 (docs.ntfy.sh/publish, as JSON)
        wrong = sent.get("topic") != "alerts" or not isinstance(sent.get("message"), str)
        wrong = wrong or not 1 <= int(sent.get("priority", 3)) <= 5 or len(sent["message"].encode()) > 4096
        server.got.append({"title": sent.get("title", ""), "body": sent.get("message", "")})
    elif server.kind == "gotify":  # POST /message with a token, title, message, priority (gotify.net/api-docs)
        wrong = path.partition("?")[0] != "/message" or headers.get("x-gotify-key") != TOKEN
        wrong = wrong or not isinstance(sent.get("message"), str) or not isinstance(sent.get("priority"), int)
        server.got.append({"title": sent.get("title", ""), "body": sent.get("message", "")})
    else:
        wrong = path != "/hook" or sent.get("version") is None
        server.got.append({"title": sent["title"], "body": sent["message"], "type": sent["type"]})
    if wrong:
        server.complaints.append(f"{path} {headers} {sent}")


@contextmanager
def http(server: Server) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if server.mode == "slow":
                time.sleep(1)
                return
            if server.mode == "garbage":
                self.wfile.write(b"\x00\xff nothing of HTTP \r\n\r\n")
                return
            if server.mode == "no attachments" and self.headers["content-type"] != "application/json":
                self.send_response(400)  # ntfy's 40014: attachments are not allowed
                self.end_headers()
                self.wfile.write(b'{"code":40014,"http":400,"error":"invalid request: attachments not allowed"}')
                return
            if server.mode == "no room" and self.headers["content-type"] != "application/json":
                self.send_response(507)
                self.end_headers()
                return
            if server.mode in ("well", "no attachments", "no room"):
                _take(server, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(500 if server.mode == "500" else 200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", server.port), Handler)) as listening:
        server.port = listening.server_port
        yield


@contextmanager
def smtp(server: Server) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if server.mode == "slow":
                time.sleep(1)
                return
            self.wfile.write(b"\x00\xff nothing of SMTP\r\n" if server.mode == "garbage" else b"220 host\r\n")
            data: list[bytes] | None = None
            for line in self.rfile:
                if data is not None:
                    if line == b".\r\n":
                        refused = server.mode == "no attachments" and b"image/png" in b"".join(data)
                        if not refused:
                            _take_mail(server, b"".join(data))
                        data = None
                        self.wfile.write(b"554 attachments are refused\r\n" if refused else b"250 taken\r\n")
                    else:
                        data.append(line)
                    continue
                command = line[:4].upper()
                if server.mode == "500" and command == b"MAIL":
                    self.wfile.write(b"550 no\r\n")
                elif command == b"DATA":
                    data = []
                    self.wfile.write(b"354 go on\r\n")
                else:
                    self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 host\r\n")
                    if command == b"QUIT":
                        return

    class Listening(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    listening = Listening(("127.0.0.1", server.port), Handler)
    server.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def _take_mail(server: Server, content: bytes) -> None:
    mail = message_from_bytes(content, policy=policy.default)
    if "ann@example.org" not in str(mail["to"]) or "loop@example.org" not in str(mail["from"]):
        server.complaints.append(content.decode())
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            server.pictures.append(part.get_content())
            named = str(part["content-id"]).strip("<>")
            if f"cid:{named}" not in mail.get_body(("html",)).get_content():
                server.complaints.append(f"the picture {named} is not shown inside")
    text = mail.get_body(("plain", "html"))
    server.got.append({"title": str(mail["subject"]), "body": text.get_content() if text else ""})


@contextmanager
def running(kind: str, mode: str = "well") -> Iterator[Server]:
    server = Server(kind, mode)
    if mode == "down":
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            server.port = taken.getsockname()[1]
        yield server
        return
    with (smtp if kind == "mail" else http)(server):
        yield server


@contextmanager
def run_well(server: Server) -> Iterator[None]:
    """Let a server do what it should from now on; one that is down is started, at its port."""
    down, server.mode = server.mode == "down", "well"
    with (smtp if server.kind == "mail" else http)(server) if down else nullcontext():
        yield


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=5))

    def __call__(self) -> datetime:
        """Return the instant."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def find(database: Database, kind: str = "held", severity: str = "failure", key: str | None = None) -> None:
    with database.transaction() as connection:
        found = describe("rentals", kind, severity, f"{kind} was found", key=key)
        database.record(connection, found, datetime.now(UTC))


def send(database: Database, servers: list[Server], clock: Callable[[], datetime]) -> list[Sent]:
    targets = [AlertTarget(to=each.address) for each in servers]
    channels = [Channel(target, number, target.to) for number, target in enumerate(targets)]
    return deliver(database, "rentals", channels, Calendar(), PAGE, clock)


@pytest.mark.parametrize("kind", KINDS_OF_SERVER)
def test_a_server_gets_what_its_documentation_asks_for_once(kind: str, database: Database, clock: Clock) -> None:
    with running(kind) as server:
        find(database)
        (sent,) = send(database, [server], clock)
        assert sent.why == ""
        assert send(database, [server], clock) == []
        database.end("rentals", ["held"], "the newest data is well", datetime.now(UTC))
        clock.now += timedelta(hours=2)
        assert [each.why for each in send(database, [server], clock)] == [""]
        assert send(database, [server], clock) == []
    assert server.complaints == []
    first, second = server.got
    assert first["title"] == "rentals: the newest data broke its expectations"
    for words in ("FAILURE", "Held was found", "Likely cause", "What was done", "What you can do"):
        assert words in first["body"]
    assert f"{PAGE}/usecases/rentals/findings/held" in first["body"]
    assert "resolved" in second["title"]
    assert "the newest data is well" in second["body"]


PICTURE = b"\x89PNG\r\n\x1a\n a picture"


@pytest.mark.parametrize(
    ("kind", "mode", "pictures"),
    [
        ("ntfy", "well", [PICTURE]),
        ("ntfy", "no attachments", []),
        ("ntfy", "no room", []),
        ("mail", "well", [PICTURE]),
        ("mail", "no attachments", []),
        ("gotify", "well", []),
        ("webhook", "well", []),
    ],
)
def test_a_picture_goes_where_it_is_taken_and_the_words_everywhere(
    kind: str, mode: str, pictures: list[bytes], database: Database, clock: Clock
) -> None:
    find(database)
    with running(kind, mode) as server:
        channel = Channel(AlertTarget(to=server.address), 0, server.address)
        (sent,) = deliver(database, "rentals", [channel], Calendar(), PAGE, clock, lambda _: PICTURE)
        assert sent.why == ""
    assert server.complaints == []
    assert server.pictures == pictures
    (got,) = server.got
    assert got["title"] == "rentals: the newest data broke its expectations"
    assert "What you can do" in got["body"]
    assert "base64" not in got["body"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS_OF_SERVER)
def test_what_a_server_does_not_take_waits_and_is_told_once_it_does(
    kind: str, mode: str, database: Database, clock: Clock
) -> None:
    find(database)
    with running("webhook") as other, running(kind, mode) as server:
        before = time.monotonic()
        sent = send(database, [server, other], clock)
        assert time.monotonic() - before < alerts.MAX_SECONDS
        assert [bool(each.why) for each in sent] == [True, False]
        assert sent[0].why in ((MODES[mode],) if kind != "mail" else (MODES[mode], MAIL))
        assert len(other.got) == 1  # nobody waits for another's server
        assert send(database, [server, other], clock) == []  # it is left alone for a while
        for _ in range(alerts.DEAD_AFTER - 1):
            clock.now += timedelta(hours=1)
            assert sent[0].why in [each.why for each in send(database, [server, other], clock)]
        report, _ = database.target_reports(["rentals"])
        assert (report.attempts, report.last_error, report.last_success) == (3, sent[0].why, None)
        assert [each.kind for each in database.open_findings("rentals")] == ["held", "undelivered"]
        clock.now += timedelta(hours=1)
        with run_well(server):
            assert "" in [each.why for each in send(database, [server, other], clock)]
            clock.now += timedelta(hours=3)
            send(database, [server, other], clock)
    assert [each["title"] for each in server.got] == ["rentals: the newest data broke its expectations"]
    assert [each.kind for each in database.open_findings("rentals")] == ["held"]
    assert any("a target takes no messages" in each["title"] for each in other.got)


def test_what_came_and_went_while_a_target_was_away_is_told(database: Database, clock: Clock) -> None:
    find(database, "silent", "warning")
    find(database, "silent", "warning")
    with running("webhook", "500") as server:
        assert send(database, [server], clock)[0].why
        database.end("rentals", ["silent"], "requests came", datetime.now(UTC))
        server.mode = "well"
        clock.now += timedelta(hours=1)
        assert [each.why for each in send(database, [server], clock)] == [""]
        (got,) = server.got
        assert "RESOLVED: no predictions are asked for" in got["body"]
        assert database.target_reports(["rentals"])[0].failing_since is None
        clock.now += timedelta(days=3)
        assert send(database, [server], clock) == []


def test_a_target_that_answers_for_ever_holds_nobody_up(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MAX_SECONDS", 1.0)
    over = threading.Event()

    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while not over.wait(0.1):
                self.wfile.write(b"H")

    find(database)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as listening, running("webhook") as other:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        dripping = Server("webhook", port=listening.server_address[1])
        sent = send(database, [dripping, other], clock)
        over.set()
        listening.shutdown()
    assert [each.why for each in sent] == ["it did not answer within 1 s", ""]
    assert len(other.got) == 1


@pytest.mark.slow
def test_a_day_of_findings_is_few_messages(database: Database, clock: Clock) -> None:
    began, numbers = clock.now, iter(range(200))
    with running("webhook") as server:
        for _ in range(20):
            with database.transaction() as connection:
                for number in itertools.islice(numbers, 10):
                    severity = "failure" if number % 20 == 0 else "warning"
                    found = describe("rentals", "stray", severity, "found", key=f"stray-{number}")
                    database.record(connection, found, began)
            clock.now = clock.now + timedelta(minutes=70)
            send(database, [server], clock)
        assert clock.now - began < timedelta(days=1)
        assert 2 <= len(server.got) <= 5
        assert all(len(each["body"]) <= 3500 for each in server.got)


def test_two_processes_send_a_message_once(database: Database, clock: Clock) -> None:
    find(database)
    with running("webhook") as server:
        threads = [threading.Thread(target=send, args=(database, [server], clock)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.got) == 1


def test_a_picture_of_an_address_is_nowhere(database: Database, clock: Clock) -> None:
    secret = base64.b32encode(b"a token nobody sees").decode().lower().strip("=")
    find(database)
    channel = Channel(AlertTarget(to="json://127.0.0.1:9/${HOOK}"), 0, f"json://127.0.0.1:9/{secret}")
    sent = deliver(database, "rentals", [channel], Calendar(), PAGE, clock)
    assert secret not in repr((sent, channel, database.target_reports(["rentals"]), database.findings("rentals")))


def test_one_address_in_two_entries_is_two_targets(settings: Settings, database: Database, clock: Clock) -> None:
    with running("webhook") as server:
        both = (AlertTarget(to=server.address, from_severity="failure"), AlertTarget(to=server.address))
        channels = settings.channels(both)
        assert channels[0].name == Channel(both[0], 0, server.address).name  # what was told before stays told
        find(database, "lost", "warning")
        assert [each.label for each in deliver(database, "rentals", channels, Calendar(), PAGE, clock)] == [
            channels[1].label
        ]
        find(database)
        clock.now += timedelta(hours=2)
        assert len(deliver(database, "rentals", channels, Calendar(), PAGE, clock)) == 2


def test_a_target_that_was_taken_out_leaves_no_finding(database: Database, clock: Clock) -> None:
    find(database)
    with running("webhook", "down") as server, running("webhook") as other:
        for _ in range(alerts.DEAD_AFTER):
            send(database, [other, server], clock)
            clock.now += timedelta(hours=1)
        clock.now -= timedelta(minutes=50)  # an older file, maybe
        send(database, [other], clock)
        assert "undelivered" in {each.kind for each in database.open_findings("rentals")}
        clock.now += timedelta(minutes=20)
        send(database, [other], clock)
        assert [each.kind for each in database.open_findings("rentals")] == ["held"]


def test_a_target_that_one_process_does_not_list_is_not_told_anew(database: Database, clock: Clock) -> None:
    find(database)
    with running("webhook") as server:
        assert len(send(database, [server], clock)) == 1
        for _ in range(5):
            send(database, [], clock)
            clock.now += timedelta(hours=20)
            assert send(database, [server], clock) == []
        clock.now += timedelta(days=10)
        send(database, [], clock)
        assert len(send(database, [server], clock)) == 1  # it was away for days: a new one


def test_a_target_whose_variable_is_not_set_here_is_left_to_who_has_it(database: Database, clock: Clock) -> None:
    with running("webhook") as server:
        target = AlertTarget(to="${CHAT}")
        here, there = Channel(target, 0, "", ("CHAT",)), Channel(target, 0, server.address)

        def at(channel: Channel) -> list[Sent]:
            return deliver(database, "rentals", [channel], Calendar(), PAGE, clock)

        at(there)
        find(database)
        assert at(here) == []
        assert database.target_state("rentals", here.name).attempts == 0
        assert [each.why for each in at(there)] == [""]
        find(database, "lost")
        clock.now += timedelta(minutes=61)
        assert [each.why for each in at(here)] == ["CHAT not set in the environment"]  # nobody has it
        assert [each.why for each in at(there)] == [""]  # at once: that was another's environment


def test_what_a_service_of_apprise_raises_is_named_by_its_type(
    database: Database, clock: Clock, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(NotifyBase):
        @staticmethod
        def parse_url(url: str) -> None:
            raise LookupError(f"no {url}")

    services = NotificationManager()
    services.add(Odd, schemas=["oddly"], force=True)
    try:
        find(database)
        channel = Channel(AlertTarget(to="oddly://secret"), 0, "oddly://secret")
        (sent,) = deliver(database, "rentals", [channel], Calendar(), PAGE, clock)
    finally:
        services.remove("oddly")
    assert sent.why == "it could not be sent: LookupError"
    assert "secret" not in "".join(capfd.readouterr()) + caplog.text


def test_every_kind_says_what_to_do() -> None:
    for kind in (*KINDS, *ALERT_RULES.built_in):
        words, found = words_of(kind), describe("x", kind, "warning", "a thing was found")
        assert found.body.splitlines()[0] == "A thing was found."
        assert words.done
        assert found.body.splitlines()[-1].startswith("What you can do: ")


def test_every_kind_stands_in_the_table_of_findings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    table = text.split("## What each finding means")[1].split("\n## ")[0]
    named = [cell for row in table.splitlines() if row.startswith("| ") for cell in row.split("|")[1:3]]
    for kind in (*KINDS, *ALERT_RULES.built_in):
        assert any(re.search(rf"(?<![\w-]){kind}`", cell) for cell in named), kind


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    return Settings()


def test_a_test_message_says_of_each_target_what_happened(
    settings: Settings, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with running("webhook") as well, running("ntfy", "500") as ill:
        monkeypatch.setenv("CHAT", well.address)
        targets = ["${CHAT}", {"to": ill.address, "quiet": "00:00-23:59", "digest": "weekly"}, "json://${NOWHERE}"]
        folder = make_use_case("rentals", {"alerts": targets})
        done = CliRunner().invoke(main, ["alert", "test", str(folder)])
        assert done.exit_code == 1
        said = " ".join(done.output.split())
        for words in ("taken", "it answered 500", "NOWHERE not set", "alerts.0", "alerts.1 (ntfy)"):
            assert words in said
        assert str(well.port) not in said
        assert [each["title"] for each in well.got] == ["rentals: test message"]
        done = CliRunner().invoke(main, ["alert", "test", str(folder), "--json"])
        assert done.exit_code == 1
        assert json.loads(done.stdout) == [
            {
                "target": label,
                "from_severity": "warning",
                "digest": digest,
                "quiet": quiet,
                "taken": not why,
                "why": why,
            }
            for label, digest, quiet, why in (
                ("alerts.0", None, None, ""),
                ("alerts.1 (ntfy)", "weekly", "00:00-23:59", "it answered 500"),
                ("alerts.2 (json)", None, None, "NOWHERE not set in the environment"),
            )
        ]
        folder = make_use_case("bicycles", {"alerts": ["${CHAT}"]})
        assert CliRunner().invoke(main, ["alert", "test", str(folder)]).exit_code == 0
        folder = make_use_case("silent")
        done = CliRunner().invoke(main, ["alert", "test", str(folder), "--json"])
        assert (done.exit_code, json.loads(done.stdout)) == (0, [])


def test_findings_are_listed_and_acknowledged(settings: Settings) -> None:
    database = settings.platform()
    assert CliRunner().invoke(main, ["alert", "list"]).output.startswith("Nothing is wrong")
    find(database)
    find(database, "refused", "info")
    assert "held" not in CliRunner().invoke(main, ["alert", "list"]).output  # as of a replay
    database.add_use_case("rentals", Path("/nowhere"), "digest")
    listed = CliRunner().invoke(main, ["alert", "list", "rentals"])
    assert listed.output.index("held") < listed.output.index("refused")
    assert "What you can do" in listed.output
    assert CliRunner().invoke(main, ["alert", "acknowledge", "rentals", "held"]).exit_code == 0
    assert CliRunner().invoke(main, ["alert", "acknowledge", "rentals", "gone"]).exit_code == 1
    (entry,) = database.entries("rentals")
    who = database.finding("rentals", "held").acknowledged_by
    assert (entry.kind, entry.action, entry.cause, entry.evidence) == ("person", "asked", "acknowledge", {"who": who})
    assert entry.summary == f"acknowledge held: asked for on the command line by {who}"
    assert "Acknowledged by" in CliRunner().invoke(main, ["alert", "list"]).output
    database.end("rentals", ["held"], "it is well", datetime.now(UTC))
    found = json.loads(CliRunner().invoke(main, ["alert", "list", "rentals", "--all", "--json"]).stdout)
    assert [(each["key"], each["resolved_how"]) for each in found] == [("refused", None), ("held", "it is well")]
    assert CliRunner().invoke(main, ["alert", "list", "--all"]).exit_code == 2


def test_a_user_without_a_name_acknowledges(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    find(settings.platform())
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)  # as of a container that is run as any user
    done = CliRunner().invoke(main, ["alert", "acknowledge", "rentals", "held"])
    assert done.exit_code == 0, done.output
    assert settings.platform().finding("rentals", "held").acknowledged_by == "a user of this machine"


def test_status_and_doctor_name_a_target_that_takes_nothing(
    settings: Settings, make_use_case: Callable[..., Path], clock: Clock
) -> None:
    database = settings.platform()
    database.add_use_case("rentals", make_use_case("rentals"), "digest")
    find(database)
    with running("webhook", "down") as server:
        for _ in range(alerts.DEAD_AFTER):
            assert CliRunner().invoke(main, ["status"]).exit_code == 0
            send(database, [server], clock)
            clock.now += timedelta(hours=1)
    done = CliRunner().invoke(main, ["status", "--json"])
    assert done.exit_code == 1
    (target,) = json.loads(done.stdout)["targets"]
    assert (target["label"], target["attempts"]) == ("alerts.0 (json)", 3)
    assert "cannot be reached" in CliRunner().invoke(main, ["status"]).stdout
    assert "alerts.0 (json) of rentals: took none of 3 messages" in CliRunner().invoke(main, ["doctor"]).stdout
