# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which pairs are alike."""

from __future__ import annotations

from typing import Any

from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.traits import (
    same_software,
    shared_machines,
    unlike,
)


def pair(name: str, **facts: Any) -> dict[str, Any]:
    same = {"kernel": "6.1", "cpu": {"model": "Xeon", "count": 4}, "qemu": {"version": "10.0.2"}, **facts}
    return {
        host: {**same, "hostname": f"{name}-{host}", "boot_id": f"{name}-{host}"} for host in ("source", "destination")
    }


def test_pairs_differ_in_the_names_of_their_hosts_alone() -> None:
    assert unlike({}) == unlike({"left": pair("a")}) == unlike({"left": pair("a"), "right": pair("b")}) == []
    found = unlike({"left": pair("a"), "right": pair("b", kernel="6.8"), "third": pair("c")})
    assert found == [f"kernel of the {host}: 6.1 (left, third), 6.8 (right)" for host in ("source", "destination")]


def test_what_is_not_known_of_one_pair_differs_from_what_is_known_of_another() -> None:
    found = unlike({"left": pair("a"), "right": pair("b", qemu=None)})
    assert found[0] == "QEMU version of the source: 10.0.2 (left), not stated (right)"


def test_pairs_that_share_a_machine() -> None:
    left, right = pair("a"), pair("b")
    assert shared_machines({"left": left, "right": right}) == []
    right["source"]["boot_id"] = left["destination"]["boot_id"]
    assert shared_machines({"left": left, "right": right}) == [["left", "right"]]
    # The hosts of one pair may, and of what is not known nothing is said.
    for host in ("source", "destination"):
        left[host]["boot_id"], right[host]["boot_id"] = "same", None
    assert shared_machines({"left": left, "right": right}) == []


def test_pairs_of_two_stacks_differ_in_software_alone() -> None:
    old, new = pair("a"), pair("b", kernel="6.8", qemu={"version": "11.1.0"}, libvirt={"version": "12.9.0"})
    stacks = {"left": "old", "right": "new", "third": "new"}
    assert unlike({"left": old, "right": new}, stacks) == []
    assert unlike({"left": old, "right": new})
    (*_, found) = unlike({"left": old, "right": pair("b", cpu={"model": "Xeon", "count": 8})}, stacks)
    assert found == "number of CPUs of the destination: 4 (left), 8 (right)"
    found = unlike({"left": old, "right": new, "third": pair("c")}, stacks)
    assert "kernel of the source: 6.8 (right), 6.1 (third)" in found
    assert all("left" not in each for each in found)


def test_stacks_of_one_software() -> None:
    assert same_software({"left": pair("a"), "right": pair("b")})
    assert not same_software({"left": pair("a"), "right": pair("b", kernel="6.8")})
