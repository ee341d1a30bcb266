# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Encrypted migrations of a real guest: nobody reads them on the wire, and a host of another authority has no part."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from .conftest import (
    ADDRESS,
    Done,
    changes,
    guests,
    memory_verified,
    on,
    playbook,
    records,
    result,
    ssh,
    write_scenario,
)
from .faults import CUT, HOLD, JOIN, LET_GO

Migrate = Callable[..., Done]
FOLDER = "/var/lib/libvirt/vcsp/tls-tests"
ENCRYPTED = {"tls": True, "tls_dir": FOLDER}
# The name of the guest's memory, which stands in every stream of a migration, and what a record of TLS begins with.
PLAIN, RECORD = b"pc.ram", b"\x17\x03\x03"
# Counts the packets that hold each of these, until it is told to stop.
SNIFF = f"""
import json, select, socket, sys
capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
capture.bind(("mig0", 0))
print("ready", flush=True)
counts = [0, 0]
while sys.stdin not in select.select([capture, sys.stdin], [], [])[0]:
    packet = capture.recv(1 << 17)
    counts = [count + (text in packet) for count, text in zip(counts, ({PLAIN!r}, {RECORD!r}))]
print(json.dumps(counts))
"""


def certify(directory: Path, host: str, ca: str) -> Done:
    """Have the role make a certificate for a host, by a CA of that name."""
    role = {"name": "vcsp.testbed.hypervisor", "tasks_from": "certificates.yml"}
    settings = {
        "hypervisor_tls_dir": FOLDER,
        "hypervisor_tls_ca_dir": str(directory / ca),
        "hypervisor_tls_addresses": ["{{ testbed_migration_address }}"],
    }
    tasks = [{"name": "Certify", "ansible.builtin.include_role": role, "vars": settings}]
    book = directory / "certify.yml"
    book.write_text(yaml.safe_dump([{"name": "Test", "hosts": host, "gather_facts": False, "tasks": tasks}]))
    done = playbook(str(book), "-v")  # with the recap
    assert done.returncode == 0, done.stdout
    return done


@pytest.fixture
def removed() -> Iterator[None]:
    """No certificates of these tests stay on the hosts."""
    yield
    for host in ADDRESS:
        on(host, "rm", "-rf", FOLDER)


@pytest.fixture
def certificates(lab: Path, tmp_path: Path, removed: None) -> None:
    """Both hosts have certificates of one authority."""
    for host in ADDRESS:
        certify(tmp_path, host, "ca")


@contextmanager
def sniffed() -> Iterator[list[int]]:
    """Fills the list with the numbers of packets that hold PLAIN and RECORD, once the block has ended."""
    counts: list[int] = []
    command = ssh("destination", "python3", "-c", shlex.quote(SNIFF))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdin is not None and sniffer.stdout is not None
        assert sniffer.stdout.readline() == "ready\n"
        try:
            yield counts
        finally:
            sniffer.stdin.close()
            counts += json.loads(sniffer.stdout.readline())


def credentials(host: str) -> str:
    """The TLS credentials that the guest's QEMU has set for migrations."""
    answer = on(host, """virsh qemu-monitor-command vcsp-guest '{"execute": "query-migrate-parameters"}'""")
    return str(json.loads(answer)["return"].get("tls-creds") or "")


def test_an_experiment_makes_certificates_and_encrypts_its_migrations(lab: Path, tmp_path: Path) -> None:
    methods = [{"name": "post-copy", "tls": True}, {"name": "vcsp", "tls": True}]
    scenario, results = write_scenario(tmp_path, methods=methods), tmp_path / "results"
    done = playbook("experiment.yml", "-e", f"scenario={scenario}", "-e", f"results_dir={results}", timeout_s=1200)
    assert done.returncode == 0, done.stdout
    found = records(results)
    assert sorted(found) == ["post-copy", "vcsp"]
    for name, record in found.items():
        assert record["validity"]["reasons"] == [], (name, record["validity"]["reasons"])
        assert record["memory_verified"] is True
        assert record["trial"]["method"]["tls"] is True
        assert record["instruments"]["tls"]["values"] == {"encrypted": True}
        assert record["instruments"]["request_trace"]["reason"] == "TLS hides page requests"
        assert record["measurements"]["page_requests"] >= 8 * 256
        assert record["provenance"]["destination"]["tls"]["usable"] is True


def test_certificates_are_made_once_and_the_key_is_qemus_alone(certificates: None, tmp_path: Path) -> None:
    for host in ADDRESS:
        assert changes(certify(tmp_path, host, "ca").stdout) == {host: 0}
        assert on(host, f"stat -L -c '%U %a' {FOLDER}/server-key.pem {FOLDER}/client-key.pem").split("\n")[:2] == [
            "root 400",
            "root 400",
        ]


@pytest.mark.parametrize(
    ("settings", "encrypted"),
    [
        ({"transfer": "push"}, False),
        ({"transfer": "push", **ENCRYPTED}, True),
        ({"transfer": "demand", "vcpu_quota_percent": 50, **ENCRYPTED}, True),
    ],
    ids=["plain", "post-copy", "vcsp"],
)
def test_an_encrypted_migration_cannot_be_read_on_the_wire(
    certificates: None, guest: Migrate, settings: dict[str, Any], encrypted: bool
) -> None:
    with sniffed() as counts:
        done = guest(**settings, window_mb=8, verify=True)
    assert done.returncode == 0, done.stdout
    plain, tls_records = counts
    assert (plain == 0) is encrypted, counts
    assert not encrypted or tls_records > 0
    returned = result(done)
    assert returned["memory_verified"] is True
    assert returned["instruments"]["tls"]["values"] == ({"encrypted": True} if encrypted else {})
    assert credentials("destination") == "", "a later migration from here is not encrypted unawares"


def test_an_encrypted_migration_is_recovered_after_the_link_was_cut(
    certificates: None, at_moment: Callable[..., tuple[Done, Any]]
) -> None:
    slow = {"max_postcopy_bandwidth_mb_per_s": 10, "verify": True, "stall_timeout_s": 3, "timeout_s": 200}
    settings = {"transfer": "push", "postcopy_preempt": True, **slow, **ENCRYPTED}
    moment = SimpleNamespace(share=0.3, settings=settings)
    done, seen = at_moment(moment, HOLD, CUT, LET_GO, ("await", "paused"), JOIN)
    assert seen[0].split, seen
    assert done.returncode == 0, done.stdout
    returned = result(done)
    assert returned["recoveries"] > 0
    assert returned["memory_verified"] is True
    assert credentials("destination") == ""


@pytest.mark.parametrize("refusing", ["source", "destination"])
def test_a_certificate_of_another_authority_is_refused_and_the_guest_stays(
    lab: Path, removed: None, guest: Migrate, tmp_path: Path, refusing: str
) -> None:
    certify(tmp_path, "destination", "ca")
    certify(tmp_path, "source", "another")
    if refusing == "destination":  # the source trusts both
        authority = on("destination", "cat", f"{FOLDER}/ca-cert.pem")
        on("source", f"printf %s {shlex.quote(authority)} >> {FOLDER}/ca-cert.pem")
    # Without a connection of their own for requests, the source need not hear from the destination before it switches.
    done = guest(transfer="push", **ENCRYPTED)
    assert done.returncode != 0
    assert "before the switch" in done.stdout, done.stdout
    assert "runs on the source" in done.stdout, done.stdout
    assert guests("destination") == []
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert credentials("source") == ""
    assert memory_verified("source")
    again = guest(transfer="push", verify=True)
    assert again.returncode == 0, again.stdout
    assert result(again)["memory_verified"] is True
