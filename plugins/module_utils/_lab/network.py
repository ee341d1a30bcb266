# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Devices in network namespaces, by ip(8) and tc(8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .step import LabError

NETNS_DIR = Path("/run/netns")
Runner = Callable[[list[str]], tuple[int, str, str]]


class Network:
    """Looks at devices and changes them. A namespace of None is the machine's own.

    :param run: runs a command and returns its exit status, output and errors
    :raises LabError: a command that changes something failed
    """

    def __init__(self, run: Runner, prefix_length: int) -> None:
        self._run_command = run
        self._prefix_length = prefix_length

    def shows(self, *command: str) -> str | None:
        """Return what a command shows; None if it fails."""
        status, out, _error = self._run_command(list(command))
        return out if status == 0 else None

    def run(self, *command: str) -> str:
        """Run a command that has to succeed, and return its output."""
        status, out, error = self._run_command(list(command))
        if status != 0:
            raise LabError(f"'{' '.join(command)}' failed: {error.strip()}")
        return out

    def ip(self, netns: str | None, *arguments: str) -> None:
        """Run ip(8) in a namespace."""
        self.run("ip", *(["-n", netns] if netns else []), *arguments)

    def has(self, netns: str | None, device: str) -> bool:
        """Tell whether a device is there."""
        return self.shows("ip", *(["-n", netns] if netns else []), "link", "show", "dev", device) is not None

    def is_up(self, netns: str | None, device: str, address: str | None = None) -> bool:
        """Tell whether a device is there and up, with its address: an interruption may leave it without."""
        inside = ["-n", netns] if netns else []
        kind = "address" if address else "link"
        shown = self.shows("ip", *inside, "-o", kind, "show", "dev", device, "up")
        return shown is not None and (f" {address}/{self._prefix_length} " if address else device) in shown

    def address(self, netns: str | None, device: str, address: str) -> None:
        """Give a device its address, and let it work."""
        self.ip(netns, "address", "add", f"{address}/{self._prefix_length}", "dev", device)
        self.ip(netns, "link", "set", "dev", device, "up")

    def remove(self, netns: str | None, device: str) -> None:
        """Remove a device if it is there."""
        if self.has(netns, device):
            self.ip(netns, "link", "delete", "dev", device)
