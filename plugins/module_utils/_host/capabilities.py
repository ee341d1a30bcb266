# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host can do, determined by trying where that is cheap, and its provenance."""

from __future__ import annotations

import os
import platform
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

from .._destination.cgroups import NO_CGROUP_V2, PROC, cpu_hierarchies
from .._destination.policies import policy
from .._destination.prefetch import Block, Prefetch, PrefetchError
from .memory import first_match, thp_mode

UFFD_SYSCTL = Path("/proc/sys/vm/unprivileged_userfaultfd")
UFFD_DEVICE = Path("/dev/userfaultfd")
QEMU_CONF = Path("/etc/libvirt/qemu.conf")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def answer(usable: bool, reason: str) -> dict[str, Any]:
    """A capability as testbed_info returns it, with the reason why it is usable or not."""
    return {"usable": usable, "reason": reason}


def qemu(binary: str) -> dict[str, Any] | None:
    """Version of a QEMU binary and the features it implies; None if it is not installed."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        return None
    major, minor, _micro = (int(part) for part in match.groups())
    return {
        "version": ".".join(match.groups()),
        "major": major,
        "postcopy_preempt": major >= 8,  # the capability works with post-copy recovery since 8.0
        "postcopy_blocktime": (major, minor) >= (3, 0),
    }


def userfaultfd(qemu_conf: Path = QEMU_CONF) -> dict[str, Any]:
    """Whether QEMU, under the user that libvirt runs it as, may use userfaultfd(2)."""
    user = qemu_user(qemu_conf)
    if not UFFD_SYSCTL.exists() and not UFFD_DEVICE.exists():
        return answer(False, "the kernel has no userfaultfd")
    if user == "root":
        return answer(True, "QEMU runs as root")
    if UFFD_SYSCTL.exists() and UFFD_SYSCTL.read_text().strip() == "1":
        return answer(True, "vm.unprivileged_userfaultfd is 1")
    if may_open(user, UFFD_DEVICE, write=True) and libvirt_shows(UFFD_DEVICE, qemu_conf):
        return answer(True, f"QEMU runs as {user}, which may open {UFFD_DEVICE}")
    return answer(
        False, f"QEMU runs as {user}, which may not open {UFFD_DEVICE}, and vm.unprivileged_userfaultfd is not 1"
    )


def may_open(user: str, path: Path, write: bool = False) -> bool:
    """Whether an account may read a file, and write it if asked, tried under its name and with its groups."""
    try:
        account = pwd.getpwnam(user)
        return (
            subprocess.run(
                ["test", "-r", str(path), *(["-a", "-w", str(path)] if write else [])],
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=os.getgrouplist(user, account.pw_gid),
                cwd="/",
                timeout=30,
            ).returncode
            == 0
        )
    except (KeyError, OSError, subprocess.SubprocessError):
        return False


def libvirt_shows(device: Path, qemu_conf: Path) -> bool:
    """Whether libvirt lets QEMU see a device: its own list of them has userfaultfd, one in qemu.conf replaces it."""
    devices = first_match(r"^\s*cgroup_device_acl\s*=\s*\[([^]]*)", qemu_conf)
    return devices is None or f'"{device}"' in devices


def qemu_user(qemu_conf: Path = QEMU_CONF) -> str:
    """User of libvirt's QEMU processes: as set in qemu.conf, else the distribution's account, else root."""
    user = first_match(r'^\s*user\s*=\s*"([^"]+)"', qemu_conf)
    if user is not None:
        return user
    try:
        return pwd.getpwnam("libvirt-qemu").pw_name
    except KeyError:
        return "root"


def ebpf(program: Path) -> dict[str, Any]:
    """Whether the prefetch program loads and attaches, tried on this process."""
    try:
        with Prefetch(program, [Block("pc.ram", 4096, 1 << 20)], policy("fixed", 2), trace_entries=16) as loaded:
            loaded.attach(os.getpid(), port=1)
    except (PrefetchError, OSError) as error:
        return answer(False, str(error))
    return answer(True, "the prefetch program loads and attaches")


def cgroup(proc: Path = PROC) -> dict[str, Any]:
    """Version of the cgroup hierarchy with the CPU controller, and whether the controller is available."""
    hierarchies = cpu_hierarchies(proc)
    for version, point in hierarchies:
        if version == 1 or "cpu" in (point / "cgroup.controllers").read_text().split():
            return {"version": version, "cpu": True, "reason": f"cgroup v{version} at {point}"}
    if not hierarchies:
        return {"version": 1, "cpu": False, "reason": NO_CGROUP_V2}
    return {"version": 2, "cpu": False, "reason": "no hierarchy offers the CPU controller"}


def provenance() -> dict[str, Any]:
    """Facts about the host that are needed to interpret a result."""
    return {
        "kernel": platform.release(),
        "cpu": cpu(),
        "distribution": platform.freedesktop_os_release()["PRETTY_NAME"],
        "hostname": platform.node(),
        "boot_id": BOOT_ID.read_text().strip(),
        "thp": thp_mode(),
    }


def cpu(cpuinfo: Path = Path("/proc/cpuinfo"), devices: Path = Path("/sys/devices/system/cpu")) -> dict[str, Any]:
    """Model, number, microcode and frequency governors of the processors; the last two are None where there are none.

    Guests, and processors that are not x86, have no microcode to show; most guests have no governor either.
    """
    governors = {first_match(r"(\S+)", path) for path in devices.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return {
        "model": first_match(r"^model name\s*:\s*(.+)$", cpuinfo) or platform.machine(),
        "count": os.cpu_count() or 0,
        "microcode": first_match(r"^microcode\s*:\s*(.+)$", cpuinfo),
        "governor": " and ".join(sorted(filter(None, governors))) or None,
    }
