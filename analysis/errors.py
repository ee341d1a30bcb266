# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that a user of the analysis can act on."""

from __future__ import annotations


class AnalysisError(Exception):
    """The input cannot be used; the message says what is wrong with it and what to do."""


class NoTableError(AnalysisError):
    """The records are readable, but no comparison against the baseline can be made from them."""
