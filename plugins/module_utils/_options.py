# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of one call.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ._host.endpoints import port_range
from ._method import Method

PAGES_PER_MB = 256


@dataclass(frozen=True)
class Options:
    """Which guest to migrate from where to where, and how; names and units are those of the module's options."""

    name: str
    source_uri: str
    destination_uri: str
    migration_address: str
    method: Method
    prefetch_program: Path
    window_mb: int | None
    baseline_s: float
    observation_s: float | None
    verify: bool
    end_guest: bool
    files_dir: Path | None
    cpu_latency_us: int | None
    run_state: str
    timeout_s: float
    stall_timeout_s: float
    total_timeout_s: float | None = None
    work_words: int | None = None
    rate_mb_per_s: float | None = None
    force: bool = False
    migration_ports: str = "49152-49215"
    tls_dir: Path = Path("/etc/pki/qemu/vcsp")

    @property
    def ports(self) -> range:
        """The ports on which QEMU may listen."""
        return port_range(self.migration_ports)

    @property
    def window_pages(self) -> int | None:
        """The working window in pages of 4 KiB."""
        return None if self.window_mb is None else self.window_mb * PAGES_PER_MB
