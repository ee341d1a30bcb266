# SPDX-License-Identifier: GPL-3.0-or-later
"""Table 3 and findings in words: for the terminal, as Markdown, and as the web report."""
