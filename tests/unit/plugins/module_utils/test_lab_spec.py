# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Labs refused before anything is touched, since a lab's names become files and its folders are removed."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._lab.spec import (
    MACHINE,
    SYSTEMS,
    Host,
    Spec,
    SpecError,
    argument_spec,
    of_arguments,
    problems,
)

ROOT = Path(__file__).resolve().parents[4]
SPEC = Spec(
    name="vcsp",
    state_dir=Path("/nowhere/vcsp-lab"),
    run_dir=Path("/nowhere/run"),
    hosts=(Host("source", "198.18.0.11", "198.18.1.11"), Host("destination", "198.18.0.12", "198.18.1.12")),
    controller_address="198.18.0.1",
    prefix_length=24,
    rate_mbit=1000,
    delay_us=100,
    queue="fair",
    congestion_control="cubic",
    cpu_percent=100,
    owner="/nowhere",
)


def renamed(name: str) -> Spec:
    return replace(SPEC, hosts=(replace(SPEC.hosts[0], name=name), SPEC.hosts[1]))


def test_a_module_is_given_a_specification() -> None:
    given = {**asdict(SPEC), "state_dir": str(SPEC.state_dir), "run_dir": str(SPEC.run_dir), "state": "present"}
    given["hosts"] = list(given["hosts"])
    assert of_arguments(given) == SPEC
    assert argument_spec().keys() == asdict(SPEC).keys()
    with pytest.raises(SpecError, match="exactly two hosts"):
        of_arguments({**given, "hosts": given["hosts"][:1]})
    with pytest.raises(SpecError, match=r"name: '/' .*; rate_mbit: 0 "):
        of_arguments({**given, "name": "/", "rate_mbit": 0})


def test_the_role_makes_the_systems_that_a_host_can_boot() -> None:
    role = ROOT / "roles" / "local_lab"
    made = yaml.safe_load((role / "vars" / "main.yml").read_text())["_local_lab_systems"]
    assert tuple(made) == SYSTEMS
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    system = specs["main"]["options"]["local_lab_hosts"]["options"]["os"]
    module = argument_spec()["hosts"]["options"]["os"]
    for options in (system, module):
        assert (options["choices"], options["default"]) == ([MACHINE, *SYSTEMS], MACHINE)
    assert not SPEC.hosts[0].boots_system
    assert all(replace(SPEC.hosts[0], os=name).boots_system for name in SYSTEMS)


def test_the_roles_defaults_are_accepted() -> None:
    given = yaml.safe_load((ROOT / "roles" / "local_lab" / "defaults" / "main.yml").read_text())
    values: dict[str, Any] = {key.removeprefix("local_lab_"): value for key, value in given.items()}
    values["hosts"] = tuple(Host(**host) for host in values["hosts"])
    # Where a lab is running, the default folders exist.
    for key in ("state_dir", "run_dir"):
        values[key] = Path("/nowhere" + values[key])
    assert problems(Spec(**values)) == []
    assert problems(SPEC) == []


HOSTILE = ["", ".", "..", "/", "../x", "a/b", "a b", "a'b", "$(id)", "-x", "x-", "a\nb", "x\n", "ä", "A", "{{ x }}"]


@pytest.mark.parametrize("name", [*HOSTILE, "n" * 12])
def test_a_lab_name_that_no_device_can_have_is_refused(name: str) -> None:
    (problem,) = problems(replace(SPEC, name=name))
    assert problem.startswith(f"name: {name!r} ")


@pytest.mark.parametrize("name", [*HOSTILE, "n" * 16, "ssh", "switch", "controller", "bridge", "lo", "destination"])
def test_a_name_that_no_host_can_have_is_refused(name: str) -> None:
    (problem,) = problems(renamed(name))
    assert problem.startswith("hosts: ")
    assert repr(name)[1:-1] in problem


@given(st.one_of(st.text(), st.text("ab0-._/ '\n", max_size=16)))
@example("0-0")
def test_an_accepted_name_is_a_plain_word(name: str) -> None:
    plain = name.isascii() and name.replace("-", "").isalnum() and name == name.lower() and len(name) <= 15
    assert problems(renamed(name)) or plain


@pytest.mark.parametrize("address", ["", "source", "198.18.0", "198.18.0.11/24", "0xc6120001", "::1", "198.18.0.1\n"])
def test_an_invalid_address_is_refused(address: str) -> None:
    (problem,) = problems(replace(SPEC, controller_address=address))
    assert problem.startswith(f"controller_address: {address!r} ")


def test_addresses_that_do_not_form_two_networks_are_refused() -> None:
    assert "not all in one /24" in problems(replace(SPEC, controller_address="192.0.2.1"))[0]
    assert "are the same" in problems(replace(SPEC, controller_address="198.18.0.11"))[0]
    assert "in one network" in problems(replace(SPEC, prefix_length=16))[0]
    assert "prefix_length" in problems(replace(SPEC, prefix_length=0))[0]
    assert "rate_mbit" in problems(replace(SPEC, rate_mbit=0))[0]
    for percent in (-1, 0, 101):
        assert "cpu_percent" in problems(replace(SPEC, cpu_percent=percent))[0]


@pytest.mark.parametrize("key", ["state_dir", "run_dir"])
@pytest.mark.parametrize(
    "folder", ["/", "/var", "var/lib/lab", "/var/../etc/lab", "/x/a b", "/x/a'b", "/x/$(id)", "/x/a\nb", "/x/.ssh"]
)
def test_a_folder_unfit_for_a_lab_is_refused(key: str, folder: str) -> None:
    (problem,) = problems(replace(SPEC, **{key: Path(folder)}))
    assert problem.startswith(f"{key}: ")


def test_somebody_elses_folder_is_refused_because_teardown_would_remove_it(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    spec = replace(SPEC, state_dir=folder)
    folder.mkdir()
    assert problems(spec) == []
    (folder / "ssh").mkdir()  # created first, so an interruption may leave only this
    assert problems(spec) == []
    (folder / "precious").touch()
    assert "not the lab's" in problems(spec)[0]
    (folder / "boot.sh").touch()
    assert problems(spec) == []
    assert "not a folder" in problems(replace(SPEC, run_dir=folder / "boot.sh"))[0]


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems(replace(renamed("a b"), name="/", controller_address="x", run_dir=Path("/")))) == 4
