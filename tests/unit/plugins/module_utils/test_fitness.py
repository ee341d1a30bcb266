# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is refused after a look at both hosts, and before anything is touched."""

from __future__ import annotations

import ipaddress
import shlex
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import certificates, oob
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import GuestGone, NoAnswer
from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import fitness
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.phases import Phase
from ansible_collections.vcsp.testbed.plugins.module_utils._migration.standing import Standing
from ansible_collections.vcsp.testbed.plugins.module_utils._options import Options

from .test_result import options

SOURCE_URI, DESTINATION_URI = "qemu+ssh://root@node1/system", "qemu:///system"
RUNNING = "<domain><name>web1</name></domain>"
INCOMING = (
    "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:commandline>"
    "<qemu:arg value='-incoming'/><qemu:arg value='defer'/></qemu:commandline></domain>"
)


def asked(**changes: Any) -> Options:
    given = {"name": "web1", "source_uri": SOURCE_URI, "migration_address": "192.0.2.12", **changes}
    return options(method=Method(transfer="push"), **given)


class Monitor:
    """One side with fixed answers; any command that would change something fails."""

    def __init__(
        self, xml: str | None, migration: str = "none", run_state: str = "running", hostname: str = "node1"
    ) -> None:
        self.xml, self.persistent = xml, 0
        self.host = SimpleNamespace(
            connection=lambda: SimpleNamespace(
                getHostname=lambda: hostname,
                getCapabilities=lambda: "<capabilities><host><uuid>u</uuid></host></capabilities>",
            )
        )
        self.answers = {
            "query-migrate": {"status": migration},
            "query-status": {"status": run_state},
            "query-migrate-parameters": {"tls-creds": ""},
        }

    @property
    def domain(self) -> Any:
        if self.xml is None:
            raise GuestGone("no guest")
        return SimpleNamespace(
            XMLDesc=lambda: self.xml,
            maxMemory=lambda: 1024,
            isPersistent=lambda: self.persistent,
            autostart=lambda: self.persistent,
        )

    def translated(self) -> Any:
        return nullcontext()

    def execute(self, command: str) -> Any:
        return self.answers[command]  # KeyError for a command that changes something


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [ipaddress.ip_address(text) for text in ("192.0.2.12", "2001:db8::12")]
    monkeypatch.setattr(fitness, "own_addresses", lambda: own)


@pytest.mark.parametrize("address", ["192.0.2.12", "2001:db8::12", "2001:DB8:0::12"])
def test_an_address_of_this_host_is_accepted(address: str) -> None:
    fitness.assess(asked(migration_address=address), Monitor(RUNNING), Monitor(None))


@pytest.mark.parametrize("address", ["192.0.2.11", "192.0.2.255", "2001:db8::11"])
def test_an_address_of_another_host_is_refused_while_the_guest_runs_on_the_source(address: str) -> None:
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(migration_address=address), Monitor(RUNNING), Monitor(None))
    assert caught.value.phase is Phase.PREPARING
    for part in ("migration_address", address, "not an address of this host", "192.0.2.12, 2001:db8::12"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("migration", "served", "found"),
    [
        ("postcopy-paused", True, Standing.HALF),
        ("postcopy-active", True, Standing.HALF),
        ("postcopy-paused", False, None),
        ("active", True, None),
    ],
)
def test_a_destination_whose_main_loop_hangs_is_seen_out_of_band(
    monkeypatch: pytest.MonkeyPatch, migration: str, served: bool, found: Standing | None
) -> None:
    class Hung(Monitor):
        domain = SimpleNamespace(XMLDesc=lambda: INCOMING, UUIDString=lambda: "uuid")

        def execute(self, command: str) -> Any:
            raise NoAnswer("hung")

    def check() -> None:
        if not served:
            raise NoAnswer("not even out of band")

    monkeypatch.setattr(oob, "OutOfBand", lambda _place: SimpleNamespace(check=check, close=lambda: None))
    sides = Monitor(RUNNING, migration, "finish-migrate"), Hung(INCOMING)
    if found is None:
        with pytest.raises(NoAnswer):
            fitness.assess(asked(), *sides)
    else:
        assert fitness.assess(asked(), *sides) is found


def test_a_half_migrated_guest_is_not_recovered_to_another_hosts_address() -> None:
    halves = Monitor(RUNNING, "postcopy-paused", "finish-migrate"), Monitor(INCOMING, "postcopy-paused", "running")
    fitness.assess(asked(), *halves)
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(migration_address="192.0.2.11"), *halves)
    assert caught.value.phase is Phase.POSTCOPY


def test_what_a_guest_left_on_the_source_is_not_to_be_resumed() -> None:
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(), Monitor(RUNNING, "completed", "postmigrate"), Monitor(None))
    assert caught.value.phase is Phase.LOST
    assert "has left the source" in str(caught.value)
    assert "must not be resumed" in str(caught.value)
    assert f"virsh -c {SOURCE_URI} destroy" in str(caught.value)


def encrypted() -> Options:
    return replace(asked(), method=Method(transfer="push", tls=True))


def test_certificates_that_do_not_serve_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"usable": False, "reason": "/pki: server-cert.pem is refused: certificate has expired"}
    monkeypatch.setattr(certificates, "look", lambda _directory, address: found if address == "192.0.2.12" else {})
    fitness.assess(asked(), Monitor(RUNNING), Monitor(None))
    with pytest.raises(fitness.Unfit, match=r"tls: this host's certificates cannot be used: .*certificate has expired"):
        fitness.assess(encrypted(), Monitor(RUNNING), Monitor(None))
    monkeypatch.setattr(certificates, "look", lambda _directory, _address: {"usable": True})
    fitness.assess(encrypted(), Monitor(RUNNING), Monitor(None))


def test_encryption_that_somebody_else_has_set_is_refused() -> None:
    source = Monitor(RUNNING)
    source.answers["query-migrate-parameters"] = {"tls-creds": "theirs"}
    with pytest.raises(fitness.Unfit, match="has the TLS credentials theirs set for migrations"):
        fitness.assess(asked(), source, Monitor(None))


def test_a_guest_that_is_home_needs_no_address() -> None:
    fitness.assess(asked(migration_address="192.0.2.11"), Monitor(None), Monitor(RUNNING))


@pytest.mark.parametrize("name", ["web1", "x'; touch pwned; '", "-c", "$(touch pwned)"])
def test_commands_in_messages_can_be_pasted_whatever_the_guests_name(name: str) -> None:
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(name=name), Monitor(RUNNING), Monitor(RUNNING, hostname="node2"))
    command = str(caught.value).partition("end it with ")[2]
    assert shlex.split(command) == ["virsh", "-c", DESTINATION_URI, "destroy", "--domain", name]


WRITABLE = "<domain><devices><disk type='file'><source file='/a.img'/><target dev='vda'/></disk></devices></domain>"


def test_a_guest_that_is_not_built_for_this_is_refused_with_all_that_was_found_unless_forced() -> None:
    source = Monitor(WRITABLE)
    source.persistent = 1
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(), source, Monitor(None))
    assert caught.value.phase is Phase.PREPARING
    for part in ("web1", "writable disk vda (/a.img)", "persistent definition, started with its host", "force: true"):
        assert part in str(caught.value)
    fitness.assess(asked(force=True), source, Monitor(None))


@pytest.mark.parametrize(
    ("source", "destination"),
    [(("postcopy-paused", "finish-migrate"), "postcopy-paused"), (("completed", "postmigrate"), "completed")],
)
def test_a_guest_that_is_already_split_comes_home_whatever_it_has(source: tuple[str, str], destination: str) -> None:
    fitness.assess(asked(), Monitor(WRITABLE, *source), Monitor(INCOMING, destination, "running"))


def test_a_host_that_is_source_and_destination_is_not_said_to_have_two_guests() -> None:
    with pytest.raises(fitness.Unfit) as caught:
        fitness.assess(asked(), Monitor(RUNNING), Monitor(RUNNING))
    assert (
        str(caught.value)
        == f"source_uri: {SOURCE_URI} leads to node1, which is the destination itself: give the other host's"
    )


PASSTHROUGH = "<domain type='kvm'><name>web1</name><cpu mode='host-passthrough'/></domain>"


@pytest.mark.parametrize(
    ("cpus", "compared", "force", "refused"),
    [
        (("<cpu>A</cpu>", "<cpu>B</cpu>"), 0, False, True),
        (("<cpu>A</cpu>", "<cpu>B</cpu>"), 0, True, False),
        (("<cpu>A</cpu>", "<cpu>B</cpu>"), 2, False, False),
        (("<cpu>A</cpu>", "<cpu>A</cpu>"), 0, False, False),
        (("<cpu>A</cpu>", None), 0, False, False),
    ],
)
def test_a_guest_with_its_hosts_cpu_needs_that_cpu_on_the_destination(
    monkeypatch: pytest.MonkeyPatch, cpus: tuple[str, str | None], compared: int, force: bool, refused: bool
) -> None:
    def libvirt_of(cpu: str | None) -> Any:
        return SimpleNamespace(
            cpu=cpu,
            compareHypervisorCPU=lambda *_arguments: compared,
            baselineHypervisorCPU=lambda *arguments: f"<cpu>{' and '.join(arguments[4])}</cpu>\n",
        )

    constants = SimpleNamespace(VIR_CPU_COMPARE_INCOMPATIBLE=0, VIR_CONNECT_BASELINE_CPU_MIGRATABLE=2)
    monkeypatch.setattr(fitness, "libvirt", constants)
    monkeypatch.setattr(fitness.kvm, "libvirt", constants)
    monkeypatch.setattr(fitness.kvm, "host_cpu", lambda connection: connection.cpu)
    hosts = [Monitor(PASSTHROUGH), Monitor(None)]
    for monitor, cpu in zip(hosts, cpus, strict=True):
        monitor.host = SimpleNamespace(connection=lambda cpu=cpu: libvirt_of(cpu))
    if not refused:
        fitness.assess(asked(force=force), *hosts)
        return
    with pytest.raises(fitness.Unfit, match=r"host-passthrough.*<cpu><cpu>A</cpu> and <cpu>B</cpu></cpu>"):
        fitness.assess(asked(), *hosts)
