# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Strict JSON: refuses what Python's reader accepts but a record must not contain."""

from __future__ import annotations

import json
import re
from typing import Any

from .printable import printable

# The largest that a counter of 64 bits can reach; nothing that a host measures is beyond it.
MOST = 2.0**64
# An exponent, or 18 digits before the point: the largest number without either is below `MOST`.
_MAYBE_LARGE = re.compile(rb"(?:^|[\s:,\[])-?(?:\d[\d.]*[eE]\+?\d|\d{18})")


def parse(content: bytes) -> Any:
    """Return the JSON document in ``content``.

    :raises ValueError: not UTF-8, not JSON, a key given twice, a number beyond `MOST`, text that is not Unicode, or
        nested too deeply; the message says which
    """
    # Looking at each number takes as long as all else, so it is done only where one may be too large.
    may_be_large = _MAYBE_LARGE.search(content) is not None
    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_float if may_be_large else None,
            parse_int=_int if may_be_large else None,
            object_pairs_hook=_object_without_duplicates,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Half a surrogate pair can only come from an escape; checking every value takes longer than parsing all of them.
    odd = unusable_values(document) if b"\\u" in content else []
    if odd:
        raise ValueError(odd[0])
    return document


def unusable_values(document: Any) -> list[str]:
    """Report, with its place, every number that is none or beyond `MOST`, and every text with half a surrogate pair."""
    found = []
    # A stack, not recursion: the depth of the document is not ours to choose.
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                stack.append((f"{place}.{key}" if place else str(key), item))
                if not _is_unicode(str(key)):
                    found.append(f"{place}: a key is not valid Unicode")
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{place}[{index}]", item) for index, item in enumerate(value))
        elif isinstance(value, (int, float)) and not _is_usable(value):
            found.append(f"{place}: a number must be finite and fit into 64 bits")
        elif isinstance(value, str) and not _is_unicode(value):
            found.append(f"{place}: the text is not valid Unicode")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not -MOST <= number <= MOST:
        raise ValueError(f"{printable(text, 20)} is too large; a number must be finite and fit into 64 bits")
    return number


def _int(text: str) -> int:
    number = int(text) if len(text) <= 21 else None  # no number of 64 bits is longer
    if number is None or abs(number) > MOST:
        raise ValueError(f"{printable(text, 20)} is too large; a number must be finite and fit into 64 bits")
    return number


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return document


def _is_usable(value: float) -> bool:
    return -MOST <= value <= MOST  # NaN fails every comparison


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
