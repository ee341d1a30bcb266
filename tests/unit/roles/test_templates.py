# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The roles' templates with hostile values: every value comes out as itself and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.analysis import command_line

ROLES = Path(__file__).resolve().parents[3] / "roles"
NICE = {
    "guest_system": "debian",
    "guest_memory_mb": 512,
    "guest_vcpus": 1,
    "guest_machine": "pc",
    "guest_accelerator": "tcg",
    "guest_cpu_xml": "<cpu mode='host-passthrough'/>",
}
# Everything XML can hold except line ends, which its attributes turn into blanks.
xml_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def template(role: str, name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLES / role / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    filters = FilterModule().filters()
    environment.filters |= {**filters, **{f"ansible.builtin.{key}": function for key, function in filters.items()}}
    return environment.get_template(name)


DOMAIN = template("guest", "domain.xml.j2")


def shape(element: ElementTree.Element) -> list[object]:
    return [element.tag, sorted(element.attrib), [shape(child) for child in element]]


@pytest.mark.parametrize("accelerator", ["kvm", "tcg", "'/><evil/>"])
@given(xml_text, xml_text, xml_text)
@example("</name><evil/>", "' type='x", "&lt;")
@example("x'; touch pwned; '", "../../etc", "]]>")
def test_no_value_escapes_its_element(accelerator: str, name: str, path: str, thp: str) -> None:
    nice = {**NICE, "guest_accelerator": accelerator}
    wanted = shape(
        ElementTree.fromstring(DOMAIN.render(nice, guest_name="a", guest_image_path="/b", guest_thp="never"))
    )
    root = ElementTree.fromstring(DOMAIN.render(nice, guest_name=name, guest_image_path=path, guest_thp=thp))
    assert shape(root) == wanted
    assert root.findtext("name") == name
    assert root.findtext("os/kernel") == f"{path}/vmlinuz"
    assert (root.findtext("os/cmdline") or "").endswith(f"transparent_hugepage={thp}")
    (disk,) = root.iterfind("devices/disk/source")
    assert disk.get("file") == f"{path}/root.squashfs"


@given(xml_text, xml_text)
def test_a_bare_guest_has_its_rom_and_no_disk(name: str, path: str) -> None:
    bare = {**NICE, "guest_system": "bare", "guest_accelerator": "kvm"}
    root = ElementTree.fromstring(DOMAIN.render(bare, guest_name=name, guest_image_path=path, guest_thp="never"))
    assert root.findtext("name") == name
    assert root.findtext("os/loader") == f"{path}/bare.rom"
    assert root.find("os/kernel") is root.find("devices/disk") is None
    assert root.get("type") == "kvm"
    (cpu,) = root.iterfind("cpu")
    assert cpu.get("mode") == "host-passthrough"


@pytest.mark.parametrize("value", ["1</memory><evil/>", "lots", "$(id)"])
def test_sizes_are_always_numbers(value: str) -> None:
    nice = {**NICE, "guest_memory_mb": value, "guest_vcpus": value}
    root = ElementTree.fromstring(DOMAIN.render(nice, guest_name="a", guest_image_path="/b", guest_thp="never"))
    assert (root.findtext("memory") or "").isdecimal()
    assert (root.findtext("vcpu") or "").isdecimal()


@pytest.mark.parametrize("name", ["boot.sh.j2", "services.sh.j2"])
@pytest.mark.parametrize("folder", ["/var/lib/lab", "/x'; echo pwned; '", "/x\necho pwned", "/$(echo pwned)", "/a b"])
def test_a_folder_is_one_word_in_the_labs_scripts(name: str, folder: str) -> None:
    script = template("local_lab", name).render(local_lab_state_dir=folder, ansible_managed="managed")
    before, found, _after = script.partition("common=")
    assert found
    assignment = script[len(before) :].split("\nstate=")[0].split("\nkeep_running()")[0]
    done = subprocess.run(
        ["sh", "-c", f'{assignment}\nprintf %s "$common"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == folder
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("folder", ["/var/lib/lab", "/x'; echo pwned; '", "/x\necho pwned", "/$(echo pwned)", "/a b"])
def test_a_host_with_a_system_of_its_own_is_told_apart(folder: str) -> None:
    hosts = [{"name": "old", "os": "debian-12"}, {"name": "same"}, {"name": "new", "os": "debian-13"}]
    script = template("local_lab", "system.sh.j2").render(
        ansible_managed="managed",
        local_lab_name="vcsp",
        local_lab_state_dir=folder,
        local_lab_run_dir=folder,
        local_lab_controller_address="192.0.2.1",
        local_lab_hosts=[{**host, "management_address": f"192.0.2.1{n}"} for n, host in enumerate(hosts)],
        __local_lab_images={"debian-12": f"{folder}/12.tar", "debian-13": f"{folder}/13.tar"},
    )
    settings = script.partition("set -eu\n")[2].partition("exec 9<")[0]
    shown = 'printf "%s|" "$run" "$root" "$image" "$address" "$port"'
    for host, image, address, port in (("old", "12", "192.0.2.10", 3129), ("new", "13", "192.0.2.12", 3130)):
        done = subprocess.run(["sh", "-euc", settings + shown, "sh", host], capture_output=True, text=True, check=True)
        assert done.stdout.split("|")[:-1] == [
            *(f"{folder}/{host}", f"{folder}/{host}", f"{folder}/{image}.tar", address, str(port))
        ]
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


NIGHTLY = yaml.safe_load((ROLES / "nightly" / "defaults" / "main.yml").read_text())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nightly_inventory": "inventory/mylab", "nightly_on_failure": "tell@%n.service"},
        {"nightly_schedule": "Mon..Fri 02:30", "nightly_scenario": "scenarios/nightly-bare.yml"},
    ],
    ids=["defaults", "inventory", "schedule"],
)
def test_systemd_accepts_the_units_of_the_nights(tmp_path: Path, changes: dict[str, str]) -> None:
    checkout = tmp_path / "checkout"
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    values = {**NIGHTLY, "nightly_checkout": str(checkout), **changes}
    units = [tmp_path / name for name in ("vcsp-nightly.service", "vcsp-nightly.timer")]
    for unit in units:
        unit.write_text(template("nightly", f"{unit.name}.j2").render(values))
    (tmp_path / "tell@.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, units)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "vcsp-nightly" in line or "tell@" in line]
    assert (done.returncode, ours) == (0, [])
    [command] = re.findall(r"^ExecStart=(.*)$", units[0].read_text().replace("\\\n", " "), re.MULTILINE)
    found = command_line._parser().parse_args(shlex.split(command)[3:])
    assert (found.scenario, found.timeout, found.keep) == (values["nightly_scenario"], 21600, 30)
    assert str(found.inventory or "") == values["nightly_inventory"]
