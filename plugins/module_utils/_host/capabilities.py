# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host can do, determined by trying where that is cheap, and its provenance."""

from __future__ import annotations

import json
import os
import platform
import pwd
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from .._destination.cgroups import NO_CGROUP_V2, PROC, cpu_hierarchies
from .._destination.policies import policy
from .._destination.prefetch import Block, Prefetch, PrefetchError
from .memory import first_match, thp_mode

KVM_BOOT_TIMEOUT_S = 10
# Printed by a kernel without a root file system just before it gives up: everything up to there worked.
KERNEL_CAME_UP = "Unable to mount root fs"
UFFD_SYSCTL = Path("/proc/sys/vm/unprivileged_userfaultfd")
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


def accelerator(binary: str, kernel: Path | None, cache: Path | None, keep: bool = True) -> dict[str, Any]:
    """KVM if it boots a kernel within seconds, else TCG; with the reason.

    :param kernel: the guest's kernel. Without it KVM cannot be tried, and TCG is the safe answer.
    :param cache: file that caches the answer for this boot, kernel and QEMU: trying a KVM that hangs takes 10 s.
    :param keep: whether to write that file, if its folder exists.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return {"name": "tcg", "reason": "there is no usable /dev/kvm"}
    if kernel is None or not kernel.exists():
        return {"name": "tcg", "reason": "KVM was not tried: there is no guest kernel to boot yet"}
    version = qemu(binary)
    stamp = kernel.stat()
    key = [BOOT_ID.read_text().strip(), stamp.st_size, stamp.st_mtime, version]
    try:
        known = json.loads(cache.read_text()) if cache is not None else None
        if known and known["key"] == json.loads(json.dumps(key)):
            kept: dict[str, Any] = known["accelerator"]
            return kept
    except (OSError, ValueError, KeyError):
        pass  # nothing cached yet
    found = _try_kvm(binary, kernel)
    if keep and cache is not None and cache.parent.is_dir():
        temporary = cache.with_suffix(".tmp")
        temporary.write_text(json.dumps({"key": key, "accelerator": found}))
        temporary.replace(cache)
    return found


def _try_kvm(binary: str, kernel: Path) -> dict[str, Any]:
    command = [
        binary, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
        "-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=KVM_BOOT_TIMEOUT_S)
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        reason = f"/dev/kvm exists, but a kernel did not boot with it in {KVM_BOOT_TIMEOUT_S} s"
        return {"name": "tcg", "reason": reason}
    except OSError as error:
        return {"name": "tcg", "reason": f"{binary} cannot be run: {error}"}
    if KERNEL_CAME_UP in output:
        return {"name": "kvm", "reason": f"a kernel booted with KVM in {time.monotonic() - started:.1f} s"}
    last = output.strip().splitlines()[-1:] or ["no output"]
    return {"name": "tcg", "reason": f"/dev/kvm exists, but a kernel did not boot with it: {last[0][:200]}"}


def userfaultfd(qemu_conf: Path = Path("/etc/libvirt/qemu.conf")) -> dict[str, Any]:
    """Whether QEMU, under the user that libvirt runs it as, may use userfaultfd(2)."""
    user = qemu_user(qemu_conf)
    if not UFFD_SYSCTL.exists() and not Path("/dev/userfaultfd").exists():
        return answer(False, "the kernel has no userfaultfd")
    if user == "root":
        return answer(True, "QEMU runs as root")
    if UFFD_SYSCTL.exists() and UFFD_SYSCTL.read_text().strip() == "1":
        return answer(True, "vm.unprivileged_userfaultfd is 1")
    return answer(False, f"QEMU runs as {user} and vm.unprivileged_userfaultfd is not 1")


def qemu_user(qemu_conf: Path) -> str:
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
    model = first_match(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo"))
    return {
        "kernel": platform.release(),
        "cpu": {"model": model or platform.machine(), "count": os.cpu_count() or 0},
        "distribution": platform.freedesktop_os_release()["PRETTY_NAME"],
        "hostname": platform.node(),
        "boot_id": BOOT_ID.read_text().strip(),
        "thp": thp_mode(),
    }
