# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is read during a migration, and the measurements, instruments and validity derived from it.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""
