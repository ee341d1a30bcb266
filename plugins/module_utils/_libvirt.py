# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirt's Python bindings, both None on a host that lacks them; modules that need them say so.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""

from __future__ import annotations

__all__ = ["LIBVIRT_IMPORT_ERROR", "libvirt", "libvirt_qemu"]

try:
    import libvirt
    import libvirt_qemu

    LIBVIRT_IMPORT_ERROR: ImportError | None = None
except ImportError as _error:
    libvirt = libvirt_qemu = None
    LIBVIRT_IMPORT_ERROR = _error
