# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work of vl-convert that takes seconds. It holds Python's global lock, so it runs in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import altair as alt

from ...plugins.plugin_utils._records.errors import InputError
from ...plugins.plugin_utils._records.printable import printable

# What vl-convert calls the version of Altair's charts: "6.4".
VEGA_LITE_VERSION = alt.SCHEMA_VERSION.removeprefix("v").rsplit(".", 1)[0]
PIXELS_PER_UNIT = 2.0

_BUNDLE = """
import sys, vl_convert
bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=sys.argv[1])
sys.stdout.buffer.write(bundle.encode("utf-8"))
"""
_PNG = """
import pathlib, sys, vl_convert
for path in map(pathlib.Path, sys.argv[2:]):
    target, part = path.with_suffix(".png"), path.with_suffix(".png.part")
    try:
        part.write_bytes(vl_convert.svg_to_png(path.read_text(encoding="utf-8"), scale=float(sys.argv[1])))
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        sys.exit(f"{target}: {error.strerror}")
"""


@cache
def bundle() -> Future[str]:
    """Start bundling Vega, Vega-Lite and Vega-Embed, as the installed vl-convert carries them, into one script."""
    return ThreadPoolExecutor(1).submit(lambda: _python(_BUNDLE, VEGA_LITE_VERSION).decode("utf-8"))


def pngs(svgs: Sequence[Path]) -> Future[bytes]:
    """Start writing a PNG file beside each of the SVG files."""
    return ThreadPoolExecutor(1).submit(_python, _PNG, str(PIXELS_PER_UNIT), *map(str, svgs))


def _python(program: str, *arguments: str) -> bytes:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise InputError(f"vl-convert failed: {printable(said) or f'status {done.returncode}'}")
    return done.stdout
