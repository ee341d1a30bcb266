# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab's hosts as real ones: their network is measured, and what is wrong between them is said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import (
    Done,
    guests,
    heal,
    migration_arguments,
    module,
    on,
    playbook,
    records,
    result,
    run_module,
    wait_until,
    write_scenario,
)

PORTS = "49152-49215"
TABLE = "add table inet faults; add chain inet faults in { type filter hook input priority 0; }"
DROP = f"nft '{TABLE}; add rule inet faults in iifname mig0 tcp dport {PORTS} counter drop'"
REAL = ("-e", "testbed_embedded_lab=false")
ENDPOINTS = {key: migration_arguments()[key] for key in ("migration_address", "source_uri")}
OTHER_END = migration_arguments("source")["migration_address"]


@pytest.fixture
def filtered(lab: Path) -> Iterator[None]:
    """A firewall on the destination that drops what comes to its migration ports."""
    if "no nft" in on("destination", "command -v nft || echo no nft"):
        pytest.skip("needs nft")
    on("destination", DROP)
    yield
    heal()


def look(**of_the_source: Any) -> dict[str, Any]:
    """What both hosts say of each other."""
    there = module("destination", "pair_info", part="destination", **ENDPOINTS)
    return module("source", "pair_info", part="source", other=there, **{**ENDPOINTS, **of_the_source})


def words(done: Done) -> str:
    return " ".join(done.stdout.split()).replace("''", "'")


def test_a_filtered_port_is_named_within_seconds_and_the_guest_stays(
    guest: Callable[..., Done], filtered: None
) -> None:
    begun_s = time.monotonic()
    done = guest(stall_timeout_s=200)
    took_s = time.monotonic() - begun_s
    assert done.returncode != 0
    address = ENDPOINTS["migration_address"]
    said = result(done)["msg"]
    assert f"the source cannot connect to {address}, TCP port 49152, within 5 s" in said
    assert f"ports {PORTS}" in said and "runs on the source" in said
    assert took_s < 100, "as long as the module's own limit would take"
    assert guests("destination") == []
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    heal()
    # QEMU starts no other migration until TCP has given up its attempt, or been refused.
    wait_until(lambda: guest(migration_ports="50000-50001", verify=True).returncode == 0, 200, "QEMU to try again")
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")


def test_the_network_is_measured_as_the_lab_made_it(lab: Path) -> None:
    found = look(own_address=OTHER_END)
    assert found["problems"] == []
    link = found["link"]
    assert link["quickack"] is True and link["congestion_control"] == "cubic"
    assert f" mtu {link['mtu']} " in on("source", "ip link show mig0")
    proof = link["proof"]
    # The lab trims its delay to what a busy machine takes, so a quiet one may take less than the 200 us asked for.
    assert proof["page_us"] > proof["ping_us"] > 100
    assert 0 < proof["bulk_mbit_per_s"] < 1050
    own = ENDPOINTS["migration_address"]
    on("destination", f"ip route change 198.18.1.0/24 dev mig0 proto kernel scope link src {own}")
    try:
        assert look()["link"]["quickack"] is False
    finally:
        heal()


def test_a_firewall_lets_the_source_through_for_as_long_as_it_is_asked_to(lab: Path, filtered: None) -> None:
    way = {"peer": OTHER_END, "address": ENDPOINTS["migration_address"]}

    def refused() -> str:
        return " ".join(look()["problems"])

    before = on("destination", "ip route; nft -s list ruleset")
    assert "does not get through" in refused()
    assert module("destination", "migration_network", **way)["changed"]
    assert refused() == ""
    assert not module("destination", "migration_network", **way)["changed"]
    assert module("destination", "migration_network", state="absent")["changed"]
    assert "does not get through" in refused()
    assert on("destination", "ip route; nft -s list ruleset") == before
    assert not module("destination", "migration_network", state="absent")["changed"]


def test_all_that_is_wrong_between_two_hosts_is_in_one_list(lab: Path, filtered: None, tmp_path: Path) -> None:
    wrong = ("-e", "testbed_source_uri=qemu+ssh://root@destination/system", "-e", "testbed_network_managed=false")
    done = playbook("playbooks/doctor.yml", *REAL, *wrong, "-e", "scenario=smoke", "-e", f"results_dir={tmp_path}")
    assert done.returncode == 2, done.stdout
    # Processes of looks before may still answer on the first ports.
    got = (
        rf"the source does not get through to {re.escape(ENDPOINTS['migration_address'])}, TCP port 491\d\d: timed out"
    )
    assert re.search(got, words(done))
    assert "leads the destination to the host destination, but the source is source" in words(done)
    done = playbook("playbooks/provision.yml", *REAL, *wrong)
    assert done.returncode == 2, done.stdout
    assert re.search(r"TCP port 491\d\d: timed out", words(done)) and "leads the destination to" in words(done)
    assert "Provision the host" not in done.stdout


def test_a_host_that_is_source_and_destination_is_refused_as_that(guest: Callable[..., Done]) -> None:
    arguments = {**migration_arguments("source"), "source_uri": "qemu+unix:///system"}
    done = run_module("source", "postcopy_migration", **arguments)
    assert done.returncode != 0
    assert "source_uri: qemu+unix:///system leads to source, which is the destination itself" in result(done)["msg"]
    assert "destroy" not in result(done)["msg"]
    assert guests("source") == ["vcsp-guest"] and guests("destination") == []
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")


@pytest.mark.long
def test_an_experiment_comes_through_a_firewall_and_every_record_has_the_link(
    lab: Path, filtered: None, tmp_path: Path
) -> None:
    before = on("destination", "ip route; nft -s list ruleset")
    scenario = write_scenario(tmp_path, methods=["post-copy-prefetching"])
    variables = ("-e", f"scenario={scenario}", "-e", f"results_dir={tmp_path / 'results'}")
    done = playbook("experiment.yml", *REAL, *variables, timeout_s=1200)
    assert done.returncode == 0, done.stdout
    (record,) = records(tmp_path / "results").values()
    assert record["link"]["rate_mbit"] is None and record["link"]["quickack"] is True
    assert record["link"]["proof"]["page_us"] > 180
    report = (tmp_path / "results" / "latest" / "report" / "table3.md").read_text()
    assert "link as found MTU" in report
    assert on("destination", "ip route; nft -s list ruleset") == before
