# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the destination host adds to a migration: prefetching, vCPU quota, bound on wake-up latency.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""
