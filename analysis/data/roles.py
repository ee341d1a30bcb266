# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which methods of an experiment are the paper's four: settings decide, since anybody may give a method any name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ...plugins.module_utils._method import Method

BASELINE = "post-copy"
PAPER = {
    BASELINE: Method(),
    "post-copy-prefetching": Method(prefetch_pages=10),
    "vcsp": Method(vcpu_quota_percent=50),
    "vcsp-prefetching": Method(vcpu_quota_percent=50, prefetch_pages=10),
}
_KNOWN = {entry.name for entry in fields(Method)} | {"name"}


def roles(methods: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the paper's name of a method -> its name among ``methods``, as a scenario states them.

    Of several with the same settings it is the one that bears the paper's name, or else none.
    """
    found = {}
    for role in PAPER:
        names = [method["name"] for method in methods if role in _roles_of(method)]
        if role in names or len(names) == 1:
            found[role] = role if role in names else names[0]
    # Whatever neither throttles nor prefetches is something to compare with, but not what the paper compared with.
    plain = [method for method in methods if method["name"] == BASELINE and _is_plain(method)]
    return found if BASELINE in found or not plain else {"": BASELINE}


def baseline_of(found: Mapping[str, str]) -> str | None:
    """Return the name of the method that others are compared with, by what `roles` returned."""
    return found.get(BASELINE, found.get(""))


def _roles_of(settings: Mapping[str, Any]) -> list[str]:
    # The period of the quota is not part of the paper, and imported data do not state it.
    method = replace(Method.of(settings), vcpu_period_us=Method().vcpu_period_us)
    method = method if method.throttles else replace(method, vcpu_quota_until=Method().vcpu_quota_until)
    unknown = {name for name, value in settings.items() if name not in _KNOWN and value is not None}
    return [role for role, paper in PAPER.items() if method == paper and (not unknown or settings["name"] == role)]


def _is_plain(settings: Mapping[str, Any]) -> bool:
    method = Method.of(settings)
    return not method.throttles and not method.prefetches
