# SPDX-License-Identifier: GPL-3.0-or-later
"""From the records of an experiment to Table 3, figures and a report.

The way of the data, a module each: ``records`` (what is on the disk) -> ``table`` (one tidy row a trial) ->
``table3`` and ``figures`` -> ``report``. ``vcsp_raw`` brings the paper's own data into the same records.

Importing the package, ``records`` or ``errors`` needs jsonschema and jsonschema-rs only; pandas, Altair and Jinja2 are
needed from ``table`` on.
"""
