# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The migration of one guest: where it stands, the next step, and the transaction that takes it.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""
