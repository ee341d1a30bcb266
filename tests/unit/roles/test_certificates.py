# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificates that the role hypervisor makes, on this machine as both controller and host."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.vcsp.testbed.plugins.module_utils._host import certificates

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give QEMU's user a key")


class Host:
    """A host of this name, whose certificates are made or removed in a folder of the test."""

    def __init__(self, playbooks: Any) -> None:
        self.playbooks = playbooks
        self.folder: Path = playbooks.directory / "pki" / "vcsp"
        self.ca: Path = playbooks.directory / "controller" / "ca"

    def run(self, tasks: str, *arguments: str, **variables: Any) -> Any:
        settings = {
            "hypervisor_tls_dir": str(self.folder),
            "hypervisor_tls_ca_dir": str(self.ca),
            "hypervisor_tls_addresses": ["192.0.2.12", "2001:db8::12"],
            "hypervisor_qemu_user": "root",
            **variables,
        }
        role = {"name": "vcsp.testbed.hypervisor", "tasks_from": tasks}
        task = {"name": "Run it", "ansible.builtin.include_role": role}
        return self.playbooks.run([task], *arguments, "-e", json.dumps(settings))

    def certified(self, **variables: Any) -> int:
        """Make the certificates; returns the number of changed tasks."""
        done = self.run("certificates.yml", "-v", **variables)  # with the recap
        assert done.returncode == 0, done.stdout
        (changed,) = re.findall(r"localhost +: ok=\d+ +changed=(\d+)", done.stdout)
        return int(changed)

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "server-cert.pem").read_bytes())


@pytest.fixture
def host(playbooks: Any) -> Host:
    return Host(playbooks)


def test_certificates_serve_and_are_made_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.certified() > 0
    monkeypatch.setattr(certificates, "qemu_user", lambda: "root")
    for address in ("192.0.2.12", "2001:db8::12"):
        found = certificates.look(host.folder, address)
        assert found["usable"], found["reason"]
    names = host.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.12"),
        ipaddress.ip_address("2001:db8::12"),
    ]
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    secret = {path.name for path in host.ca.iterdir() if not stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert secret == {"ca-key.pem", "host-localhost-key.pem"}
    assert stat.S_IMODE(host.ca.stat().st_mode) == 0o700
    assert stat.S_IMODE((host.folder / "server-key.pem").stat().st_mode) == 0o400
    before = host.certificate()
    assert host.certified() == 0
    assert host.certificate() == before


@pytest.mark.long
def test_a_certificate_is_renewed_before_it_ends_and_for_another_address(host: Host) -> None:
    host.certified()
    first = host.certificate()
    host.certified(_hypervisor_tls_rest="+53w")
    renewed = host.certificate()
    assert renewed.serial_number != first.serial_number
    assert renewed.public_key() == first.public_key()
    host.certified(hypervisor_tls_addresses=["192.0.2.13"])
    moved = host.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert moved.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.13")]
    authority = (host.ca / "ca-cert.pem").read_bytes()
    host.certified(hypervisor_tls_addresses=["192.0.2.13"], _hypervisor_tls_ca_rest="+521w")
    assert (host.ca / "ca-cert.pem").read_bytes() != authority
    assert (host.folder / "ca-cert.pem").read_bytes() == (host.ca / "ca-cert.pem").read_bytes()


@pytest.mark.long
def test_check_mode_makes_nothing_and_says_what_it_would(host: Host) -> None:
    done = host.run("certificates.yml", "--check")
    assert done.returncode == 0, done.stdout
    assert "Would make a certificate for localhost." in done.stdout
    assert not host.folder.exists()
    assert not host.ca.exists()
    host.certified()
    before = {path: path.stat().st_mtime_ns for path in (*host.folder.iterdir(), *host.ca.iterdir())}
    done = host.run("certificates.yml", "--check", _hypervisor_tls_rest="+53w")
    assert done.returncode == 0, done.stdout
    assert {path: path.stat().st_mtime_ns for path in (*host.folder.iterdir(), *host.ca.iterdir())} == before


@pytest.mark.long
def test_the_sites_own_certificates_are_neither_replaced_nor_removed(host: Host) -> None:
    host.certified(_hypervisor_tls_ca_name="The site's CA")
    before = host.certificate()
    done = host.run("certificates.yml")
    assert done.returncode != 0
    assert "has certificates of another CA" in " ".join(done.stdout.split())
    assert host.run("teardown.yml").returncode == 0
    assert host.certificate() == before


@pytest.mark.long
def test_teardown_removes_what_was_made(host: Host) -> None:
    host.certified()
    assert host.run("teardown.yml", "--check").returncode == 0
    assert host.folder.exists()
    assert host.run("teardown.yml").returncode == 0
    assert not host.folder.exists()
    done = host.run("teardown.yml", "-v")
    assert done.returncode == 0 and "changed=0" in done.stdout, done.stdout
