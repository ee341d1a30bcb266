# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one table of method settings, from which everything else that knows a setting is derived.

That is the module's option ``method`` and its documentation, the schemas of scenarios and records, and the tables of
docs/methods.md. A new setting takes a field of `Method` and the code that uses it.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from ._destination.policies import POLICIES, Policy, policy
from ._destination.quota import PERIOD_MAX_US, PERIOD_MIN_US, QUOTA_MIN_US

# A request covers 1 TiB at most, the largest guest that a scenario may have.
PAGES_MAX = 1 << 28


def _setting(default: Any, *text: str, unit: str = "", allowed: tuple[Any, ...] = ()) -> Any:
    """A field of `Method`.

    :param text: sentences; the first says what the setting is. Names and values are in backticks.
    :param allowed: the values of a text; the least and the largest number.
    """
    return field(default=default, metadata={"text": text, "unit": unit, "allowed": allowed})


@dataclass(frozen=True)
class Method:
    """The settings of a migration method. The defaults are the paper's plain post-copy."""

    vcpu_quota_percent: int = _setting(
        100,
        "Share of a processor that each vCPU gets on the destination, from its resume until all memory is there.",
        "`100` sets no quota.",
        unit="%",
        allowed=(1, 100),
    )
    vcpu_period_us: int = _setting(
        10000,
        "Period of that quota.",
        "The shorter it is, the more evenly the guest is slowed; a paused guest waits for the rest of a period.",
        f"Quota times period must be {QUOTA_MIN_US} µs or more, the least that Linux grants.",
        unit="µs",
        allowed=(PERIOD_MIN_US, PERIOD_MAX_US),
    )
    vcpu_quota_until: str = _setting(
        "completed",
        "What lifts the quota.",
        "`completed` is the last page, as in the paper.",
        "`working-set` is as soon as the guest has walked its working window once, or requests no more pages.",
        allowed=("working-set", "completed"),
    )
    prefetch_pages: int = _setting(
        1,
        "Pages per page request, the missing one included.",
        "`1` is plain demand paging; more needs eBPF on the destination.",
        "A page is the guest memory's own: 4 KiB, or 2 MiB on huge pages of hugetlbfs.",
        unit="pages",
        allowed=(1, PAGES_MAX),
    )
    prefetch_policy: str = _setting(
        "fixed",
        "Which pages a request covers besides the missing one. Never any beyond its RAMBlock.",
        "`fixed`, the paper's, takes the next ones.",
        "`around` takes those before and after it.",
        "`readahead` takes the next ones, twice as many with each request that continues a sequential stream, up to "
        "`prefetch_max_pages`; after a jump it starts again with `prefetch_pages`.",
        allowed=tuple(POLICIES),
    )
    prefetch_max_pages: int | None = _setting(
        None,
        "The most pages that `readahead` requests at once; 128 if not given.",
        unit="pages",
        allowed=(1, PAGES_MAX),
    )
    transfer: str = _setting(
        "demand",
        "What is sent besides the requested pages.",
        "`demand` is the paper's demand paging: nothing, until the guest has walked its working window once or "
        "requests no more pages; then the rest, so that the migration ends. Needs QEMU 8.0.",
        "`push` is QEMU's ordinary behaviour: everything, from the start.",
        allowed=("demand", "push"),
    )
    postcopy_preempt: bool | None = _setting(
        None,
        "Whether requested pages get a connection of their own. Needs QEMU 8.0.",
        "If not given, on for `demand`, which needs it, and off for `push`, as in QEMU.",
    )
    max_postcopy_bandwidth_mb_per_s: float = _setting(
        0,
        "Limit of the background push; with `demand`, of what is left after the walk.",
        "`0` sets no limit.",
        unit="MB/s",
        allowed=(0, 1_000_000),
    )
    tls: bool = _setting(
        False,
        "Whether the migration is encrypted, and each host's certificate verified by the other, with QEMU's TLS.",
        "Needs certificates on both hosts. Goes without prefetching, because TLS hides page requests from eBPF.",
    )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Method:
        """The method that a scenario, a record or the module's option describes; omitted settings get their defaults.

        ``null`` counts as omitted; the schemas check where that is not allowed.
        """
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in known and value is not None})

    @property
    def throttles(self) -> bool:
        """Whether a quota is set."""
        return self.vcpu_quota_percent < 100

    @property
    def policy(self) -> Policy:
        """How page requests are lengthened.

        :raises ValueError: the prefetch settings contradict each other.
        """
        return policy(self.prefetch_policy, self.prefetch_pages, self.prefetch_max_pages)

    @property
    def prefetches(self) -> bool:
        """Whether requests may get longer than QEMU made them, which needs eBPF."""
        return self.policy.extends

    @property
    def holds_push(self) -> bool:
        """Whether the background push is held down at first, which needs QEMU's postcopy-preempt."""
        return self.transfer == "demand"

    @property
    def preempt(self) -> bool:
        """Whether requested pages get a connection of their own."""
        return self.holds_push if self.postcopy_preempt is None else self.postcopy_preempt

    def problems(self) -> Iterator[str]:
        """Problems with the settings, each as ``<setting>: is <value>; <what to do>``."""
        outside = [found for entry in fields(self) if (found := _outside(entry, getattr(self, entry.name)))]
        yield from outside
        if outside:
            return
        try:
            self.policy  # noqa: B018 - raises if it cannot be made
        except ValueError as error:
            yield str(error)
        else:
            if self.tls and self.prefetches:
                yield (
                    "tls: is true, but TLS hides page requests from the eBPF program that lengthens them; use "
                    "prefetch_pages: 1 with prefetch_policy: fixed, or leave tls out"
                )
        if self.holds_push and not self.preempt:
            yield (
                "postcopy_preempt: is false, but transfer: demand cannot do without it (requested pages would be held "
                "down with the push); use transfer: push, or leave it out"
            )
        if self.throttles and self.vcpu_quota_percent * self.vcpu_period_us < 100 * QUOTA_MIN_US:
            yield (
                f"vcpu_quota_percent: {self.vcpu_quota_percent} % of a period of {self.vcpu_period_us} us is less than "
                f"the {QUOTA_MIN_US} us that Linux can grant; use vcpu_period_us of at least "
                f"{math.ceil(100 * QUOTA_MIN_US / self.vcpu_quota_percent)}"
            )


_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}


def argument_spec() -> dict[str, dict[str, Any]]:
    """The settings as suboptions of an Ansible module."""
    found: dict[str, dict[str, Any]] = {entry.name: {"type": kind(entry)} for entry in fields(Method)}
    for entry in fields(Method):
        if kind(entry) == "str":
            found[entry.name]["choices"] = list(entry.metadata["allowed"])
        if entry.default is not None:
            found[entry.name]["default"] = entry.default
    return found


def documentation() -> dict[str, dict[str, Any]]:
    """The suboptions with their descriptions, as ansible-doc wants them."""
    spec = argument_spec()
    return {entry.name: {"description": _ansible_text(entry), **spec[entry.name]} for entry in fields(Method)}


def json_schema() -> dict[str, dict[str, Any]]:
    """The settings as properties of a JSON schema."""
    found: dict[str, dict[str, Any]] = {}
    for entry in fields(Method):
        json_type, allowed = _TYPES[kind(entry)], entry.metadata["allowed"]
        schema = {"type": [json_type, "null"] if entry.default is None else json_type, "default": entry.default}
        bounds = dict(zip(("minimum", "maximum"), allowed, strict=False))
        limits = {"enum": list(allowed)} if kind(entry) == "str" else bounds
        found[entry.name] = {**schema, **limits}
    return found


def kind(entry: Field[Any]) -> str:
    """The type of a setting, as Python and Ansible call it."""
    return str(entry.type).removesuffix(" | None")


def _outside(entry: Field[Any], value: Any) -> str | None:
    allowed = entry.metadata["allowed"]
    if not allowed or (value is None and entry.default is None):
        return None
    if kind(entry) == "str":
        return None if value in allowed else f"{entry.name}: is {value}; use one of {', '.join(allowed)}"
    least, most = allowed
    # Also refuses NaN, which fails every comparison.
    return None if least <= value <= most else f"{entry.name}: is {value}; must be from {least} to {most}"


def _ansible_text(entry: Field[Any]) -> list[str]:
    names = {other.name for other in fields(Method)}

    def markup(match: re.Match[str]) -> str:
        return f"O(method.{match[1]})" if match[1] in names else f"V({match[1]})"

    sentences = [re.sub(r"`([^`]+)`", markup, sentence) for sentence in entry.metadata["text"]]
    return [*sentences, *([f"Unit: {entry.metadata['unit']}."] if entry.metadata["unit"] else [])]
