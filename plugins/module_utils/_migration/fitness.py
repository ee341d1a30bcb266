# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a guest and two hosts are fit for the migration that is asked for; looked at before anything is touched."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from .._destination.prefetch import (
    Block,
    PrefetchError,
    guest_blocks,
    load_libbpf,
    parse_ramblocks,
)
from .._host import domain as domains
from .._host.capabilities import memory
from .._host.endpoints import own_addresses, virsh
from .._host.qmp import GuestGone, Monitor
from .._measure.readings import Settings
from .phases import Phase
from .standing import Seen, Standing, standing

MIN_QEMU_FOR_PREEMPT = 8


class Unfit(Exception):
    """The migration is refused; nothing was touched. The message says what to do, ``phase`` where the guest is."""

    def __init__(self, text: str, phase: Phase = Phase.PREPARING) -> None:
        super().__init__(text)
        self.phase = phase


def stand(settings: Settings, source: Monitor, destination: Monitor) -> Standing:
    """Where the guest stands, if something can be done about it.

    :raise Unfit: nothing can.
    """
    found = standing(see(source), see(destination))
    if found in _REFUSED:
        told = {
            **vars(settings),
            "end_source": virsh(settings.source_uri, "destroy", settings.name),
            "end_destination": virsh(settings.destination_uri, "destroy", settings.name),
        }
        raise Unfit(_REFUSED[found].format(**told), Phase.LOST if found is Standing.LOST else Phase.PREPARING)
    if found in (Standing.READY, Standing.WAITING, Standing.HALF):
        _check_address(settings, Phase.POSTCOPY if found is Standing.HALF else Phase.PREPARING)
    if found in (Standing.READY, Standing.WAITING):
        _check(settings, source, destination)
    return found


def see(monitor: Monitor) -> Seen | None:
    """A host's domain of the guest's name; None when it has none."""
    try:
        with monitor.translated():
            xml = monitor.domain.XMLDesc()
        migration = monitor.execute("query-migrate").get("status", "none")
        run_state = monitor.execute("query-status")["status"]
    except GuestGone:
        return None
    return Seen(migration, run_state, domains.is_incoming(xml))


def blocks(source: Monitor) -> list[Block]:
    """The RAMBlocks that are the guest's memory.

    :raise PrefetchError: QEMU names none.
    """
    backends = [backend["id"] for backend in source.execute("query-memdev") if "id" in backend]
    found = guest_blocks(parse_ramblocks(source.human("info ramblock")), backends)
    if not found:
        raise PrefetchError(f"none of the guest's RAMBlocks is a memory backend ({', '.join(backends) or 'none'})")
    return found


def parameters(source: Monitor, names: Iterable[str], capabilities: Iterable[str]) -> dict[str, Any]:
    """Migration parameters and capabilities as they are, for ``put_back``."""
    values, switches = source.execute("query-migrate-parameters"), source.capabilities()
    return {
        "parameters": {name: values[name] for name in names if name in values},
        "capabilities": {name: switches[name] for name in capabilities if name in switches},
    }


def put_back(source: Monitor, before: dict[str, Any]) -> None:
    """Set what ``parameters`` returned."""
    source.set_capabilities(**before["capabilities"])
    source.execute("migrate-set-parameters", **before["parameters"])


def _check_address(settings: Settings, at: Phase) -> None:
    """See that this host has the address, which the source will send the guest's memory to."""
    own = own_addresses()
    if ipaddress.ip_address(settings.migration_address) not in own:
        raise Unfit(
            f"migration_address: {settings.migration_address} is not an address of this host "
            f"({', '.join(map(str, own)) or 'it has none'}): give the one that it has on the migration network",
            at,
        )


def _check(settings: Settings, source: Monitor, destination: Monitor) -> None:
    if settings.preempt:
        for monitor in (source, destination):
            major = monitor.host.connection().getVersion() // 1_000_000
            if major < MIN_QEMU_FOR_PREEMPT:
                raise Unfit(
                    f"transfer: demand needs QEMU >= {MIN_QEMU_FOR_PREEMPT} (postcopy-preempt), the {monitor.role} has "
                    f"{major}: upgrade it, or use transfer: push without postcopy_preempt"
                )
    if settings.policy.extends:
        _check_prefetch(settings, source)
    _check_memory(settings, source)


def _check_prefetch(settings: Settings, source: Monitor) -> None:
    if source.execute("query-migrate-parameters").get("tls-creds"):
        raise Unfit(
            "prefetching cannot work with TLS, which hides page requests from the kernel: use prefetch_pages: 1"
        )
    load_libbpf()
    largest = max(block.used_bytes // block.page_bytes for block in blocks(source))
    if settings.prefetch_pages > largest:
        raise Unfit(f"prefetch_pages: {settings.prefetch_pages} pages are more than the guest has ({largest})")


def _check_memory(settings: Settings, source: Monitor) -> None:
    with source.translated():
        needed_mb = source.domain.maxMemory() // 1024
        xml = source.domain.XMLDesc()
    if ElementTree.fromstring(xml).find("./memoryBacking/hugepages") is not None:
        return  # taken from a pool of its own as soon as QEMU starts, which fails when the pool is too small
    available_mb = memory()["available_mb"]
    if needed_mb > available_mb:
        raise Unfit(
            f"the guest {settings.name} has {needed_mb} MB of memory, and the destination has {available_mb} MB "
            "available: free some, or choose another destination"
        )


_REFUSED = {
    Standing.ABSENT: "no guest {name} runs at {source_uri}: start it there first",
    Standing.STOPPED: "the guest {name} at {source_uri} does not run; start or resume it",
    Standing.MIGRATING: "the guest {name} is being migrated already; wait for its end",
    Standing.OCCUPIED: "another guest {name} exists on the destination: rename it, or end it with {end_destination}",
    Standing.LOST: (
        "the guest's memory is lost: half of {name} went away during post-copy. What is left of it must not be "
        "resumed; end it with {end_source} or {end_destination}"
    ),
}
