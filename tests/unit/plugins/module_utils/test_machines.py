# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which machine type a guest of two hosts gets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import machines as module
from ansible_collections.vcsp.testbed.plugins.module_utils._host.machines import in_common, machines

CAPABILITIES = """<capabilities>
  <guest><os_type>hvm</os_type>
    <arch name='i686'><machine canonical='pc-i440fx-9.9'>pc</machine></arch>
  </guest>
  <guest><os_type>hvm</os_type>
    <arch name='x86_64'>
      <machine maxCpus='255'>pc-i440fx-9.2</machine>
      <machine maxCpus='255'>pc-i440fx-10.0</machine>
      <machine canonical='pc-i440fx-10.0' maxCpus='255'>pc</machine>
      <machine maxCpus='4096'>pc-q35-10.0</machine>
      <machine canonical='pc-q35-10.0' maxCpus='4096'>q35</machine>
      <machine maxCpus='1'>microvm</machine>
    </arch>
  </guest>
</capabilities>"""


def test_what_pc_means_comes_first_and_other_boards_are_left_out() -> None:
    assert machines(SimpleNamespace(getCapabilities=lambda: CAPABILITIES)) == ["pc-i440fx-10.0", "pc-i440fx-9.2"]


@pytest.mark.parametrize("text", ["<capabilities/>", CAPABILITIES.replace(">pc<", ">none<")])
def test_a_host_without_such_machines_has_none(text: str) -> None:
    assert machines(SimpleNamespace(getCapabilities=lambda: text)) == []


def test_a_libvirt_that_does_not_say_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise OSError("no")

    monkeypatch.setattr(module, "libvirt", SimpleNamespace(libvirtError=OSError))
    assert machines(SimpleNamespace(getCapabilities=refuse)) == []
    assert machines(None) == []


OLD, NEW = ["pc-i440fx-10.0", "pc-i440fx-9.2"], ["pc-i440fx-11.1", "pc-i440fx-10.0"]


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (OLD, OLD, "pc-i440fx-10.0"),
        (OLD, NEW, "pc-i440fx-10.0"),
        (NEW, OLD, "pc-i440fx-10.0"),
        # A distribution's own comes first, but only where both have it.
        (["pc-i440fx-noble", *OLD], NEW, None),
        (["pc-i440fx-noble", *OLD], OLD, "pc-i440fx-10.0"),
        (["pc-i440fx-noble", *OLD], ["pc-i440fx-resolute", "pc-i440fx-noble"], "pc-i440fx-noble"),
        (OLD, [], None),
        ([], NEW, None),
    ],
)
def test_a_guest_of_both_has_what_the_older_one_calls_pc(
    source: list[str], destination: list[str], expected: str | None
) -> None:
    assert in_common(source, destination) == expected
