"""What `driftwheel stack init` makes, and what it leaves as it is."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from expectations.errors import DriftwheelError, StackError
from infra.compose import certificates
from infra.compose.images import unpinned_images
from infra.compose.preparing import RESTORING, initialise, read_settings, settings_in_force

ROOT = Path(__file__).parents[2]
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


def test_the_environment_goes_before_what_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("COMPOSE_PROFILES=docker\nDRIFTWHEEL_PORT=1\n", encoding="utf-8")
    monkeypatch.setenv("DRIFTWHEEL_PORT", "2")
    monkeypatch.delenv("COMPOSE_PROFILES", raising=False)
    found = settings_in_force(folder)
    assert (found["COMPOSE_PROFILES"], found["DRIFTWHEEL_PORT"]) == ("docker", "2")


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


def test_what_is_made_is_on_the_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def noting(file: int) -> None:
        fsync(file)
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", noting)
    initialise(folder, "localhost", 8443, ())
    made = [
        folder / ".env",
        *(path for path in (folder / ".stack").rglob("*") if path.is_file() and path.stat().st_size),
    ]
    assert {"key.pem", "certificate.pem", "users", "auth.ini", "alerts.env"} < {path.name for path in made}
    assert [path.name for path in made if path.stat().st_ino not in synced] == []


def test_half_a_restore_is_not_started(folder: Path) -> None:
    initialise(folder, "localhost", 8443, ())
    (folder / ".stack" / RESTORING).touch()
    with pytest.raises(StackError, match="did not come to its end"):
        initialise(folder, "localhost", 8443, ())


def write_pair(
    folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, certificate: x509.Certificate
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def signed(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, **options: object):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=options.get("days", 90)))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=options.get("ca", False), path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )


def connect(served: Path, trusted: Path, name: str, flags: ssl.VerifyFlags = ssl.VerifyFlags.VERIFY_DEFAULT) -> None:
    """Shake hands over TLS with a server that has the pair in `served`, as a client that trusts one file."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(served / "certificate.pem", served / "key.pem")
    client = ssl.create_default_context(cafile=str(trusted))
    client.verify_flags |= flags
    near, far = socket.socketpair()
    with near, far:

        def answer() -> None:
            try:
                with server.wrap_socket(far, server_side=True) as wrapped:
                    wrapped.recv(1)
            except (ssl.SSLError, OSError):
                pass  # the client says why

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with client.wrap_socket(near, server_hostname=name) as wrapped:
                wrapped.send(b"x")
        finally:
            near.close()
            thread.join()


# what Python's own default is from 3.13 on
STRICT = ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


@pytest.mark.parametrize("flags", [ssl.VerifyFlags.VERIFY_DEFAULT, STRICT])
@pytest.mark.parametrize("kind", ["elliptic curve", "RSA"])
def test_who_trusts_the_certificate_reaches_every_page_and_no_other_name(
    folder: Path, flags: ssl.VerifyFlags, kind: str
) -> None:
    initialise(folder, "example.org", 8443, ())
    place = folder / ".stack" / "nginx"
    if kind == "RSA":
        (place / "certificate.pem").unlink()
        own = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (place / "key.pem").write_bytes(own)
        initialise(folder, "example.org", 8443, ())
    for name in ("example.org", "page.example.org", "prefect.example.org", "mlflow.example.org", "reports.example.org"):
        connect(place, place / "certificate.pem", name, flags)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        connect(place, place / "certificate.pem", "evil.example", flags)


@pytest.mark.parametrize("flags", [ssl.VerifyFlags.VERIFY_DEFAULT, STRICT])
def test_the_stacks_key_signs_for_no_other_name(folder: Path, flags: ssl.VerifyFlags) -> None:
    initialise(folder, "localhost", 8443, ())
    place = folder / ".stack" / "nginx"
    stolen = serialization.load_pem_private_key((place / "key.pem").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    write_pair(folder / "evil", key, signed("bank.example", key, "localhost", stolen))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(folder / "evil", place / "certificate.pem", "bank.example", flags)
    found = x509.load_pem_x509_certificate((place / "certificate.pem").read_bytes()).extensions
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert [*found.get_extension_for_class(x509.ExtendedKeyUsage).value] == [x509.ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_takes_it_for_a_server(folder: Path) -> None:
    initialise(folder, "localhost", 8443, ())
    path = str(folder / ".stack" / "nginx" / "certificate.pem")
    command = ["openssl", "verify", "-x509_strict", "-CAfile", path, "-verify_hostname", "prefect.localhost"]
    for purpose, good in (("sslserver", True), ("sslclient", False)):
        done = subprocess.run([*command, "-purpose", purpose, path], capture_output=True, text=True)
        assert (done.returncode == 0) == good, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "said"), [({"ca": True}, "may sign certificates for any name"), ({"days": 20}, "ends on"), ({}, "")]
)
def test_a_certificate_that_should_be_renewed_is_kept_and_reported(
    folder: Path, options: dict[str, object], said: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    place = folder / ".stack" / "nginx"
    write_pair(place, key, signed("localhost", key, "localhost", key, **options))
    before = (place / "certificate.pem").read_bytes()
    warning = initialise(folder, "localhost", 8443, ()).warning
    assert said in warning
    assert ("run `driftwheel stack init`" in warning) == bool(said)
    assert (place / "certificate.pem").read_bytes() == before
    if said:  # what it says to do helps
        for name in PAIR:
            (place / name).unlink()
        assert initialise(folder, "localhost", 8443, ()).warning == ""
        assert belong_together(folder)


def test_a_certificate_that_nothing_can_read_is_no_traceback(folder: Path) -> None:
    initialise(folder, "localhost", 8443, ())
    (folder / ".stack" / "nginx" / "certificate.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n")
    with pytest.raises(StackError, match="a certificate in PEM"):
        initialise(folder, "localhost", 8443, ())


@pytest.mark.parametrize(
    "domain", ["10.0.0.5", "::1", "a b", "bücher.example", "x:8443", "", "a\nB=c", "-a.org", "a..b"]
)
def test_a_domain_that_is_no_host_name_is_refused_before_anything_is_written(folder: Path, domain: str) -> None:
    with pytest.raises(DriftwheelError, match="host name"):
        initialise(folder, domain, 8443, ())
    assert [path.name for path in folder.iterdir()] == ["docker-compose.yml"]


def test_images_of_others_that_no_digest_holds_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTGRES_IMAGE", "NGINX_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    assert unpinned_images(folder) == ()
    shutil.copy(ROOT / "docker-compose.yml", folder)
    written = (folder / "docker-compose.yml").read_text()
    tags = re.findall(r"_IMAGE:-([^}@]+)", written)
    assert len(tags) == 2
    pinned = "@sha256:" + "a" * 64
    (folder / "docker-compose.yml").write_text(re.sub(r"(_IMAGE:-[^}@]+)[^}]*", r"\1", written))
    assert unpinned_images(folder) == tuple(sorted(tags))
    (folder / "docker-compose.yml").write_text(re.sub(r"(_IMAGE:-[^}@]+)[^}]*", rf"\1{pinned}", written))
    assert unpinned_images(folder) == ()
    (folder / ".env").write_text("NGINX_IMAGE=mirror:5000/nginx:1\n")
    assert unpinned_images(folder) == ("mirror:5000/nginx:1",)
    monkeypatch.setenv("NGINX_IMAGE", f"mirror:5000/nginx:1{pinned}")  # as compose has it: the environment wins
    assert unpinned_images(folder) == ()


def test_a_domain_as_long_as_domains_may_be(folder: Path) -> None:
    domain = ".".join(["a" * 59] * 4)
    initialise(folder, domain, 8443, ())
    connect(folder / ".stack" / "nginx", folder / ".stack" / "nginx" / "certificate.pem", f"reports.{domain}")


def test_without_what_makes_certificates_nothing_is_begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "find_spec", lambda _: None)
    with pytest.raises(StackError, match=r'cryptography.*pip install "driftwheel\[stack\]"'):
        initialise(folder, "localhost", 8443, ())
    assert [each.name for each in folder.iterdir()] == ["docker-compose.yml"]
