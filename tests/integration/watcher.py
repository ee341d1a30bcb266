# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Follows a migration closely on the destination host, where it is sent over SSH, and acts at points of its progress.

usage: python3 - STEPS [SOURCE]     SOURCE is the host that the guest comes from, "source" by default; commands find it
in the variable of that name. STEPS is a JSON list of [verb, value], taken one after another:

    ["await", PHASE]     wait for a phase of the migration (see PHASES)
    ["arrived", BYTES]   wait until that many bytes were sent in post-copy
    ["rate", BYTES]      limit the push to so many bytes per second from now on; 0 is no limit
    ["run", COMMAND]     run a shell command on this host
    ["clients", HOSTS]   wait until somebody else is connected to the libvirtd of each host, too

Prints "ready" when it watches, and at the end a JSON list of what was seen right after each step.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

GUEST = "vcsp-guest"
SOURCE = os.environ["SOURCE"] = (*sys.argv[2:], "source")[0]
URIS = {"source": f"qemu+ssh://root@{SOURCE}/system", "destination": "qemu:///system"}
POLL_S = 0.02
ANSWER_S = 30  # one that is only looked at may hang: its main loop waits for memory, say
PATIENCE_S = 150  # only a migration that hangs takes longer
GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
HANGS = {"status": "hangs"}
CLIENTS = "grep -c ' 0001 03 .*/libvirt-sock$' /proc/net/unix"

# The destination waits and the guest is watched; split; whole on the destination, and nothing left on the source.
PHASES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "baseline": lambda seen: seen["destination"] in ("none", "setup") and seen["watched"],
    "post-copy": lambda seen: seen["source"] == seen["destination"] == "postcopy-active",
    "paused": lambda seen: "postcopy-paused" in (seen["source"], seen["destination"]),
    "observation": lambda seen: seen["destination"] == "completed" and seen["source"] is None,
}


class Side:
    """The guest's QEMU on one host."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._connection: Any = None

    def ask(self, command: str, **arguments: Any) -> Any:
        """QEMU's answer; None when there is no guest. A libvirtd that is away is waited for."""
        request = json.dumps({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._connection = self._connection or libvirt.open(self.uri)
                domain = self._connection.lookupByName(GUEST)
                return json.loads(libvirt_qemu.qemuMonitorCommand(domain, request, 0)).get("return")
            except libvirt.libvirtError as error:
                if error.get_error_code() in GONE:
                    return None
                if time.monotonic() > deadline:
                    raise
                self._connection = None
                time.sleep(POLL_S)

    def look(self, command: str, otherwise: Any) -> Any:
        """As ``ask``; ``otherwise`` of a QEMU that does not answer."""
        answers: list[Any] = []

        def ask() -> None:
            with contextlib.suppress(libvirt.libvirtError):
                answers.append(self.ask(command))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWER_S)
        return answers[0] if answers else otherwise


SIDES = {host: Side(uri) for host, uri in URIS.items()}


def look() -> dict[str, Any]:
    """What can be seen of the migration now; the status of a QEMU that is gone is None."""
    source, destination = (SIDES[host].look("query-migrate", HANGS) for host in ("source", "destination"))
    devices = [] if destination is HANGS else SIDES["destination"].look("query-chardev", None) or []
    network = next(line for line in Path("/proc/net/dev").read_text().splitlines() if "mig0:" in line)
    return {
        "time_s": time.monotonic(),
        "source": None if source is None else source.get("status", "none"),
        "destination": None if destination is None else destination.get("status", "none"),
        "sent": (source or {}).get("ram", {}).get("transferred", 0),
        "received": int(network.split()[1]),
        # Somebody listens to what the guest says: the last thing that is prepared before the baseline.
        "watched": any(
            item["label"].startswith("charchannel") and not item["filename"].startswith("disconnected")
            for item in devices
        ),
    }


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {PATIENCE_S} s for {what}; seen at last: {look()}")
        time.sleep(POLL_S)


def run(host: str, command: str) -> str:
    words = ["sh", "-c", command] if host == "destination" else ["ssh", f"root@{SOURCE}", command]
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    return subprocess.run(words, stdout=pipe, stderr=both, text=True, timeout=PATIENCE_S).stdout


def take(verb: str, value: Any) -> str:
    """Take one step; returns the output of a command."""
    if verb == "await":
        wait_for(lambda: PHASES[value](look()), value)
    elif verb == "arrived":
        wait_for(lambda: PHASES["post-copy"](seen := look()) and seen["sent"] >= value, f"{value} bytes in post-copy")
    elif verb == "rate":
        SIDES["source"].ask("migrate-set-parameters", **{"max-postcopy-bandwidth": value})
    elif verb == "clients":
        wait_for(lambda: all(int(run(host, CLIENTS)) > 1 for host in value), f"another client of libvirtd on {value}")
    else:
        return run("destination", value)
    return ""


def main() -> None:
    """Take the steps."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are exceptions, not lines on stderr
    Path("/proc/self/comm").write_text("watcher")  # the commands look for python3, which the module is
    look()
    print("ready", flush=True)
    report = []
    for verb, value in json.loads(sys.argv[1]):
        output = take(verb, value)
        module = run("destination", "pgrep -x python3") != ""
        report.append({"step": [verb, value], "output": output, "module": module, **look()})
    print(json.dumps(report), flush=True)
    os._exit(0)  # nobody waits for what hangs


main()
