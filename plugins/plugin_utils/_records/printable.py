# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Text from files and file names, made safe to print."""

from __future__ import annotations


def printable(text: str, limit: int = 300) -> str:
    r"""Return ``text`` on one line of at most ``limit`` characters.

    Control characters and half surrogate pairs become escapes (``\x1b``), so that a record can neither drive a terminal
    nor make a report unwritable.
    """
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
