# SPDX-License-Identifier: GPL-3.0-or-later
"""The bound on wake-ups, on a device that is a file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.cpu_latency import bounded


@pytest.mark.parametrize("latency_us", [0, 20])
def test_the_bound_is_written_at_once(tmp_path: Path, latency_us: int) -> None:
    device = tmp_path / "cpu_dma_latency"
    with bounded(latency_us, device) as absent:
        assert absent is None
        assert struct.unpack("=i", device.read_bytes()) == (latency_us,)


def test_the_bound_is_held_as_long_as_the_file_is_open(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    opened = lambda: any(  # noqa: E731
        link.resolve() == device.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()
    )
    with bounded(0, device):
        assert opened()
    assert not opened()


def test_nothing_is_held_when_nobody_asks(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    with bounded(None, device) as absent:
        assert absent == "not asked for"
    assert not device.exists()


def test_a_kernel_without_the_device_does_not_stop_the_measurement(tmp_path: Path) -> None:
    with bounded(0, tmp_path / "none" / "cpu_dma_latency") as absent:
        assert absent is not None
        assert absent.startswith("the kernel takes no bound: ")
