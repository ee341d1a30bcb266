# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the guest image is built, with stand-ins for the tools."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FILES = Path(__file__).resolve().parents[3] / "roles/guest_image/files"


def test_the_image_is_built_beside_its_target_and_not_in_tmp(tmp_path: Path) -> None:
    """The machine's /tmp may be too small, or mounted with noexec."""
    tools = {
        "apt-config": "echo login= logins=",
        "apt-get": "",
        "cc": "",
        "mmdebstrap": f'echo "$TMPDIR" >{tmp_path}/where; exit 1',
        "sqfstar": "exit 1",
        "tar2sqfs": "exit 1",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(
        ["sh", "build.sh", "bookworm", tmp_path / "image"],
        cwd=FILES,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (tmp_path / "where").read_text().startswith(f"{tmp_path}/image.")
