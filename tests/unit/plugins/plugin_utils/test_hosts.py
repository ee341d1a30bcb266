# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table with which provisioning ends."""

from __future__ import annotations

from ansible_collections.vcsp.testbed.plugins.plugin_utils._scenario.hosts import host_table

from .test_preflight import host


def test_a_host_that_can_do_everything_is_one_line() -> None:
    head, line = host_table({"alpha": host("alpha")}).splitlines()
    assert head.split() == ["host", "system", "kernel", "processors", "accelerator", "QEMU", "libvirt", "methods"]
    assert line.split("  ")[0] == "alpha"
    for fact in ("Debian 13", "6.12.0", "2 x Example", "KVM", "10.0.2", "11.3.0", "4 of 4"):
        assert fact in line


def test_what_a_host_lacks_is_said_with_the_methods_that_need_it() -> None:
    poor = host("beta") | {
        "ebpf": {"usable": False, "reason": "no clang"},
        "cgroup": {"cpu": False, "reason": ""},
        "accelerator": {"name": "tcg", "reason": "KVM was not tried: there is no guest to boot yet"},
    }
    _head, good, bad, *notes = host_table({"alpha": host("alpha"), "beta": poor}).splitlines()
    assert "4 of 4" in good and "1 of 4" in bad and "not tried" in bad
    for note, lacking, methods in (
        (notes[0], "(beta): the eBPF prefetch program cannot be loaded (no clang)", "post-copy-prefetching, vcsp-pref"),
        (notes[1], "(beta): the cgroup CPU controller is not there", "vcsp, vcsp-prefetching"),
    ):
        assert lacking in note and methods in note
    assert len(notes) == 2


def test_a_host_of_which_nothing_is_known_can_do_nothing() -> None:
    _head, line, *notes = host_table({"gamma": {}}).splitlines()
    assert "0 of 4" in line and "?" in line
    assert any("userfaultfd" in note for note in notes)
