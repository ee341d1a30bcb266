# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an experiment and its records are, on disk and when read: shared by the plugins and the analysis.

Private to the collection: it may change in any release. Needs jsonschema and jsonschema-rs.
"""
