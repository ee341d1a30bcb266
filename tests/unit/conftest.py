# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes ansible_collections.vcsp.testbed importable, as Ansible does it: through the links under collections/."""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]

_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()
