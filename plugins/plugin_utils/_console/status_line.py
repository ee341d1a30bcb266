# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lines that stay, and below them one that shows what is being done at the moment."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

# Work that takes longer gets a line that stays.
LONG_S = 5
# Where no line can be redrawn, work that is still running is reported whenever this much time has passed.
STILL_RUNNING_S = 30


class DisplayLike(Protocol):
    """The part of ansible.utils.display.Display that is used."""

    def display(self, msg: str, color: str | None = None, *, screen_only: bool = False, newline: bool = True) -> None:
        """Write to the standard output."""


class StatusLine:
    """Writes lines that stay; on a terminal it draws one below them, once a second, until it is stopped.

    All other output must be written inside :meth:`aside`. Methods may be called from any thread.
    """

    def __init__(self, display: DisplayLike, dim: str) -> None:
        """Begin with nothing being done; ``dim`` is the colour of less important lines."""
        self._display = display
        self._dim = dim
        self._drawing = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._label: str | None = None
        self._since = self._reported_s = 0.0
        self._remembered = True
        self._drawn_width = 0
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._clock: threading.Thread | None = None

    def begin(self, label: str, since: float | None = None, remembered: bool = True) -> None:
        """Say what is being done from now on.

        :param since: start on the monotonic clock, if it was not now
        :param remembered: whether it gets a line that stays if it takes long
        """
        with self._lock:
            self.end()
            self._label, self._remembered, self._reported_s = label, remembered, 0.0
            self._since = time.monotonic() if since is None else since
            if self._clock is None:
                self._clock = threading.Thread(target=self._tick, name="status line", daemon=True)
                self._clock.start()
                # When a run is interrupted, nothing else stops it.
                atexit.register(self.stop)

    def end(self) -> None:
        """Say that it has ended."""
        with self._lock:
            took_s = time.monotonic() - self._since
            if self._label is not None and self._remembered and took_s >= LONG_S:
                self.say(f"{self._label}  {duration(took_s)}", self._dim)
            self._label = None
            self._erase()

    def stop(self) -> None:
        """Draw no more."""
        self._stopped.set()
        with self._lock:
            self._erase()

    def say(self, text: str, color: str | None = None) -> None:
        """Write a line that stays."""
        with self.aside():
            self._display.display(text, color=color)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Make room for what is written inside."""
        with self._lock:
            self._erase()
            yield
            sys.stdout.flush()  # Ansible would keep it until the end when the output is a file or a pipe

    def _tick(self) -> None:
        while not self._stopped.wait(1):
            with self._lock:
                if self._label is None or self._stopped.is_set():
                    continue
                took_s = time.monotonic() - self._since
                if self._drawing:
                    self._draw(f"{self._label}  {duration(took_s)}")
                elif self._remembered and took_s - self._reported_s >= STILL_RUNNING_S:
                    self._reported_s = took_s
                    self.say(f"{self._label}  running for {duration(took_s)}", self._dim)

    def _draw(self, text: str) -> None:
        self._erase()
        text = text[: max(shutil.get_terminal_size().columns - 1, 0)]
        self._display.display(text, color=self._dim, screen_only=True, newline=False)
        sys.stdout.flush()
        self._drawn_width = len(text)

    def _erase(self) -> None:
        if self._drawn_width:
            self._display.display("\r" + " " * self._drawn_width + "\r", screen_only=True, newline=False)
            self._drawn_width = 0


def duration(seconds: float) -> str:
    """Return ``35 s``, ``4 min 10 s`` or ``1 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
