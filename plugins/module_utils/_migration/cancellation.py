# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cancellation, by a signal or a controller that hung up. The transaction obeys it once the guest is safe."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_MS = 500


class Cancellation:
    """Notices, within its context, that the module should end.

    :param notice: called when that happens, from a signal handler or another thread.
    :ivar reason: why the module should end; None until then.
    """

    def __init__(self, notice: Callable[[], None] = lambda: None) -> None:
        self.reason: str | None = None
        self._notice = notice
        self._ended = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Cancellation:
        for number in SIGNALS:
            self._stack.callback(signal.signal, number, signal.signal(number, self._on_signal))
        self._stack.callback(self._ended.set)
        threading.Thread(target=self._watch_stdout, name="controller", daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._cancel(f"received {signal.Signals(number).name}")

    def _watch_stdout(self) -> None:
        poller = select.poll()
        poller.register(1, 0)  # only POLLERR and POLLHUP, which are always reported
        while not self._ended.is_set():
            if any(event & (select.POLLERR | select.POLLHUP) for _fd, event in poller.poll(LOOK_MS)):
                self._cancel("the controller hung up")
                return

    def _cancel(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._notice()
