# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures, drawn with Vega-Altair; ``style`` is what they share, ``every`` draws all those of a report."""
