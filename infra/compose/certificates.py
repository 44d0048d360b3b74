"""The certificate of the stack of containers: made, kept, and looked at before it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from expectations.errors import StackError
from tasks.stores.whole_files import replace_file

_CERTIFICATE_DAYS = 825
_RENEW_DAYS = 30


def certify(folder: Path, domain: str) -> bool:
    """Make a certificate where there is none; its key with it, as one is nothing without the other."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if certificate.exists() and key.exists():
        return False
    if key.exists():
        made, _ = _certificate(domain, key.read_bytes())
    else:
        certificate.unlink(missing_ok=True)  # at no moment are there two that do not belong together
        made, own = _certificate(domain)
        replace_file(key, own)
    replace_file(certificate, made)
    return True


def require_cryptography() -> None:
    """Refuse to make or read certificates without what does so.

    Raises
    ------
    StackError
        If it is not installed.
    """
    if find_spec("cryptography") is None:
        install = 'Install it: pip install "driftwheel[stack]"'
        raise StackError("the package cryptography, which makes certificates", "none", install)


def outdated(path: Path) -> str:
    """Say what is wrong with a certificate of ours or the user's, and how to renew it; nothing where it is sound.

    Raises
    ------
    StackError
        If the file holds no certificate.
    """
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise StackError(f"a certificate in PEM in {path}", str(error), "Remove it, and run this again") from error
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    renew = (
        "remove it and key.pem beside it, run `driftwheel stack init`, then `docker compose exec nginx nginx -s reload`"
    )
    if authority:  # what driftwheel made before it made leaves
        return (
            f"{path} may sign certificates for any name, and whoever trusts it believes them: {renew}, "
            "and let clients trust the new one instead"
        )
    ends = certificate.not_valid_after_utc
    if ends < datetime.now(UTC) + timedelta(days=_RENEW_DAYS):
        return f"{path} ends on {ends:%Y-%m-%d}: put a new one there, or, if driftwheel made it, {renew}"
    return ""


def _certificate(domain: str, known: bytes | None = None) -> tuple[bytes, bytes]:
    """Make a leaf certificate that signs itself; put a real one in its place for people beyond this machine.

    Parameters
    ----------
    known : bytes, optional
        A private key to certify; a new one where not given.

    Raises
    ------
    StackError
        If the key cannot sign.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = serialization.load_pem_private_key(known, None) if known else ec.generate_private_key(ec.SECP256R1())
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise StackError("a private key of RSA or an elliptic curve in key.pem", type(key).__name__, "Replace it")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain[:64])])  # no longer one is allowed
    now = datetime.now(UTC)
    names = [domain, *(f"{each}.{domain}" for each in ("page", "prefect", "mlflow", "reports"))]
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    extensions: dict[x509.ExtensionType, bool] = {
        x509.SubjectAlternativeName([x509.DNSName(each) for each in names]): False,
        # a leaf: whoever trusts it trusts these names alone, even if its key is stolen
        x509.BasicConstraints(ca=False, path_length=None): True,
        x509.KeyUsage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPrivateKey), **usage): True,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]): False,
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()): False,
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
    )
    for extension, critical in extensions.items():
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256())
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
