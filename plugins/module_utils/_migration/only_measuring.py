# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""After the switch, nothing that is only measurement may stop the guest's way home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .session import Session


@contextmanager
def only_measuring(session: Session, what: str) -> Iterator[None]:
    """Before the switch, a failure goes up; after it, it only makes the measurement invalid.

    :param what: what that means for the measurement, for ``validity``.
    """
    try:
        yield
    except Exception as error:
        if session.now.reversible and not session.now.switching:
            raise
        session.readings.not_measured.append(f"{what}: {error}")
