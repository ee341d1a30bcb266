# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates for encrypted migrations: whether a host's would do is found out by using them."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.vcsp.testbed.plugins.module_utils._host import certificates

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
ADDRESS = "192.0.2.12"


class Signed(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, directory: Path, name: str, password: bytes | None = None) -> None:
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        (directory / f"{name}-cert.pem").write_bytes(self.certificate.public_bytes(encoding))
        (directory / f"{name}-key.pem").write_bytes(self.key.private_bytes(encoding, form, lock))


def sign(
    name: str, by: Signed | None = None, address: str = ADDRESS, begins: datetime.datetime = NOW - DAY, days: int = 2
) -> Signed:
    """A certificate for an address, or one of an authority if it is signed by none."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    builder = (
        x509.CertificateBuilder(subject if by is None else by.certificate.subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + days * DAY)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(alternative, critical=False)
    )
    return Signed(builder.sign(key if by is None else by.key, hashes.SHA256()), key)


@pytest.fixture
def authority() -> Signed:
    return sign("CA")


@pytest.fixture
def directory(tmp_path: Path, authority: Signed, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those of a host, as they should be; whoever runs the tests may read them."""
    monkeypatch.setattr(certificates, "may_open", lambda _user, _path: True)
    authority.write(tmp_path, "ca")
    host = sign("node2", authority)
    for end in ("server", "client"):
        host.write(tmp_path, end)
    return tmp_path


def look(directory: Path, address: str | None = ADDRESS) -> dict[str, Any]:
    return certificates.look(directory, address)


@pytest.mark.parametrize("address", [ADDRESS, None])
def test_certificates_that_serve(directory: Path, address: str | None) -> None:
    found = look(directory, address)
    assert found["usable"], found["reason"]
    assert (address is not None and ADDRESS in found["reason"]) == (address is not None)
    assert len(found["authorities"]) == 1


def test_an_address_of_ipv6_is_compared_as_one(directory: Path, authority: Signed) -> None:
    sign("node2", authority, "2001:db8::12").write(directory, "server")
    assert look(directory, "2001:db8:0::12")["usable"]
    assert not look(directory, "2001:db8::13")["usable"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert not found["usable"]
    for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"):
        assert name in found["reason"]


@pytest.mark.parametrize(
    ("end", "settings", "said"),
    [
        ("server", {"address": "192.0.2.11"}, "server-cert.pem is refused: IP address mismatch"),
        ("server", {"begins": NOW - 3 * DAY}, "server-cert.pem is refused: certificate has expired"),
        ("client", {"begins": NOW - 3 * DAY}, "client-cert.pem is refused: certificate has expired"),
        ("server", {"begins": NOW + DAY}, "server-cert.pem is refused: certificate is not yet valid"),
    ],
)
def test_a_certificate_that_does_not_serve(
    directory: Path, authority: Signed, end: str, settings: dict[str, Any], said: str
) -> None:
    sign("node2", authority, **settings).write(directory, end)
    found = look(directory)
    assert not found["usable"]
    assert said in found["reason"]
    assert str(directory) in found["reason"]


@pytest.mark.parametrize("end", ["server", "client"])
def test_a_certificate_of_another_authority_is_refused(directory: Path, end: str) -> None:
    sign("node2", sign("Other CA")).write(directory, end)
    assert f"{end}-cert.pem is refused: " in look(directory)["reason"]


def test_a_key_of_another_certificate_or_with_a_password_is_refused(directory: Path, authority: Signed) -> None:
    host = sign("node2", authority)
    (directory / "server-cert.pem").write_bytes((directory / "ca-cert.pem").read_bytes())
    assert "server-cert.pem and server-key.pem are no certificate and its key" in look(directory)["reason"]
    host.write(directory, "server", password=b"secret")
    assert "without a password" in look(directory)["reason"]
    (directory / "ca-cert.pem").write_text("no certificate")
    assert "ca-cert.pem holds no certificates" in look(directory)["reason"]


def test_a_key_that_qemus_user_may_not_read_is_found(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can try as another user")
    monkeypatch.undo()
    monkeypatch.setattr(certificates, "qemu_user", lambda: "nobody")
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest's own folders are their owner's alone
        folder.chmod(folder.stat().st_mode | 0o011)
    assert look(directory)["usable"]
    (directory / "server-key.pem").chmod(0o400)
    found = look(directory)
    assert not found["usable"]
    assert "QEMU's user nobody may not read server-key.pem" in found["reason"]
