# SPDX-License-Identifier: GPL-3.0-or-later
"""One module a figure, drawn with Vega-Altair; ``style`` is what they share, ``every`` draws all of a report."""
