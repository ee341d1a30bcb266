# SPDX-License-Identifier: GPL-3.0-or-later
"""From the records of an experiment to Table 3, figures and a report.

The way of the data, a package each: ``data`` (what is on the disk) -> ``statistics`` -> ``figures`` and
``presentation``; ``summary`` gathers what follows from an experiment, and ``report`` writes it. ``comparison`` sets two
experiments side by side.

Importing ``data.records``, ``data.schema`` or ``errors`` needs jsonschema and jsonschema-rs only; pandas, Altair and
Jinja2 are needed from ``data.table`` on.
"""
