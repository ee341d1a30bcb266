# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Table 3, findings and comparisons in words: for the terminal, for programs, as Markdown, and as the web report."""
