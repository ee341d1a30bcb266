# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether migration has become worse between two experiments."""
