# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the disk: records, telemetry and request traces, checked as they are read, and the tidy table of them."""
