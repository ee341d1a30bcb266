# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the records of an experiment to Table 3, figures and a report.

The way of the data, a package each: ``data`` (what is on the disk) -> ``statistics`` -> ``figures`` and
``presentation``; ``summary`` gathers what follows from an experiment, and ``report`` writes it. ``comparison`` sets two
experiments side by side.

Records are read and checked by ``plugins/plugin_utils/_records``, which the plugins use, too.
"""
