# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks of the migration engine on the embedded lab. They need a checkout: nothing of this is shipped."""

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

# Makes ansible_collections.vcsp.testbed importable, as Ansible does it: through the links under collections/.
_AnsibleCollectionFinder(paths=[str(Path(__file__).resolve().parents[1] / "collections")])._install()
