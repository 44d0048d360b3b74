"""Logins and tokens are in no message, whoever writes it."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.alerts import AlertTarget
from expectations.errors import SourceError, UnreachableError, UseCaseError, UseCaseProblem
from expectations.masking import mask, split_login
from infra import vault
from infra.logs import mask_logs
from tasks.stores.alerts import Channel, deliver
from tasks.stores.database import Database
from tasks.stores.events import flush
from tasks.stores.findings import Found
from tasks.stores.messages import Calendar
from tasks.stores.registry import Registry
from tasks.stores.service import ServiceClient

SECRET = "Xq7SECRET"
ADDRESSES = [
    f"https://ann:{SECRET}@host:8080/rows.csv",
    f"https://{SECRET}@host/rows.csv",
    f"postgresql+psycopg://ann:a/{SECRET}@host/db",
    f"postgresql+psycopg://ann:a@{SECRET}@host/db",
    f"https://host/rows.csv?user=7&token={SECRET}",
    f"https://host/rows.csv?X-Amz-Signature={SECRET}&x=1#part",
    f"simplecache::https://ann:{SECRET}@host/rows.csv",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_secret_in_an_address_is_hidden_and_the_rest_is_told(address: str) -> None:
    shown = mask(f"no answer from '{address}' (timeout)")
    assert SECRET not in shown
    assert "host" in shown
    assert shown.startswith("no answer from '")
    assert shown.endswith("' (timeout)")
    for error in (SourceError(address, address, address), UseCaseError("x", [UseCaseProblem("f", 1, "p", address)])):
        again = pickle.loads(pickle.dumps(error))
        assert SECRET not in f"{error} {error!r} {error.found} {error.remedy} {again} {again.expected}"
    assert SECRET not in str(UseCaseProblem("usecase.yaml", 3, "sources.a.path", address))


def test_a_key_in_a_header_is_hidden() -> None:
    assert SECRET not in mask(f"Illegal header value b'Bearer dw_{SECRET}\\r'")
    for words in ("Bearer of news", "Basic authentication.", "Basic well-known validation"):
        assert mask(words) == words


def test_a_path_of_a_failed_request_is_hidden_too() -> None:
    text = f"HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /a?token={SECRET} (Caused by x)"
    assert SECRET not in mask(text)


@given(st.text())
def test_a_text_without_addresses_stays_as_it_is(text: str) -> None:
    if "://" not in text and "?" not in text:
        assert mask(text) == text
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize("address", ["", "http://host:1/a", "sqlite:////home/x.db", "http://[::1]:8080/a?b=c"])
def test_an_address_without_a_login_is_taken_as_it_is(address: str) -> None:
    assert split_login(address) == (address, None)


@pytest.mark.slow
def test_clients_are_told_of_a_login_apart(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    address = f"http://ann:{SECRET}@127.0.0.1:9"
    with ServiceClient(address) as service, pytest.raises(UnreachableError) as away:
        service.ask("GET", "/version")
    with database.transaction() as connection:
        database.post(connection, "u", "event", {}, {})
    with pytest.raises(UnreachableError) as unsent:
        flush(database, f"{address}/api")
    registry = Registry(address, "u")
    with pytest.raises(UnreachableError) as silent:
        registry.experiment()
    for error in (away.value, unsent.value, silent.value):
        chain: BaseException | None = error
        while chain is not None:  # a trace shows those below too
            assert SECRET not in f"{chain} {chain!r}"
            chain = chain.__cause__ or chain.__context__
    assert SECRET not in registry.uri


def test_lines_and_traces_of_libraries_hide_them(caplog: pytest.LogCaptureFixture) -> None:
    former = logging.getLogRecordFactory()
    mask_logs()
    try:
        float(ADDRESSES[0])
    except ValueError:
        logging.getLogger("some.library").exception("it failed at %s", ADDRESSES[4])
    finally:
        logging.setLogRecordFactory(former)
    assert "it failed at https://host" in caplog.text
    assert "ValueError: could not convert string to float: 'https://***@host:8080/rows.csv'" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        SECRET,
        f"odd://u:{SECRET}@host/{SECRET}",
        f"slack://{SECRET}",
        f"json://u:{SECRET}@127.0.0.1:9/{SECRET}?to={SECRET}",
    ],
)
def test_nobody_logs_an_alert_address(database: Database, caplog: pytest.LogCaptureFixture, address: str) -> None:
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    with database.transaction() as connection:
        database.record(connection, Found("u", "e", "e", "warning", "title", "body"), datetime.now(UTC))
    channel = Channel(AlertTarget(to=address), 0, address)
    (sent,) = deliver(database, "u", [channel], Calendar())
    assert sent.why
    assert "it is sent again later" in caplog.text
    kept = repr((sent, channel, database.target_reports(["u"]), database.target_state("u", channel.name)))
    assert SECRET not in caplog.text + kept
    assert logging.getLogger("apprise").level == logging.DEBUG
    assert database.target_state("u", channel.name).attempts == 1


def test_a_repository_is_no_part_of_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All users of a machine see commands; only its owner sees a process's environment."""
    restic = tmp_path / "restic"
    restic.write_text(
        "#!/bin/sh\n"
        'echo "$0 $*" >"$SEEN"; echo "$RESTIC_REPOSITORY" >>"$SEEN"\n'
        'echo "no $RESTIC_REPOSITORY" >&2; exit 1\n'
    )
    restic.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("RESTIC_PASSWORD", "x")
    with pytest.raises(vault.BackupError) as error:
        vault.Vault(f"restic:rest:https://ann:{SECRET}@host/", "home").check()
    command, repository = (tmp_path / "seen").read_text().splitlines()
    assert SECRET not in f"{command} {error.value}"
    assert repository == f"rest:https://ann:{SECRET}@host/"
