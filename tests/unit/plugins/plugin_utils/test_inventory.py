# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which inventories are a testbed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.inventory import inventory_problems
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment.pairs import Pair, pair_of, stacks

GROUPS = {
    "source_host": ["node1"],
    "destination_host": ["node2"],
    "image_builder": ["localhost"],
    "hypervisors": ["node1", "node2"],
    "all": ["node1", "node2", "node3", "localhost"],
}
DESTINATION = {"testbed_migration_address": "192.0.2.12", "testbed_source_uri": "qemu+ssh://root@node1/system"}
VARIABLES: dict[str, dict[str, Any]] = {"node1": {}, "node2": DESTINATION, "localhost": {}, "node3": {}}
PAIRS = {
    "pairs": ["left", "right"],
    "source_host": ["node1", "node3"],
    "destination_host": ["node2", "node4"],
    "hypervisors": ["node1", "node2", "node3", "node4"],
    "all": ["left", "right", "node1", "node2", "node3", "node4", "localhost"],
}
PAIRED: dict[str, dict[str, Any]] = {
    "left": {"testbed_source": "node1", "testbed_destination": "node2"},
    "right": {"testbed_source": "node3", "testbed_destination": "node4"},
    "node4": {"testbed_migration_address": "192.0.2.14", "testbed_source_uri": "qemu+ssh://root@node3/system"},
}
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


def paired(groups: dict[str, list[str]] | None = None, **variables: dict[str, Any]) -> str:
    """Return the problems of an inventory of two pairs, but for what is given."""
    given = {**PAIRED, **{host: {**PAIRED.get(host, {}), **of} for host, of in variables.items()}}
    return problems({**PAIRS, **(groups or {})}, in_play=PAIRS["all"], **given)


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


def test_any_number_of_pairs_is_a_testbed() -> None:
    assert paired() == ""
    assert paired({**GROUPS, "pairs": ["left"]}) == ""


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ({"testbed_source": None}, "pair right has no testbed_source, the name of a host of the group source_host"),
        ({"testbed_source": "node9"}, "pair right: testbed_source: node9 is not in the group source_host"),
        ({"testbed_source": "node1"}, "node1 is the source of left and the source of right"),
        ({"testbed_source": "node1"}, "node3 of the group source_host is in no pair"),
        ({"testbed_destination": "node1"}, "node1 is the source of left and the destination of right"),
        ({"testbed_destination": "node3"}, "node3 is the source of right and the destination of right"),
    ],
)
def test_a_host_has_one_part_in_one_pair(pair: dict[str, Any], says: str) -> None:
    assert says in paired(right=pair)


def test_a_pair_is_no_host_and_all_hosts_are_of_pairs() -> None:
    named_like_a_host = {"pairs": ["left", "node3"]}
    assert "node3 is a pair and a host" in paired(named_like_a_host, node3=PAIRED["right"])
    assert "instead of the sources and the destinations of the pairs" in paired({"hypervisors": ["node1", "node2"]})
    assert "group image_builder has no host" in paired({"image_builder": []})


def test_hosts_of_two_pairs_are_two_hosts() -> None:
    assert "node2 and node4 have the same testbed_migration_address" in paired(
        node4={"testbed_migration_address": DESTINATION["testbed_migration_address"]}
    )
    address = {"ansible_host": "192.0.2.1"}
    assert "node1 and node4 have the same ansible_host, 192.0.2.1" in paired(node1=address, node4=address)
    assert paired(node1=address, node4={**address, "ansible_port": 2222}) == ""


def test_each_pair_is_checked() -> None:
    assert "node4 has no testbed_source_uri" in paired(node4={"testbed_source_uri": ""})
    assert "--limit leaves out right," in problems(PAIRS, in_play=[*PAIRS["all"][:1], *PAIRS["all"][2:]], **PAIRED)


def test_each_embedded_pair_has_a_lab_of_its_own() -> None:
    def labs(**right: Any) -> str:
        names = ["local_lab_name", "local_lab_state_dir", "local_lab_run_dir", "local_lab_controller_address"]
        here = {"ansible_connection": "local"}
        hosts = [{"management_address": "198.18.2.11"}, {"management_address": "198.18.2.12"}]
        variables = {
            "left": {**PAIRED["left"], **here, "local_lab_hosts": LAB_HOSTS, **dict.fromkeys(names, "left")},
            "right": {**PAIRED["right"], **here, "local_lab_hosts": hosts, **dict.fromkeys(names, "right"), **right},
            "node1": {"ansible_host": "198.18.0.11"},
            "node3": {"ansible_host": "198.18.2.11"},
            "node4": PAIRED["node4"],
        }
        return problems(PAIRS, in_play=PAIRS["all"], embedded_lab=True, **variables)

    assert labs() == ""
    assert "left and right have the same local_lab_name, left" in labs(local_lab_name="left")
    assert "give the pair ansible_connection: local" in labs(ansible_connection="ssh")
    assert "node3 is not a host of the embedded lab" in labs(local_lab_hosts=LAB_HOSTS)


def test_a_host_knows_its_pair() -> None:
    variables = {**VARIABLES, **PAIRED}
    right = Pair("right", "right", "node3", "node4")
    assert {pair_of(PAIRS, variables, host) for host in ("right", "node3", "node4")} == {right}
    assert pair_of(PAIRS, variables, "localhost").name == "left"
    only = Pair(None, "localhost", "node1", "node2")
    assert {pair_of(GROUPS, VARIABLES, host) for host in ("localhost", "node1", "node2")} == {only}


def test_every_pair_names_its_stack_or_none_does() -> None:
    named = {
        name: {**PAIRED[name], "testbed_stack": stack} for name, stack in (("left", "old"), ("right", "qemu-11.1"))
    }
    assert paired(**named) == ""
    assert "right has no testbed_stack, which other pairs have" in paired(left=named["left"])
    for name in ("../up", "two words", "-x", "x" * 41):
        says = f'pair left: testbed_stack: is "{name}"; use at most 40 letters'
        assert says in paired(**{**named, "left": {**named["left"], "testbed_stack": name}})


def test_two_stacks_are_something_to_compare() -> None:
    def found(*names: object) -> dict[str, str]:
        said = [{} if name is None else {"testbed_stack": name} for name in names]
        return stacks({"pairs": ["left", "right", "third"]}, dict(zip(("left", "right", "third"), said, strict=True)))

    assert found("new", "old", "new") == {"left": "new", "right": "old", "third": "new"}
    # YAML reads a version as a number.
    assert found(10.2, 11.1, 11.1)["left"] == "10.2"
    assert found("one", "one", "one") == found(None, None, None) == stacks({}, {}) == {}
