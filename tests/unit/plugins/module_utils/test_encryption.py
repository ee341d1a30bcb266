# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""TLS credentials of a QEMU: set on both sides, and taken away where no migration needs them any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import QmpError
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import encryption
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.errors import MigrationFailed


class Qemu:
    """A monitor that knows objects and parameters as QEMU does."""

    def __init__(self, role: str, migration: str = "none", unreadable: bool = False) -> None:
        self.role, self.migration, self.unreadable = role, migration, unreadable
        self.parameters: dict[str, str] = {"tls-creds": "", "tls-hostname": ""}
        self.objects: dict[str, dict[str, Any]] = {}

    def execute(self, command: str, **arguments: Any) -> Any:
        if command == "object-add":
            if self.unreadable or arguments["id"] in self.objects:
                raise QmpError(command, "GenericError", "Unable to access credentials /pki/ca-cert.pem")
            self.objects[arguments.pop("id")] = arguments
        if command == "object-del":
            if arguments["id"] not in self.objects:
                raise QmpError(command, "GenericError", "object not found")
            del self.objects[arguments["id"]]
        if command == "migrate-set-parameters":
            self.parameters.update({name.replace("_", "-"): value for name, value in arguments.items()})
        return {
            "query-migrate": {"status": self.migration},
            "query-migrate-parameters": dict(self.parameters),
        }.get(command)


def encrypted(role: str, migration: str = "none") -> Any:
    made = Qemu(role)
    encryption.encrypt(made, Path("/pki"), "192.0.2.12")  # type: ignore[arg-type]
    made.migration = migration
    return made


def test_each_side_verifies_the_other() -> None:
    for role, endpoint in (("source", "client"), ("destination", "server")):
        side = encrypted(role)
        (credentials,) = side.objects.values()
        assert credentials["endpoint"] == endpoint
        assert credentials["verify_peer"] is True
        assert credentials["dir"] == "/pki"
        assert encryption.in_use(side) == encryption.CREDENTIALS
        assert side.parameters["tls-hostname"] == "192.0.2.12"


def test_certificates_that_a_killed_call_had_loaded_are_read_anew() -> None:
    side = encrypted("source")
    encryption.encrypt(side, Path("/renewed"), "192.0.2.12")
    (credentials,) = side.objects.values()
    assert credentials["dir"] == "/renewed"


def test_certificates_that_qemu_cannot_use_are_named_with_the_host() -> None:
    with pytest.raises(MigrationFailed, match=r"the source's QEMU cannot use the certificates in /pki: .*ca-cert.pem"):
        encryption.encrypt(Qemu("source", unreadable=True), Path("/pki"), "192.0.2.12")  # type: ignore[arg-type]


@pytest.mark.parametrize("migration", ["none", "completed", "failed", "cancelled"])
def test_nothing_is_left_once_the_migration_is_over(migration: str) -> None:
    side = encrypted("destination", migration)
    encryption.withdraw(side)
    assert encryption.in_use(side) == ""
    assert side.objects == {}
    encryption.withdraw(side)


@pytest.mark.parametrize("migration", ["active", "setup", "postcopy-active", "postcopy-paused", "postcopy-recover"])
def test_a_migration_that_goes_on_keeps_what_its_recovery_needs(migration: str) -> None:
    side = encrypted("destination", migration)
    encryption.withdraw(side)
    assert encryption.in_use(side) == encryption.CREDENTIALS


def test_somebody_elses_credentials_stay() -> None:
    side: Any = Qemu("source")
    side.parameters["tls-creds"] = "objlibvirt_migrate_tls0"
    encryption.withdraw(side)
    assert encryption.in_use(side) == "objlibvirt_migrate_tls0"
