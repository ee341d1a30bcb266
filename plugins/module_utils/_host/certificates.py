# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificates with which QEMU encrypts migrations: whether a host's would do, found out by using them.

QEMU docs/system/tls.rst names the files. The host is the server as a destination, and the client as a source.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

from .capabilities import answer, may_open, qemu_user

AUTHORITIES = "ca-cert.pem"
NAMES = (AUTHORITIES, *(f"{end}-{part}.pem" for end in ("server", "client") for part in ("cert", "key")))
# A handshake takes three messages; whatever takes more than that does not end.
_MESSAGES = 8


def look(directory: Path, address: str | None) -> dict[str, Any]:
    """Whether QEMU can encrypt migrations with the files of a folder, as testbed_info returns it.

    :param address: the one that the host's certificate must be for; None for a host that is no destination.
    :returns: a capability, with the SHA-256 of each certificate of an authority that is trusted, as ``authorities``.
    """
    user = qemu_user()
    missing = [name for name in NAMES if not (directory / name).exists()]
    if missing:
        return _unusable(f"{directory} has no {', '.join(missing)}")
    hidden = [name for name in NAMES if not may_open(user, directory / name)]
    if hidden:
        return _unusable(f"QEMU's user {user} may not read {', '.join(hidden)} in {directory}")
    try:
        client, server = _context(directory, "client"), _context(directory, "server")
        _shake_hands(client, server, address)
    except _BadCertificate as error:
        return _unusable(f"{directory}: {error}")
    trusted = client.get_ca_certs(binary_form=True)
    for_whom = f" for {address}" if address else ""
    return {
        **answer(True, f"the certificates in {directory} are valid{for_whom}"),
        "authorities": sorted(hashlib.sha256(certificate).hexdigest() for certificate in trusted),
    }


def _unusable(reason: str) -> dict[str, Any]:
    return {**answer(False, reason), "authorities": []}


class _BadCertificate(Exception):
    """A file cannot be used: its name, and why."""


def _context(directory: Path, end: str) -> ssl.SSLContext:
    """One end of a connection, as QEMU makes it with ``verify-peer``.

    :raises _BadCertificate: its files are none of certificates and keys, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if end == "client" else ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(directory / AUTHORITIES)
    except OSError as error:
        raise _BadCertificate(f"{AUTHORITIES} holds no certificates ({_said(error)})") from error
    try:
        # The password of a key that has one is not known, and nobody is there to be asked.
        context.load_cert_chain(directory / f"{end}-cert.pem", directory / f"{end}-key.pem", password="")
    except OSError as error:
        raise _BadCertificate(
            f"{end}-cert.pem and {end}-key.pem are no certificate and its key without a password ({_said(error)})"
        ) from error
    return context


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, address: str | None) -> None:
    """Connect both ends in memory, as the source's QEMU and this host's would.

    :raises _BadCertificate: one of them refuses the other's certificate.
    """
    client.check_hostname = address is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {
        "server": client.wrap_bio(to_client, to_server, server_hostname=address),
        "client": server.wrap_bio(to_server, to_client, server_side=True),
    }
    waiting = set(ends)
    for _message in range(_MESSAGES):
        for peer, end in ends.items():
            try:
                end.do_handshake()
                waiting.discard(peer)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                raise _BadCertificate(f"{peer}-cert.pem is refused: {_said(error)}") from error
        if not waiting:
            return
    raise _BadCertificate(f"{' and '.join(sorted(waiting))}-cert.pem: the handshake did not end")


def _said(error: OSError) -> str:
    """What OpenSSL says of an error, without the place in its source."""
    return str(getattr(error, "verify_message", None) or getattr(error, "reason", None) or error.strerror or error)
