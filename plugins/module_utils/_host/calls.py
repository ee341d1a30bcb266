# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls that can be abandoned. libvirt waits in C, where nothing can interrupt it, for as long as QEMU takes to answer.

They are made in a daemon thread, so none keeps the process from ending. While a call of some name is unanswered, no
other of that name is made: libvirtd serves only five requests of a client at once.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

# How long an answer is waited for; what starts or ends a QEMU takes longer.
ANSWER_S = 10.0
LIMITS_S = {"createXML": 60.0, "destroy": 30.0, "open_connection": 15.0}
# How long to wait once more for an answer that is overdue, and for any other meanwhile.
OVERDUE_S = 3.0

Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Unanswered(Exception):
    """A call did not return in time. It may still have an effect."""


class Calls:
    """Makes one call after another, each with a time limit that its name decides."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Call | None] | None = None
        self._overdue: dict[str, Future[Any]] = {}

    @property
    def waiting(self) -> bool:
        """Whether a call was abandoned that has not returned since."""
        return any(not call.done() for call in self._overdue.values())

    def make(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function`` and return what it returns.

        :raises Unanswered: it did not return in time, or the last call of that name still has not.
        """
        before = self._overdue.pop(name, None)
        if before is not None:
            self._await(name, before, OVERDUE_S)
        if self._queue is None:
            self._queue = SimpleQueue()
            threading.Thread(target=_work, args=(self._queue,), name="calls", daemon=True).start()
        done: Future[Any] = Future()
        self._queue.put((done, function, arguments))
        self._await(name, done, LIMITS_S.get(name, OVERDUE_S if self.waiting else ANSWER_S))
        return done.result()

    def _await(self, name: str, call: Future[Any], limit_s: float) -> None:
        wait([call], limit_s)
        if not call.done():
            self._overdue[name] = call
            if self._queue is not None:
                self._queue.put(None)  # its thread ends when the call returns
                self._queue = None
            raise Unanswered(f"{name} did not return within {limit_s:g} s")


class Limited:
    """An object of libvirt's whose methods are called with a time limit.

    :param call: makes the call: ``call(name, function, *arguments)``.
    :ivar raw: the object itself.
    """

    def __init__(self, raw: Any, call: Callable[..., Any]) -> None:
        self.raw, self._call = raw, call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.raw, name)
        return lambda *arguments: self._call(name, method, *arguments)


def keep(thing: Any) -> None:
    """Never free it: to free a connection is to wait for an answer, and Python would do so when it exits."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _work(queue: SimpleQueue[Call | None]) -> None:
    while (call := queue.get()) is not None:
        done, function, arguments = call
        try:
            done.set_result(function(*arguments))
        except BaseException as error:  # raised again by the thread that waits
            done.set_exception(error)
        del call, done, function, arguments  # the last reference to a connection would be dropped late
