# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Encryption of the migration: the TLS credentials of a side's QEMU, and taking them away again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .._host.qmp import Monitor, QmpError
from .errors import MigrationFailed
from .phases import split
from .standing import BUSY

# Id of the credentials, an object of QEMU's.
CREDENTIALS = "vcsp-tls"
ENDPOINTS = {"source": "client", "destination": "server"}
# Without AES, whose keys GnuTLS renews after 16 million records (64 GB): with page requests coming back meanwhile, that
# breaks the connection, or QEMU (QEMU issue 1937). ChaCha20 needs no new keys.
PRIORITY = "NORMAL:-AES-256-GCM:-AES-128-GCM:-AES-128-CCM"


def encrypt(monitor: Monitor, directory: Path, address: str) -> None:
    """Have a side's QEMU encrypt its migration, and verify the other's certificate.

    :param directory: of the certificates on that side's host.
    :param address: the destination's, which its certificate must be for.
    :raises MigrationFailed: QEMU cannot use the certificates.
    """
    with suppress(QmpError):  # a killed call may have left them, with the certificates of that time
        monitor.execute("object-del", id=CREDENTIALS)
    try:
        monitor.execute(
            "object-add",
            qom_type="tls-creds-x509",
            id=CREDENTIALS,
            dir=str(directory),
            endpoint=ENDPOINTS[monitor.role],
            verify_peer=True,
            priority=PRIORITY,
        )
    except QmpError as error:
        raise MigrationFailed(
            f"the {monitor.role}'s QEMU cannot use the certificates in {directory}: {error}. Make them anew with "
            "playbooks/experiment.yml, or correct your own, or migrate with tls: false"
        ) from error
    monitor.execute("migrate-set-parameters", tls_creds=CREDENTIALS, tls_hostname=address)


def in_use(monitor: Monitor) -> str:
    """Id of the credentials that a side's QEMU encrypts its migrations with; empty if it does not."""
    return str(monitor.execute("query-migrate-parameters").get("tls-creds") or "")


def withdraw(monitor: Monitor) -> None:
    """Have a side's QEMU forget our credentials, unless a migration goes on, whose recovery needs them."""
    status = monitor.execute("query-migrate").get("status", "none")
    if split(status) or status in BUSY or in_use(monitor) != CREDENTIALS:
        return
    monitor.execute("migrate-set-parameters", tls_creds="", tls_hostname="")
    with suppress(QmpError):  # unused, it does no harm
        monitor.execute("object-del", id=CREDENTIALS)
