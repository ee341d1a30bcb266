# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults as data: what is done to a migration, in which phases, and where the guest must be afterwards.

The steps are those of watcher.py, which runs on the host that the guest goes to; ``$SOURCE`` is the other one. A
fault's first step says "hit" once per host on which it was injected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Step = tuple[str, Any]
BOTH = ("source", "destination")
HOLD: Step = ("rate", 4096)
LET_GO: Step = ("rate", 0)
CUT: Step = ("run", "ip link set mig0 down && echo hit")
# The link's own route comes back without what the lab has set.
JOIN: Step = (
    "run",
    "own=$(ip -4 -o address show mig0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'); ip link set mig0 up; "
    "ip route change 198.18.1.0/24 dev mig0 proto kernel scope link src $own quickack 1 congctl cubic",
)
OF_GUEST = "-f '^[^ ]*qemu-system.*vcsp-guest'"
QEMU = f"pkill -KILL {OF_GUEST} && echo hit"
QEMU_STOPS = f"pkill -STOP {OF_GUEST} && sleep 3 && pkill -CONT {OF_GUEST} && echo hit"
SUSPEND = "virsh suspend vcsp-guest && echo hit"
DROP_SSH = (
    "pid=$(pgrep -x python3); until grep -q ^sshd /proc/$pid/comm; do pid=$(ps -o ppid= $pid | tr -d ' '); done; "
    "kill $pid && echo hit"
)
LOSSY = (
    "nft 'add table inet faults; add chain inet faults in { type filter hook input priority 0; }; "
    "add rule inet faults in iifname mig0 numgen random mod 100 < 3 counter drop' && echo hit"
)
# The lab's services start it again after a second.
LIBVIRTD = "pkill -KILL -x libvirtd && echo hit"
HANG = "pkill -STOP -x libvirtd && sleep 45 && pkill -CONT -x libvirtd && echo hit"
# In both kinds of queue, all that leaves a host goes through this class.
RATE = "tc class change dev mig0 parent 1: classid 1:1 htb rate {rate_mbit}mbit burst 25000 cburst 25000 quantum 16000"
HEAL = (  # on each host, after every attempt
    f"pkill -CONT -x libvirtd; pkill -CONT {OF_GUEST}; nft delete table inet faults 2>/dev/null; "
    f"{RATE.format(rate_mbit=1000)}; " + JOIN[1]
)


def on_each(hosts: tuple[str, ...], command: str) -> Step:
    """Runs a command on each host, which are named by their parts in the migration."""
    return "run", "; ".join(command if host == "destination" else f'ssh root@$SOURCE "{command}"' for host in hosts)


def shape(rate_mbit: int) -> str:
    return f"{RATE.format(rate_mbit=rate_mbit)} && echo hit"


@dataclass(frozen=True)
class Reach:
    """How a phase is reached, and left again after the fault.

    :ivar before: "arrived" stands for the moment that is drawn.
    :ivar holds: whether what was seen right before the fault is this phase.
    """

    before: tuple[Step, ...]
    after: tuple[Step, ...]
    holds: Callable[[Any], bool]
    settings: dict[str, Any] = field(default_factory=dict)


PHASES = {
    "baseline": Reach(
        (("await", "baseline"),), (), lambda seen: seen.destination in ("none", "setup"), {"baseline_s": 15}
    ),
    "post-copy": Reach((("arrived", None), HOLD), (LET_GO,), lambda seen: seen.split),
    "paused": Reach(
        (("arrived", None), HOLD, CUT, LET_GO, ("await", "paused")),
        (JOIN,),
        lambda seen: "postcopy-paused" in (seen.source, seen.destination),
        {"stall_timeout_s": 3},
    ),
    "observation": Reach(
        (("await", "observation"),),
        (),
        lambda seen: seen.destination == "completed" and seen.source is None,
        {"max_postcopy_bandwidth_mb_per_s": 0, "observation_s": 15},
    ),
}


@dataclass(frozen=True)
class Fault:
    """A fault.

    :ivar outcome: phase -> where the guest must be found at the end ("home", "source", "paused", "lost"), in each phase
        in which the fault makes sense. "paused" is on the destination.
    :ivar proof: whether what was seen right after the first step shows what it did.
    :ivar hosts: on how many hosts the first step injects it.
    :ivar silent: nobody hears what the module says: it is killed, or its connection is.
    :ivar ends: the module's end comes without a chance to tidy up, so that a further call has to.
    :ivar twice: the guest is migrated by two calls at once.
    """

    name: str
    steps: tuple[Step, ...]
    outcome: dict[str, tuple[str, ...]]
    proof: Callable[[Any], bool] = lambda _seen: True
    hosts: int = 1
    silent: bool = False
    ends: bool = False
    twice: bool = False
    long: bool = False

    def hit(self, seen: Any) -> bool:
        """Whether what was seen right after the first step proves that the fault was injected."""
        return seen.output.split().count("hit") == self.hosts and self.proof(seen)

    def destroys(self, phase: str) -> bool:
        """Whether it destroys memory that nothing can bring back."""
        return "lost" in self.outcome[phase]


HOME, SOURCE, PAUSED, LOST = ("home",), ("source",), ("paused",), ("lost",)
EVER_HOME: dict[str, tuple[str, ...]] = {"baseline": HOME, "post-copy": HOME, "paused": HOME, "observation": HOME}
# Before the switch the module may go on, or give up and leave the guest where it is.
EITHER_HOME: dict[str, tuple[str, ...]] = {**EVER_HOME, "baseline": ("home", "source")}
STOPPED: dict[str, tuple[str, ...]] = {**EVER_HOME, "baseline": SOURCE}


def _named(*faults: Fault) -> dict[str, Fault]:
    return {fault.name: fault for fault in faults}


FAULTS = _named(
    Fault(
        "cut-1s", (CUT, LET_GO, ("run", "sleep 1"), JOIN), {"baseline": HOME, "post-copy": HOME, "observation": HOME}
    ),
    Fault("cut-10s", (CUT, LET_GO, ("run", "sleep 10"), JOIN), {"post-copy": HOME}),
    Fault(
        "slow",
        (on_each(BOTH, shape(10)), LET_GO, ("run", "sleep 5"), on_each(BOTH, shape(1000))),
        {"post-copy": HOME},
        hosts=2,
    ),
    Fault("loss", (("run", LOSSY),), {"baseline": HOME, "post-copy": HOME}),
    Fault("TERM", (("run", "pkill -TERM -x python3 && echo hit"),), STOPPED),
    Fault(
        "KILL",
        (("run", "pkill -KILL -x python3 && echo hit; while pgrep -x python3 >/dev/null; do sleep 0.01; done"),),
        STOPPED,
        proof=lambda seen: not seen.module,
        silent=True,
        ends=True,
    ),
    Fault("ssh", (("run", DROP_SSH),), STOPPED, silent=True),
    *(
        Fault(f"libvirtd-{name}", (on_each(hosts, LIBVIRTD), ("clients", hosts)), EITHER_HOME, hosts=len(hosts))
        for name, hosts in {"source": ("source",), "destination": ("destination",), "both": BOTH}.items()
    ),
    *(
        Fault(f"libvirtd-hangs-{host}", (on_each((host,), HANG), ("clients", (host,))), {"post-copy": HOME}, long=True)
        for host in BOTH
    ),
    Fault(
        "QEMU-stops-source",
        (on_each(("source",), QEMU_STOPS),),
        dict.fromkeys(("baseline", "post-copy", "paused"), HOME),
    ),
    Fault("QEMU-stops-destination", (on_each(("destination",), QEMU_STOPS),), EVER_HOME),
    Fault("suspend-source", (on_each(("source",), SUSPEND),), {"baseline": PAUSED}),
    Fault("suspend-destination", (on_each(("destination",), SUSPEND),), {"observation": PAUSED}),
    Fault("second-call", (("run", "echo hit"),), {"baseline": HOME}, twice=True),
    Fault(
        "QEMU-source",
        (on_each(("source",), QEMU),),
        {"baseline": LOST, "post-copy": LOST, "paused": LOST},
        proof=lambda seen: seen.source is None,
    ),
    Fault(
        "QEMU-destination",
        (on_each(("destination",), QEMU),),
        {"baseline": SOURCE, "post-copy": LOST, "paused": LOST, "observation": LOST},
        proof=lambda seen: seen.destination is None,
    ),
)
