# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bound on wake-up latency, with a file in place of the device."""

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


def test_the_device_stays_open_within_the_context(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    is_open = lambda: any(  # noqa: E731
        link.resolve() == device.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()
    )
    with bounded(0, device):
        assert is_open()
    assert not is_open()


def test_no_bound_is_set_unless_requested(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    with bounded(None, device) as absent:
        assert absent == "not requested"
    assert not device.exists()


def test_a_kernel_without_the_device_does_not_stop_the_measurement(tmp_path: Path) -> None:
    with bounded(0, tmp_path / "none" / "cpu_dma_latency") as absent:
        assert absent is not None
        assert absent.startswith("the kernel does not support a bound: ")
