# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The data behind the statistics: the tidy table of trials, what they recorded over time, and imported raw data."""
