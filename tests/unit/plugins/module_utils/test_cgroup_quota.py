# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPU limits in cgroups that are only files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import cgroup_quota

TID = 77


@pytest.fixture(params=[1, 2])
def cgroup(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The cgroup of a vCPU without a limit, in a hierarchy of either version."""
    proc, point = tmp_path / "proc", tmp_path / "cgroup"
    kind, name = ("cgroup", "cpu") if request.param == 1 else ("cgroup2", "")
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "mounts").write_text(f"none {point} {kind} rw,cpu 0 0\n")
    (proc / str(TID)).mkdir()
    (proc / str(TID) / "cgroup").write_text(f"0:{name}:/guest/vcpu0\n")
    directory = point / "guest" / "vcpu0"
    directory.mkdir(parents=True)
    if request.param == 1:
        (directory / "cpu.cfs_quota_us").write_text("-1\n")
        (directory / "cpu.cfs_period_us").write_text("100000\n")
    else:
        (directory / "cpu.max").write_text("max 100000\n")
    return directory


def held(cgroup: Path) -> dict[str, str]:
    return {file.name: file.read_text().strip() for file in cgroup.iterdir()}


def test_what_was_in_force_is_in_force_again(cgroup: Path, tmp_path: Path) -> None:
    before = held(cgroup)
    limits = cgroup_quota.limits([TID], tmp_path / "proc")
    for file in cgroup.iterdir():
        file.write_text("5000 10000\n")
    assert cgroup_quota.restore(limits) is True
    assert held(cgroup) == before


def test_limits_that_cannot_be_written_are_not_restored(cgroup: Path, tmp_path: Path) -> None:
    limits = cgroup_quota.limits([TID], tmp_path / "proc")
    for file in cgroup.iterdir():
        file.unlink()
    cgroup.rmdir()
    assert cgroup_quota.restore(limits) is False


def test_a_vcpu_that_is_gone_has_no_limits(tmp_path: Path, cgroup: Path) -> None:
    limits = cgroup_quota.limits([TID + 1], tmp_path / "proc")
    assert limits == ()
    assert cgroup_quota.restore(limits) is False
