# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: T201 - printing is what a benchmark is for
"""How long the heatmap of a long request trace takes: ``python benchmarks/analysis_heatmap.py [REQUESTS]``.

Synthesises a trace (10 million requests by default) in a temporary directory, reads it, draws its heatmap, and prints
the time of each step and the peak resident memory. Exits with 1 if it takes longer than 5 s.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 5.0
MEMORY_MB = 16384
CHUNK = 500_000


def synthesise(path: Path, requests: int) -> None:
    """Write a trace of a walk through guest memory with a random half, as the testbed writes them."""
    random = np.random.default_rng(1)
    pages = MEMORY_MB * 256
    with path.open("w", encoding="ascii") as file:
        file.write("time_s,block,start,asked,sent_start,sent\n")
        for first in range(0, requests, CHUNK):
            number = np.arange(first, min(first + CHUNK, requests))
            page = np.where(number % 2, random.integers(0, pages, len(number)), number % pages)
            lines = zip((number * 1e-4).tolist(), (page * 4096).tolist(), strict=True)
            file.writelines(f"{time_s:.6f},pc.ram,{start},4096,{start},40960\n" for time_s, start in lines)


def measure(path: Path) -> int:
    """Draw the heatmap of ``path``, print what it took, and return the exit status."""
    from ansible_collections.vcsp.testbed.analysis.data.requests import read_places
    from ansible_collections.vcsp.testbed.analysis.figures.requests import heatmap_figure

    begin = time.perf_counter()
    places = read_places(path)
    read = time.perf_counter()
    svg = heatmap_figure({"post-copy": places}, ["post-copy"], MEMORY_MB, "synthetic").svg
    end = time.perf_counter()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(places.page)} requests, {path.stat().st_size / 2**20:.0f} MiB: read {read - begin:.2f} s,"
        f" counted and drawn {end - read:.2f} s, together {end - begin:.2f} s (limit {LIMIT_S} s),"
        f" peak {peak_mib:.0f} MiB, SVG {len(svg) / 1024:.0f} KiB"
    )
    return int(end - begin > LIMIT_S)


def main() -> int:
    """Synthesise here and measure in a separate process, so that the peak is that of the analysis alone."""
    if len(sys.argv) == 3 and sys.argv[1] == "--measure":
        sys.path.insert(0, str(ROOT))
        import_module("benchmarks")  # which makes ansible_collections.vcsp.testbed importable
        return measure(Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "requests.csv"
        synthesise(path, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
        return subprocess.run([sys.executable, __file__, "--measure", str(path)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
