# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An experiment on the controller: its directory, its locks, its records. Private: it may change in any release."""
