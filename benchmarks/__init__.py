# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Benchmarks of the migration engine on the embedded lab. They need a checkout: the collection does not ship them."""

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

# Make ansible_collections.vcsp.testbed importable as Ansible does, through the links under collections/.
_AnsibleCollectionFinder(paths=[str(Path(__file__).resolve().parents[1] / "collections")])._install()
