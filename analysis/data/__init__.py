# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is on the disk: records, telemetry and request traces, checked as they are read, and the tidy table of them."""
