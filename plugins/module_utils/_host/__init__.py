# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as libvirt and its kernel show it: QMP, domains, addresses, memory, capabilities.

Private to vcsp.testbed: it may change in any release. Do not import it from elsewhere.
"""
