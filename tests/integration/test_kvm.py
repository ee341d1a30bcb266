# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real migrations of a bare guest under KVM, wherever the lab's KVM runs it: without hardware behind it, too."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import ADDRESS, guests, module, on, records, start_playbook, wait_until, write_scenario
from .test_experiment import BOOKS, METHODS

Experiment = tuple[dict[str, dict[str, Any]], set[str]]
IMAGE = "/var/lib/libvirt/images/vcsp"
WINDOW_PAGES = 32 * 256

# Until it has passed in a row on machines of several speeds, it does not decide about every change.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def kvm(lab: Path) -> None:
    """Skips where KVM does not run the bare guest."""
    for host in ADDRESS:
        info = module(host, "testbed_info", rom=f"{IMAGE}/bare.rom", kernel=f"{IMAGE}/vmlinuz")["info"]
        found = info["kvm"]["bare"]
        if not found["usable"]:
            pytest.skip(f"KVM does not run the bare guest on the {host}: {found['reason']}")


@pytest.fixture(scope="module")
def experiment(kvm: None, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Method -> record of an experiment, and what QEMU said of KVM on each host meanwhile."""
    directory = tmp_path_factory.mktemp("kvm")
    scenario = write_scenario(
        directory,
        guest={"system": "bare", "accelerator": "kvm", "memory_mb": 64},
        # Work instead of a rate: emulated by KVM on a busy machine, the guest holds none.
        workloads=[{"window_mb": 32, "work_per_page": 1}],
        methods=METHODS,
        observation_s=8,
    )
    results = directory / "results"
    log = directory / "output"
    running = start_playbook(log, *BOOKS, "-e", f"scenario={scenario}", "-e", f"results_dir={results}")
    try:
        said = {host: _said_of_kvm(host, running, log) for host in ADDRESS}
        assert running.wait(timeout=300) == 0, log.read_text()
    finally:
        running.terminate()
        running.wait(timeout=60)
    return records(results), set(said.values())


def _said_of_kvm(host: str, running: subprocess.Popen[str], log: Path) -> str:
    def said() -> str:
        assert running.poll() is None, log.read_text()
        text = on(host, "virsh qemu-monitor-command vcsp-guest --hmp 'info kvm'", check=False).strip()
        return text if text.startswith("kvm support") else ""

    text: str = wait_until(said, 120, f"a guest on the {host}")
    return text


def test_kvm_runs_the_guest_on_both_hosts(experiment: Experiment) -> None:
    assert experiment[1] == {"kvm support: enabled"}


def test_every_method_migrates_it_and_loses_no_page(experiment: Experiment) -> None:
    found = experiment[0]
    assert sorted(found) == sorted(METHODS)
    for name, record in found.items():
        assert record["validity"]["reasons"] == [], (name, record["validity"]["reasons"])
        assert record["memory_verified"] is True
        assert record["measurements"]["downtime_ms"] > 0, name
        assert record["measurements"]["page_requests"] > 0, name
    assert guests("source") == guests("destination") == []


def test_prefetching_needs_a_fraction_of_the_requests(experiment: Experiment) -> None:
    requests = {name: record["measurements"]["page_requests"] for name, record in experiment[0].items()}
    for one, ten in (("post-copy", "post-copy-prefetching"), ("vcsp", "vcsp-prefetching")):
        # Some of the window comes with the push, even while it is held.
        assert requests[one] >= 0.7 * WINDOW_PAGES
        assert requests[ten] < 0.3 * requests[one]


def test_the_quota_holds_kvms_threads(experiment: Experiment) -> None:
    throttled = {name: record["measurements"]["throttled_ms"] for name, record in experiment[0].items()}
    assert throttled["vcsp"] > 0 and throttled["vcsp-prefetching"] > 0
    assert throttled["post-copy"] is None
