# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Guests under test: booted once, saved with their workload running, restored for every trial.

Every trial thus starts from the same memory, and none waits for a boot. A guest that boots in no time is started anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .._host import domain as domains
from .._host import oob
from .._libvirt import libvirt
from .calibration import Calibration, TooSlowError, calibrate, readings
from .telemetry import MB, PAGE_BYTES, Channel

# In the domain's metadata; only guests that carry it are ever destroyed or replaced.
MARK = "{https://github.com/vcsp/testbed/guest/1}guest"
# The workload must report for this long before its state is saved.
SETTLE_S = 3.0
BASE = "base.save"
# How often a visit hashes its page while the state is saved, unless the workload says; calibration changes it later.
WORK_PER_PAGE = 20
# A bare guest's word (roles/guest_image/files/bare/bare.c).
BARE_WORD_S = 5e-9
# A guest that is silent for that long has not noticed yet that somebody listens.
SILENCE_S = 5.0
# How long a guest may take to change its work and report, beside the time that the reports take.
ANSWER_S = 60.0
# How much of a guest's console is shown when it does not boot.
CONSOLE_BYTES = 400


class GuestError(Exception):
    """The guest cannot be created, saved or restored; the message says what to do."""


@dataclass(frozen=True)
class Workload:
    """What the guest's workload program does.

    :ivar idle_mb: memory that it has in use and never touches, beside the window.
    :ivar rate_mb_per_s: the rate that calibration brings it to; None: the paper's, unless ``work_per_page`` is given.
    """

    window_mb: int
    pattern: str
    work_per_page: int | None = None
    rate_mb_per_s: float | None = None
    writes_percent: int = 100
    idle_mb: int = 0

    @property
    def file_name(self) -> str:
        writes = "" if self.writes_percent == 100 else f"-writes{self.writes_percent}"
        idle = f"-idle{self.idle_mb}" if self.idle_mb else ""
        return f"{self.window_mb:04}mb-{self.pattern}-w{self.work_per_page or WORK_PER_PAGE}{writes}{idle}.save"

    @property
    def command(self) -> str:
        words = (self.work_per_page or WORK_PER_PAGE) * PAGE_BYTES // 8
        return f"start {self.window_mb} {self.pattern} {words} {self.writes_percent} {self.idle_mb}"


def is_ours(domain: Any) -> bool:
    """Whether this collection created the domain."""
    return ElementTree.fromstring(domain.XMLDesc()).find(f"./metadata/{MARK}") is not None


def find(connection: Any, name: str) -> Any | None:
    """Return our guest of that name; None if there is none.

    :raises GuestError: it is not one of ours.
    """
    domain = domains.find(connection, name)
    if domain is not None and not is_ours(domain):
        raise GuestError(f"the guest {name} is not one of this testbed's and is left alone: choose another guest_name")
    return domain


def remove(connection: Any, name: str) -> bool:
    """Destroy our guest of that name; False if there is none.

    :raises GuestError: it is not one of ours.
    """
    domain = find(connection, name)
    if domain is None:
        return False
    domains.destroy(domain)
    oob.remove_place(oob.place(domain.UUIDString()))
    return True


def check_restore(connection: Any, name: str, path: Path) -> None:
    """Raise what :func:`restore` would raise before it changes anything."""
    if not path.exists():
        raise GuestError(f"there is no saved state {path}: run playbooks/guest.yml")
    find(connection, name)


def check_make(connection: Any, name: str, xml: str) -> None:
    """Raise what :func:`make` would raise before it changes anything."""
    find(connection, name)
    try:
        domain = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise GuestError(f"xml: {error}") from error
    if domain.findtext("name") != name:
        raise GuestError(f"xml: is of a guest named {domain.findtext('name')}, not {name}")
    files = [domain.findtext(f"os/{part}") for part in ("kernel", "initrd", "loader")]
    files += [source.get("file") for source in domain.iterfind("devices/disk/source")]
    missing = [file for file in files if file and not Path(file).exists()]
    if missing:
        raise GuestError(f"there is no {', '.join(missing)}, which the guest {name} needs: run playbooks/guest.yml")


def restore(connection: Any, name: str, path: Path) -> None:
    """Restore the guest saved at ``path``, replacing a leftover one of ours.

    :raises GuestError: there is no such saved state, or QEMU rejects it.
    """
    check_restore(connection, name, path)
    remove(connection, name)
    flags = libvirt.VIR_DOMAIN_SAVE_RUNNING
    refusals: list[str] = []
    # QEMU since version 11 reads no state from a file that libvirt has opened, which some versions of libvirt do. Where
    # libvirt bypasses the cache of files, it reads the state itself and hands it over through a pipe. That takes a file
    # system with direct access, so it comes second.
    for way in (flags, flags | libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE):
        try:
            connection.restoreFlags(str(path), None, way)
            return
        except libvirt.libvirtError as error:
            refusals.append(str(error))
    why = "; through a pipe: ".join(dict.fromkeys(refusals))
    raise GuestError(f"the saved state {path} cannot be restored ({why}): delete it and run playbooks/guest.yml")


def make(connection: Any, name: str, xml: str, path: Path, workload: Workload, boot_timeout_s: float) -> None:
    """Save a workload's state to ``path``, starting from the booted guest, which is saved next to it on first use.

    :raises GuestError: the guest lacks files or does not boot, or its workload does not start.
    """
    check_make(connection, name, xml)
    remove(connection, name)
    base = path.with_name(BASE)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not base.exists():
            with closing(Channel("source")) as channel:
                domain = _boot(channel, connection, name, xml, boot_timeout_s)
            _save(domain, base)
        restore(connection, name, base)
        domain = connection.lookupByName(name)
        with closing(Channel("source")) as channel:
            channel.open(domain)
            _wait(lambda: channel.ready, 30, f"the guest {name} did not respond after it was restored")
            _start(channel, workload, SETTLE_S)
        _save(domain, path)
    finally:
        remove(connection, name)


def start(connection: Any, name: str, xml: str, workload: Workload, boot_timeout_s: float) -> None:
    """Boot the guest and start its workload, replacing a leftover guest of ours.

    :raises GuestError: the guest lacks files or does not boot, or its workload does not start.
    """
    check_make(connection, name, xml)
    remove(connection, name)
    try:
        with closing(Channel("source")) as channel:
            _boot(channel, connection, name, xml, boot_timeout_s)
            _start(channel, workload, settle_s=0)
    except BaseException:
        remove(connection, name)
        raise


def calibrated(connection: Any, name: str, workload: Workload, word_s: float | None = None) -> Calibration:
    """Find the work that gives the workload its rate, on the guest that runs it, which is ended.

    :param word_s: for how long a word makes a visit wait, in seconds, if it does not make it hash.
    :raises GuestError: the guest does not report, or is too slow for the rate asked for.
    """
    try:
        with closing(Channel("source")) as channel:
            domain = connection.lookupByName(name)
            channel.open(domain)
            under_kvm = domains.runs_under_kvm(domain.XMLDesc())
            # Its walkers, of which each virtual CPU has one, wait at the same time.
            mb_word_s = None if word_s is None else word_s * MB / PAGE_BYTES / domain.maxVcpus()
            return calibrate(
                lambda words, count: _rates(channel, domain, words, count), workload.rate_mb_per_s, mb_word_s
            )
    except TooSlowError as error:
        # KVM without hardware virtualisation emulates each instruction, more slowly than QEMU does.
        advice = ", or use 'accelerator: tcg'" if under_kvm else ""
        raise GuestError(f"the workload of {workload.window_mb} MB, {workload.pattern}: {error}{advice}") from error
    finally:
        remove(connection, name)


def _rates(channel: Channel, domain: Any, words: int, count: int) -> list[float]:
    """Bring the guest to a work, and read its rate that many times."""
    channel.words = None
    silent_s = 0.0

    def read() -> list[float] | None:
        nonlocal silent_s
        now_s = time.monotonic()
        if channel.words != words and now_s > silent_s:
            if silent_s:
                channel.open(domain)
            channel.send(f"work {words}")
            silent_s = now_s + SILENCE_S
        found = readings(channel.samples) if channel.words == words else []
        return found if len(found) >= count else None

    message = "the guest did not report while its work was being calibrated: rebuild its saved states"
    found: list[float] = _wait(read, ANSWER_S, message)
    return found[:count]


def _boot(channel: Channel, connection: Any, name: str, xml: str, timeout_s: float) -> Any:
    domain = connection.createXML(xml)
    channel.open(domain)
    message = f"the guest {name} did not boot within {timeout_s:.0f} s"
    _wait(lambda: channel.ready, timeout_s, lambda: f"{message}; {_last_words(xml)}")
    return domain


def _start(channel: Channel, workload: Workload, settle_s: float) -> None:
    # Filling memory takes an emulated processor a while.
    timeout_s = 60 + (workload.window_mb + workload.idle_mb) * 0.2
    channel.send(workload.command)
    _wait(
        lambda: channel.samples and channel.samples[-1].time_s - channel.samples[0].time_s >= settle_s,
        timeout_s,
        f"the workload of {workload.window_mb} MB did not start within {timeout_s:.0f} s: "
        "is the guest's memory too small?",
    )


def _save(domain: Any, path: Path) -> None:
    """Save a guest atomically, which also ends it."""
    temporary = path.with_suffix(".part")
    domain.saveFlags(str(temporary), None, libvirt.VIR_DOMAIN_SAVE_RUNNING)
    temporary.replace(path)


def _last_words(xml: str) -> str:
    """The end of a guest's console log, as a clause."""
    source = ElementTree.fromstring(xml).find("devices/serial/source")
    path = source.get("path") if source is not None else None
    try:
        said = Path(path or "").read_bytes()[-CONSOLE_BYTES:].decode("ascii", "replace").split()
    except OSError:
        return "it has no console log"
    return f"its console {path} {'ends with: ' + ' '.join(said) if said else 'is empty'}"


def _wait(condition: Callable[[], Any], timeout_s: float, message: str | Callable[[], str]) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline_s:
            raise GuestError(message if isinstance(message, str) else message())
        time.sleep(0.01)
    return found
