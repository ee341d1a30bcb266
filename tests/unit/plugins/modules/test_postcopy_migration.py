# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Arguments that the migration module refuses before it touches anything."""

from __future__ import annotations

import base64
import gzip
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.vcsp.testbed.plugins.doc_fragments.method import ModuleDocFragment
from ansible_collections.vcsp.testbed.plugins.modules import postcopy_migration
from ansible_collections.vcsp.testbed.plugins.modules.postcopy_migration import ARGUMENTS, deliver, misplaced, problems

REQUIRED = {"name": "web1", "source_uri": "qemu+ssh://root@node1/system", "migration_address": "192.0.2.12"}


def params(**changes: Any) -> dict[str, Any]:
    return {**defaults(ARGUMENTS), "method": method(), **REQUIRED, **changes}


def method(**changes: Any) -> dict[str, Any]:
    return {**defaults(ARGUMENTS["method"]["options"]), **changes}


def defaults(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: option.get("default") for name, option in spec.items()}


def test_the_defaults_are_accepted() -> None:
    assert problems(params()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_mb", 1),
        ("baseline_s", 0),
        ("cpu_latency_us", 0),
        ("observation_s", 0.1),
    ],
)
def test_values_at_the_limits_are_accepted(name: str, value: float) -> None:
    assert problems(params(**{name: value})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_mb", 0),
        ("observation_s", -1.0),
        ("observation_s", 0),
        ("observation_s", math.nan),
        ("timeout_s", -0.5),
        ("stall_timeout_s", 0),
        ("baseline_s", -0.1),
        ("baseline_s", math.nan),
        ("cpu_latency_us", -1),
    ],
)
def test_an_invalid_value_is_refused_with_its_option(name: str, value: float) -> None:
    (problem,) = problems(params(**{name: value}))
    assert problem.startswith(f"{name}: ")
    assert str(value) in problem


def test_all_problems_are_reported_at_once() -> None:
    assert (
        len(problems(params(method=method(vcpu_quota_percent=0, prefetch_pages=0), timeout_s=-1, baseline_s=-1))) == 4
    )
    assert len(problems(params(name="", source_uri="esx://x", destination_uri="x", migration_address="::"))) == 4
    assert len(problems(params(migration_address="node2", method=method(prefetch_pages=2, prefetch_max_pages=9)))) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../etc/passwd"),
        ("name", ""),
        ("source_uri", "test:///default"),
        ("source_uri", "qemu+ssh://root@node1/system?command=/tmp/evil"),
        ("source_uri", "qemu:///system"),
        ("destination_uri", "qemu+ext:///system?command=/tmp/evil"),
        ("migration_address", "0.0.0.0"),
        ("migration_address", "::"),
        ("migration_address", "node2"),
        ("migration_address", "192.0.2.12:0,ipv4=on"),
        ("migration_address", "[2001:db8::12]"),
        ("migration_ports", "49215-49152"),
        ("migration_ports", "22,to=65535"),
    ],
)
def test_an_invalid_guest_or_host_is_refused(name: str, value: str) -> None:
    (problem,) = problems(params(**{name: value}))
    assert problem.startswith(f"{name}: ")
    assert value in problem


@pytest.mark.parametrize("name", ["x'; touch pwned; '", "<web>&1", "a\nb", "Gäst ☃"])
def test_a_guest_may_have_any_name_that_libvirt_accepts(name: str) -> None:
    assert problems(params(name=name)) == []


def test_the_documentation_matches_the_arguments() -> None:
    options = yaml.safe_load(postcopy_migration.DOCUMENTATION)["options"]
    options |= yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert {name: undescribed(option) for name, option in options.items()} == ARGUMENTS


def undescribed(option: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in option.items() if key not in ("description", "suboptions")}
    if "suboptions" in option:
        found["options"] = {name: undescribed(suboption) for name, suboption in option["suboptions"].items()}
    return found


def test_a_bad_method_setting_is_refused_by_its_path() -> None:
    (problem,) = problems(params(method=method(vcpu_quota_percent=101)))
    assert problem == "method.vcpu_quota_percent: is 101; must be from 1 to 100"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "web1", "method": {"vcpu_quota_percent": 50}}, None),
        (
            {"name": "web1", "vcpu_quota_percent": 50, "prefetch_max_pages": None, "postcopy_preempt": True},
            "vcpu_quota_percent, prefetch_max_pages, postcopy_preempt: method settings; write "
            "method: {vcpu_quota_percent: 50, prefetch_max_pages: null, postcopy_preempt: true}",
        ),
    ],
)
def test_settings_outside_the_method_are_refused_with_advice(given: dict[str, Any], expected: str | None) -> None:
    assert misplaced(given) == expected


def test_files_go_into_the_folder_or_the_return_value(tmp_path: Path) -> None:
    warnings: list[str] = []
    files = {"requests.csv": gzip.compress(b"time_s\n")}
    assert deliver(files, None, warnings.append) == {
        "files": {"requests.csv": base64.b64encode(files["requests.csv"]).decode()},
        "stored_files": [],
    }
    stored = tmp_path / "requests.csv.gz"
    assert deliver(files, tmp_path, warnings.append) == {"files": {}, "stored_files": [str(stored)]}
    assert gzip.decompress(stored.read_bytes()) == b"time_s\n"
    assert warnings == []


def test_a_file_that_cannot_be_written_costs_no_measurement(tmp_path: Path) -> None:
    warnings: list[str] = []
    gone = tmp_path / "gone"
    assert deliver({"requests.csv": b""}, gone, warnings.append) == {"files": {}, "stored_files": []}
    assert str(gone / "requests.csv.gz") in warnings[0]
