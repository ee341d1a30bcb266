# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a guest and two hosts are fit for the requested migration, checked before anything is touched."""

from __future__ import annotations

import ipaddress
from contextlib import closing
from typing import Any
from xml.etree import ElementTree

from .._destination.prefetch import (
    Block,
    PrefetchError,
    guest_blocks,
    load_libbpf,
    parse_ramblocks,
)
from .._host import certificates, kvm, oob
from .._host import domain as domains
from .._host.endpoints import own_addresses, virsh
from .._host.identity import identity
from .._host.memory import rooms
from .._host.qmp import GuestGone, Monitor, NoAnswer
from .._libvirt import libvirt
from .._options import Options
from . import encryption
from .fitness_domain import unfit
from .phases import Phase
from .standing import Seen, Standing, standing

MIN_QEMU_FOR_PREEMPT = 8
# What a migration changes on the source, and restores if the guest stays there.
SOURCE_PARAMETERS = ("max-bandwidth", "max-postcopy-bandwidth")
SOURCE_CAPABILITIES = ("postcopy-ram", "postcopy-preempt", "events")


class Unfit(Exception):
    """The migration is refused, and nothing was touched; the message says what to do.

    :ivar phase: where the guest is.
    """

    def __init__(self, text: str, phase: Phase = Phase.PREPARING) -> None:
        super().__init__(text)
        self.phase = phase


def assess(options: Options, source: Monitor, destination: Monitor) -> Standing:
    """Where the guest stands, if the migration can start or continue from there.

    :raises Unfit: it cannot.
    """
    at_source = inspect(source)
    try:
        at_destination = inspect(destination)
    except NoAnswer as error:
        at_destination = _inspect_out_of_band(destination, at_source, error)
    found = standing(at_source, at_destination)
    if found is Standing.OCCUPIED:
        _check_apart(options, source, destination)
    if found in _REFUSED:
        values = {
            **vars(options),
            "state": None if at_source is None else at_source.run_state,
            "migrations": ", ".join(seen.migration for seen in (at_source, at_destination) if seen is not None),
            "end_source": virsh(options.source_uri, "destroy", options.name),
            "end_destination": virsh(options.destination_uri, "destroy", options.name),
        }
        gone = found in (Standing.LOST, Standing.LEFT)
        raise Unfit(_REFUSED[found].format(**values), Phase.LOST if gone else Phase.PREPARING)
    if found in (Standing.READY, Standing.WAITING, Standing.HALF):
        _check_address(options, Phase.POSTCOPY if found is Standing.HALF else Phase.PREPARING)
    if found in (Standing.READY, Standing.WAITING):
        _check_domain(options, source)
        _check_cpu(options, source, destination)
        _check_hosts(options, source, destination)
    return found


def inspect(monitor: Monitor) -> Seen | None:
    """The guest's domain on a host; None if there is none."""
    try:
        with monitor.translated():
            xml = monitor.domain.XMLDesc()
        migration = monitor.execute("query-migrate").get("status", "none")
        run_state = monitor.execute("query-status")["status"]
    except GuestGone:
        return None
    return Seen(migration, run_state, domains.is_incoming(xml))


def _inspect_out_of_band(destination: Monitor, at_source: Seen | None, error: NoAnswer) -> Seen:
    """The half of a guest whose main loop waits for memory, which follows from the other half.

    :raises NoAnswer: more than that hangs.
    """
    if at_source is None or at_source.migration not in oob.SHARED:
        raise error
    with destination.translated(), closing(oob.connect(oob.place(destination.domain.UUIDString()))) as monitor:
        monitor.check()
    return Seen(at_source.migration, "inmigrate", incoming=True)


def blocks(source: Monitor) -> list[Block]:
    """The RAMBlocks that hold the guest's memory.

    :raises PrefetchError: there are none.
    """
    backends = [backend["id"] for backend in source.execute("query-memdev") if "id" in backend]
    found = guest_blocks(parse_ramblocks(source.human("info ramblock")), backends)
    if not found:
        raise PrefetchError(f"none of the guest's RAMBlocks is a memory backend ({', '.join(backends) or 'none'})")
    return found


def migration_settings(source: Monitor) -> dict[str, Any]:
    """The source's current migration parameters and capabilities, for ``restore``."""
    values, switches = source.execute("query-migrate-parameters"), source.capabilities()
    return {
        "parameters": {name: values[name] for name in SOURCE_PARAMETERS if name in values},
        "capabilities": {name: switches[name] for name in SOURCE_CAPABILITIES if name in switches},
    }


def restore(source: Monitor, before: dict[str, Any]) -> None:
    """Set what ``migration_settings`` returned."""
    source.set_capabilities(**before["capabilities"])
    source.execute("migrate-set-parameters", **before["parameters"])


def _check_address(options: Options, phase: Phase) -> None:
    """Make sure that the address to which the source will send the guest's memory is this host's."""
    own = own_addresses()
    if ipaddress.ip_address(options.migration_address) not in own:
        raise Unfit(
            f"migration_address: {options.migration_address} is not an address of this host "
            f"({', '.join(map(str, own)) or 'it has none'}): give the one that it has on the migration network",
            phase,
        )


def _check_apart(options: Options, source: Monitor, destination: Monitor) -> None:
    """Make sure that a guest of the same name on the destination is not the very guest, seen a second time."""
    with source.translated(), destination.translated():
        here, there = (identity(monitor.host.connection()) for monitor in (destination, source))
    if here == there:
        raise Unfit(
            f"source_uri: {options.source_uri} leads to {here['hostname']}, which is the destination itself: give the "
            "other host's"
        )


def _check_domain(options: Options, source: Monitor) -> None:
    """Make sure that the guest is one that QMP can migrate without libvirt's help."""
    with source.translated():
        domain = source.domain
        persistent = bool(domain.isPersistent())
        found = unfit(domain.XMLDesc(), persistent, persistent and bool(domain.autostart()))
    if found and not options.force:
        raise Unfit(
            f"the guest {options.name} is not built for this: {', '.join(found)}. Migrate it with virsh migrate, or "
            "set force: true once you have made sure of what its description lists"
        )


def _check_cpu(options: Options, source: Monitor, destination: Monitor) -> None:
    """Make sure that the destination has what a guest uses of its host's own CPU; libvirt does so for CPU models."""
    with source.translated():
        guest = ElementTree.fromstring(source.domain.XMLDesc())
    cpu = guest.find("cpu")
    if guest.get("type") != "kvm" or cpu is None or cpu.get("mode") != "host-passthrough" or options.force:
        return
    connection = destination.host.connection()
    theirs, ours = kvm.host_cpu(source.host.connection()), kvm.host_cpu(connection)
    if theirs is None or ours is None or theirs == ours:
        return
    with destination.translated():
        if connection.compareHypervisorCPU(None, *kvm.MACHINE, theirs, 0) != libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
            return
        common = kvm.baseline(connection, [theirs, ours])
    raise Unfit(
        f"the guest {options.name} has the source's CPU as it is (host-passthrough), and the destination's lacks some "
        f"of it. Start the guest with a CPU that both hosts have: {common}"
    )


def _check_hosts(options: Options, source: Monitor, destination: Monitor) -> None:
    if options.method.preempt:
        for monitor in (source, destination):
            major = monitor.host.connection().getVersion() // 1_000_000
            if major < MIN_QEMU_FOR_PREEMPT:
                raise Unfit(
                    f"transfer: demand needs QEMU >= {MIN_QEMU_FOR_PREEMPT} (postcopy-preempt), but the {monitor.role} "
                    f"has {major}: upgrade it, or use transfer: push without postcopy_preempt"
                )
    _check_encryption(options, source)
    if options.method.prefetches:
        _check_prefetch(options, source)
    _check_memory(options, source)


def _check_encryption(options: Options, source: Monitor) -> None:
    """Make sure that the migration is encrypted if that is asked for, and by nobody else's setting."""
    set_already = encryption.in_use(source)
    if set_already not in ("", encryption.CREDENTIALS):
        raise Unfit(
            f"the guest {options.name} has the TLS credentials {set_already} set for migrations, which are not this "
            "collection's: take them away (QMP migrate-set-parameters, tls-creds: ''), and use tls: true to encrypt"
        )
    if options.method.tls:
        found = certificates.look(options.tls_dir, options.migration_address)
        if not found["usable"]:
            raise Unfit(
                f"tls: this host's certificates cannot be used: {found['reason']}. Make them anew with "
                "playbooks/experiment.yml, or correct your own (tls_dir), or migrate with tls: false"
            )


def _check_prefetch(options: Options, source: Monitor) -> None:
    load_libbpf()
    largest = max(block.used_bytes // block.page_bytes for block in blocks(source))
    if options.method.prefetch_pages > largest:
        raise Unfit(f"prefetch_pages: {options.method.prefetch_pages} pages are more than the guest has ({largest})")


def _check_memory(options: Options, source: Monitor) -> None:
    with source.translated():
        needed_mb = source.domain.maxMemory() // 1024
        xml = source.domain.XMLDesc()
    limit, left_mb = min(rooms(xml), key=lambda room: room.left_mb)
    if needed_mb > left_mb:
        raise Unfit(
            f"the guest {options.name} has {needed_mb} MB of memory, and {limit} on the destination leaves "
            f"{left_mb} MB: free some, raise that limit, or choose another destination"
        )


_REFUSED = {
    Standing.ABSENT: "no guest {name} runs at {source_uri}: start it there first",
    Standing.STOPPED: (
        "the guest {name} at {source_uri} is not running ({state}): find out why, then start or resume it"
    ),
    Standing.UNKNOWN: (
        "QEMU reports a state of migration of the guest {name} that this version of the collection does not know "
        "({migrations}): nothing was touched; end the migration with virsh, or update the collection"
    ),
    Standing.LEFT: (
        "the guest {name} has left the source, and is not on the destination: what is left of it at {source_uri} is "
        "out of date and must not be resumed; end it with {end_source}"
    ),
    Standing.MIGRATING: "the guest {name} is already being migrated: wait until that ends",
    Standing.OCCUPIED: "another guest {name} exists on the destination: rename it, or end it with {end_destination}",
    Standing.LOST: (
        "the guest's memory is lost: half of {name} died during post-copy. The other half must not be resumed; "
        "end it with {end_source} or {end_destination}"
    ),
}
