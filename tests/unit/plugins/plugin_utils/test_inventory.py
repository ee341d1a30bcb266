# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which inventories are a testbed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.inventory import inventory_problems

GROUPS = {
    "source_host": ["node1"],
    "destination_host": ["node2"],
    "image_builder": ["localhost"],
    "hypervisors": ["node1", "node2"],
    "all": ["node1", "node2", "node3", "localhost"],
}
DESTINATION = {"testbed_migration_address": "192.0.2.12", "testbed_source_uri": "qemu+ssh://root@node1/system"}
VARIABLES: dict[str, dict[str, Any]] = {"node1": {}, "node2": DESTINATION, "localhost": {}, "node3": {}}
LAB_HOSTS = [{"management_address": "198.18.0.11"}, {"management_address": "198.18.0.12"}]


def problems(
    groups: dict[str, list[str]] | None = None,
    in_play: list[str] | None = None,
    embedded_lab: bool = False,
    uid: int = 0,
    **variables: dict[str, Any],
) -> str:
    everything = GROUPS["all"] if in_play is None else in_play
    found = inventory_problems(
        {**GROUPS, **(groups or {})}, {**VARIABLES, **variables}, everything, embedded_lab, uid=uid
    )
    return "\n".join(found)


def test_a_testbed_passes() -> None:
    assert problems() == ""
    assert problems(uid=1000) == ""


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"source_host": []}, "group source_host has no host instead of one host"),
        ({"destination_host": ["node2", "node3"]}, "group destination_host has node2, node3 instead of one host"),
        ({"source_host": ["node2"]}, "node2 is both source and destination"),
        ({"hypervisors": ["node1", "node2", "web1"]}, "group hypervisors has node1, node2, web1 instead of"),
        ({"hypervisors": []}, "group hypervisors has no host instead of"),
        ({"image_builder": ["node3"]}, "testbed_image_transfer_dir"),
    ],
)
def test_other_inventories_are_refused_with_the_way_out(groups: dict[str, list[str]], says: str) -> None:
    found = problems(groups)
    assert says in found
    assert "/inventory/local for the embedded lab" in found


def test_a_production_inventory_is_refused_for_all_that_it_lacks() -> None:
    found = inventory_problems({"hypervisors": ["web1", "web2"], "all": ["web1", "web2"]}, {}, ["web1"], False)
    assert len(found) == 1
    assert all(group in found[0] for group in ("source_host", "destination_host", "image_builder"))


@pytest.mark.parametrize("name", DESTINATION)
def test_the_destination_says_how_it_is_reached(name: str) -> None:
    assert f"node2 has no {name}" in problems(node2={**DESTINATION, name: ""})
    assert f"node2 has no {name}" in problems(node2={key: DESTINATION[key] for key in DESTINATION if key != name})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("testbed_migration_address", "node2.example.org", "no IP address"),
        ("testbed_migration_ports", 49152, "no range of TCP ports"),
        ("testbed_source_uri", "node1", "does not use libvirt's QEMU driver"),
    ],
)
def test_what_the_module_would_refuse_is_refused_beforehand(name: str, value: Any, says: str) -> None:
    found = problems(node2={**DESTINATION, name: value})
    assert f"node2: {name}: " in found and says in found


def test_the_hosts_have_an_address_each() -> None:
    assert problems(node1={"testbed_migration_address": "192.0.2.11"}) == ""
    assert "node1: testbed_migration_address: " in problems(node1={"testbed_migration_address": "0.0.0.0"})
    own = {"testbed_migration_address": DESTINATION["testbed_migration_address"]}
    assert "node1 and node2 have the same testbed_migration_address, 192.0.2.12" in problems(node1=own)


def test_an_image_built_elsewhere_needs_a_folder_here() -> None:
    built_elsewhere = {"image_builder": ["node3"]}
    assert problems(built_elsewhere, node3={"testbed_image_transfer_dir": "/tmp"}) == ""
    assert problems(built_elsewhere, node3={"ansible_connection": "local"}) == ""


def test_the_embedded_lab_is_made_of_its_own_hosts() -> None:
    own = {"local_lab_hosts": LAB_HOSTS, "ansible_host": "198.18.0.11"}
    assert problems(embedded_lab=True, node1=own) == ""
    assert "node1 is not a host of the embedded lab" in problems(embedded_lab=True)
    assert "node1 is not a host" in problems(embedded_lab=True, node1={**own, "ansible_host": "192.0.2.1"})


def test_the_embedded_lab_needs_root_and_says_how_to_get_it() -> None:
    own = {"local_lab_hosts": LAB_HOSTS, "ansible_host": "198.18.0.11"}
    assert "sudo make experiment" in problems(embedded_lab=True, uid=1000, node1=own)


def test_a_limit_must_leave_the_testbed_whole() -> None:
    assert "--limit leaves out node1," in problems(in_play=["node2", "localhost"])
    assert "--limit leaves out localhost," in problems(in_play=["node1", "node2"])
