# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the records of an experiment to Table 3, figures and a report.

The way of the data: ``plugins/plugin_utils/_records`` reads an experiment and checks it. ``data`` makes a table of it
and reads what its trials recorded over time. ``statistics`` says what follows, and ``summary`` gathers that.
``figures`` draws it, ``presentation`` puts it into words, and ``report`` writes both. ``comparison`` compares two
experiments.

Only ``command_line``, which ``python -m analysis`` runs, knows of options and exit statuses.
"""
