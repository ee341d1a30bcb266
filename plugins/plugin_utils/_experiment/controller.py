# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machine and the checkout that an experiment is run from."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import yaml
from ansible.release import __version__ as ansible_version

COLLECTION_ROOT = Path(__file__).resolve().parents[3]


def playbook_pid() -> int:
    """Return the process id of ansible-playbook, of which an action plugin's process is a child."""
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent else None
    return os.getpid() if pid is None else pid


def provenance() -> dict[str, Any]:
    """Return the facts that a result depends on; ``commit`` and ``dirty`` are null outside a Git checkout."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain") if commit else None
    return {
        "hostname": platform.node(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ansible_core": ansible_version,
        "collection": _collection_version(),
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
    }


def _collection_version() -> str | None:
    # An installed collection has a MANIFEST.json, which is YAML, too.
    for name in ("galaxy.yml", "MANIFEST.json"):
        path = COLLECTION_ROOT / name
        if path.is_file():
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            return str(document.get("collection_info", document)["version"])
    return None


def _git(*arguments: str) -> str | None:
    if not (COLLECTION_ROOT / ".git").exists():
        return None  # an installed collection; a repository further up is not ours
    # A checkout may belong to the user who called sudo.
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={COLLECTION_ROOT}", *arguments]
    # Git's own variables, as in a hook, may name another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        run = subprocess.run(command, cwd=COLLECTION_ROOT, env=env, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None
