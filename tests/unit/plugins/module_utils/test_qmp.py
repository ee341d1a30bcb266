# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections to libvirt, with a stand-in in its place."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._host import qmp


class LibvirtError(Exception):
    pass


class Connection:
    keepalive: tuple[int, int] | None = None

    def setKeepAlive(self, interval_s: int, count: int) -> None:  # noqa: N802 - libvirt's name
        self.keepalive = interval_s, count


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace libvirt with a stand-in that opens connections with the given function."""

    def use(open_it: Any) -> None:
        monkeypatch.setattr(qmp, "libvirt", SimpleNamespace(open=open_it, libvirtError=LibvirtError), raising=False)

    monkeypatch.setattr(qmp.EventLoop, "start", lambda: None)
    return use


def test_a_connection_has_keepalive(opens: Any) -> None:
    opens(lambda uri: Connection())
    assert qmp.connect("test:///").keepalive == (5, 6)


def test_a_refused_connection_says_why(opens: Any) -> None:
    def refuse(uri: str) -> None:
        raise LibvirtError("no such socket")

    opens(refuse)
    with pytest.raises(qmp.ConnectionFailed, match="cannot reach libvirt at test:///: no such socket"):
        qmp.connect("test:///")


def test_another_error_is_not_swallowed(opens: Any) -> None:
    def fail(uri: str) -> None:
        raise TypeError("not a URI")

    opens(fail)
    with pytest.raises(TypeError, match="not a URI"):
        qmp.connect("test:///")


def test_a_libvirtd_that_hangs_is_not_waited_for(opens: Any) -> None:
    released = threading.Event()

    def hang(uri: str) -> Connection:
        released.wait(60)
        return Connection()

    opens(hang)
    with pytest.raises(qmp.ConnectionFailed, match=r"test:/// did not answer within 0\.05 s; check that its libvirtd"):
        qmp.connect("test:///", timeout_s=0.05)
    released.set()
