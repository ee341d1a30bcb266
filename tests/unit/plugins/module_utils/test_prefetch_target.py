# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What prefetching learns from QEMU and the kernel: the guest's RAMBlocks, and the cgroup of its QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import (
    Block,
    PrefetchError,
    cgroup_of,
    guest_blocks,
    parse_ramblocks,
)

# HMP 'info ramblock' of a small guest with huge pages behind one device, QEMU 10.0.
RAMBLOCKS = """\
              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x0000000020000000 0x0000000020000000 0x00007f1c5be00000  rw
                 nvdimm0    2 MiB  0x0000000040000000 0x0000000008000000 0x0000000010000000 0x00007f1c3be00000  rw
    /rom@etc/acpi/tables    4 KiB  0x0000000020040000 0x0000000000020000 0x0000000000200000 0x00007f1c5b800000  ro
                 pc.bios    4 KiB  0x0000000020000000 0x0000000000040000 0x0000000000040000 0x00007f1c5bc00000  ro
   /rom@etc/table-loader    4 KiB  0x0000000020240000 0x0000000000001000 0x0000000000010000 0x00007f1c5b600000  ro
"""


def test_parse_the_blocks_of_a_guest() -> None:
    assert parse_ramblocks(RAMBLOCKS.replace("\n", "\r\n")) == parse_ramblocks(RAMBLOCKS)
    assert parse_ramblocks(RAMBLOCKS) == [
        Block("pc.ram", 4096, 512 << 20),
        Block("nvdimm0", 2 << 20, 128 << 20),
        Block("/rom@etc/acpi/tables", 4096, 128 << 10),
        Block("pc.bios", 4096, 256 << 10),
        Block("/rom@etc/table-loader", 4096, 4096),
    ]


def test_output_without_blocks_yields_none() -> None:
    assert parse_ramblocks("") == []
    assert parse_ramblocks("unknown command: 'info ramblock'\n") == []


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        (["pc.ram"], ["pc.ram"]),
        (["ram-node0", "nvdimm0"], ["/objects/ram-node0", "nvdimm0"]),
        (["ram"], []),
        ([], []),
    ],
)
def test_the_guests_memory_among_the_blocks(backends: list[str], expected: list[str]) -> None:
    blocks = [
        Block(name, 4096, 1 << 20)
        for name in ("pc.ram", "/objects/ram-node0", "nvdimm0", "0000:00:02.0/vga.vram", "/rom@etc/acpi/tables")
    ]
    assert [block.name for block in guest_blocks(blocks, backends)] == expected


def proc_with(path: Path, cgroup: str, mounts: str) -> Path:
    for name, text in (("42/cgroup", cgroup), ("self/mounts", mounts)):
        file = path / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return path


V1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n"


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/machine/qemu-1\n", "/sys/fs/cgroup/unified/machine/qemu-1"),
        ("4:cpu,cpuacct:/other\n0::/machine/qemu-1\n", "/sys/fs/cgroup/unified/machine/qemu-1"),
        ("4:cpu,cpuacct:/other\n", "/sys/fs/cgroup/unified"),
    ],
)
def test_the_cgroup_in_the_v2_hierarchy(tmp_path: Path, cgroup: str, expected: str) -> None:
    proc = proc_with(tmp_path, cgroup, "proc /proc proc rw 0 0\n" + V1 + V2)
    assert cgroup_of(42, proc) == Path(expected)


def test_a_host_without_a_v2_hierarchy_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PrefetchError, match="no cgroup v2"):
        cgroup_of(42, proc_with(tmp_path, "4:cpu:/other\n", V1))
