# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Strict JSON: refuses what Python's reader accepts but a record must not contain."""

from __future__ import annotations

import json
import math
from typing import Any


def parse(content: bytes) -> Any:
    """Return the JSON document in ``content``.

    :raises ValueError: not UTF-8, not JSON, a key given twice, a number that is not finite, text that is not Unicode,
        or nested too deeply; the message says which
    """
    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_finite_int,
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
    """Report, with its place, every number that is not finite and every text with half a surrogate pair."""
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
        elif isinstance(value, (int, float)) and not _is_finite(value):
            found.append(f"{place}: a number must be finite")
        elif isinstance(value, str) and not _is_unicode(value):
            found.append(f"{place}: the text is not valid Unicode")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"a number must be finite, not {text[:20]}")
    return number


def _finite_int(text: str) -> int:
    number = int(text)
    # It takes this many digits to exceed the range of a float.
    if len(text) > 300 and not _is_finite(number):
        raise ValueError(f"a number must be finite, not {text[:20]}...")
    return number


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return document


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
