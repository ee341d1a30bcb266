# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the records: Table 3, intervals, decomposition, effects, agreement, noise. Nothing here draws."""
