# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What follows from the records: Table 3, intervals, decomposition, effects, agreement, noise. Nothing here draws."""
