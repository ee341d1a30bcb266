# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the tests of the analysis share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The factory beside this file.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def raw_directory() -> Path:
    """The raw data of the paper's authors; not part of the project, so tests of it are skipped where it is absent."""
    path = (ROOT / os.environ.get("VCSP_RAW", "../shared/vcsp-raw")).resolve()
    if not path.is_dir():
        pytest.skip(f"no raw data of the paper's authors in {path}; set VCSP_RAW")
    return path
