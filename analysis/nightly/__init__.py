# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Regression runs every night: what a night measured, what it means beside the nights before, and how they went on."""

from typing import Literal

Outcome = Literal["ok", "learning", "insensitive", "regression", "failed"]
# Accepted nights that a night is held against, unless --baseline-nights says otherwise.
BASELINE_NIGHTS = 7
