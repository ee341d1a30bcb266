# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for libvirt, which the tests must not need."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination import quota
from ansible_collections.vcsp.testbed.plugins.module_utils._guest import saved_guest
from ansible_collections.vcsp.testbed.plugins.module_utils._host import domain
from ansible_collections.vcsp.testbed.plugins.module_utils._migration import run_state, session, undo


class LibvirtError(Exception):
    """libvirt.libvirtError: an error with a code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self._code = code

    def get_error_code(self) -> int:
        return self._code


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    fake = SimpleNamespace(
        libvirtError=LibvirtError,
        VIR_DOMAIN_AFFECT_LIVE=1,
        VIR_DOMAIN_METADATA_ELEMENT=2,
        VIR_DOMAIN_SAVE_BYPASS_CACHE=1,
        VIR_DOMAIN_SAVE_RUNNING=2,
        VIR_ERR_NO_DOMAIN=42,
        VIR_ERR_OPERATION_INVALID=55,
        VIR_ERR_NO_DOMAIN_METADATA=80,
        VIR_ERR_INTERNAL_ERROR=1,
    )
    for module in (domain, quota, saved_guest):
        monkeypatch.setattr(module, "libvirt", fake, raising=False)
    return fake


@pytest.fixture
def no_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction without libvirt, which does not wait."""
    libvirt = SimpleNamespace(libvirtError=OSError, VIR_DOMAIN_RUNNING=1, VIR_DOMAIN_PAUSED=3, VIR_DOMAIN_PAUSED_USER=1)
    for module in (run_state, session):
        monkeypatch.setattr(module, "libvirt", libvirt, raising=False)
    monkeypatch.setattr(domain, "destroy", lambda guest: guest.destroy())
    monkeypatch.setattr(domain, "read_note", lambda *_: None)
    monkeypatch.setattr(session, "UNDO_S", 0.2)
    monkeypatch.setattr(undo, "UNDO_S", 0.2)
    monkeypatch.setattr(session, "RETRY_S", 0.05)
