"""What `driftwheel stack init` makes, and what it leaves as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from expectations.errors import StackError
from infra.compose.preparing import RESTORING, initialise, read_settings

PAIR = ("certificate.pem", "key.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docker-compose.yml").touch()
    return tmp_path


def belong_together(folder: Path) -> bool:
    certificate, key = ((folder / ".stack" / "nginx" / name).read_bytes() for name in PAIR)
    own = serialization.load_pem_private_key(key, None).public_key()
    return x509.load_pem_x509_certificate(certificate).public_key() == own


@pytest.mark.parametrize("lost", [(), PAIR[:1], PAIR[1:], PAIR])
def test_a_certificate_and_its_key_belong_together_whichever_is_renewed(folder: Path, lost: tuple[str, ...]) -> None:
    initialise(folder, "localhost", 8443, ())
    before = {name: (folder / ".stack" / "nginx" / name).read_bytes() for name in PAIR}
    for name in lost:
        (folder / ".stack" / "nginx" / name).unlink()
    made = initialise(folder, "localhost", 8443, ()).made
    assert belong_together(folder)
    assert bool(made) == bool(lost)
    kept = [name for name in PAIR if (folder / ".stack" / "nginx" / name).read_bytes() == before[name]]
    assert kept == {(): [*PAIR], PAIR[:1]: ["key.pem"]}.get(lost, [])


def test_other_options_do_not_change_what_is_there_and_are_told(folder: Path) -> None:
    first = read_settings(folder / ".env") if initialise(folder, "example.org", 8443, ("flights",)) else {}
    again = initialise(folder, "elsewhere.org", 9443, ())
    assert again.made == ()
    assert again.kept == ("DRIFTWHEEL_DOMAIN=example.org", "DRIFTWHEEL_PORT=8443")
    assert read_settings(folder / ".env") == first
    assert initialise(folder, "example.org", 8443, ("bikes",)).kept == ("DRIFTWHEEL_USE_CASES=flights",)


def test_others_of_this_machine_are_kept_out_and_the_containers_let_in(folder: Path) -> None:
    (folder / ".stack").mkdir(mode=0o755)
    before = os.umask(0o077)
    try:
        initialise(folder, "localhost", 8443, ())
    finally:
        os.umask(before)
    assert (folder / ".stack").stat().st_mode & 0o777 == 0o700
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert (folder / "usecases").stat().st_mode & 0o777 == 0o755
    assert (folder / ".stack" / "nginx" / "key.pem").stat().st_mode & 0o777 == 0o644


def test_half_a_restore_is_not_started(folder: Path) -> None:
    initialise(folder, "localhost", 8443, ())
    (folder / ".stack" / RESTORING).touch()
    with pytest.raises(StackError, match="did not come to its end"):
        initialise(folder, "localhost", 8443, ())
