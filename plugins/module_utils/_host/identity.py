# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which host a libvirt connection leads to."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree


def identity(connection: Any) -> dict[str, str | None]:
    """What no two hosts have in common: not even virtual ones of one machine, which may share its UUID."""
    uuid = ElementTree.fromstring(connection.getCapabilities()).findtext("host/uuid")
    return {"hostname": connection.getHostname(), "uuid": uuid}
