# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The error that a user can act on."""

from __future__ import annotations


class InputError(Exception):
    """The input cannot be used; the message says what is wrong with it and what to do."""
