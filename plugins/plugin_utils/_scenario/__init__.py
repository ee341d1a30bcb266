# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Scenarios: checked at the gate, turned into trials, compared with what the hosts can do.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""
