# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What SECURITY.md promises, on real hosts: who listens, who may read and write what, and that names are only names."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import ADDRESS, LAB_RUN, LAB_STATE, ROOT, Done, follow, guests, on, run_module

Migrate = Callable[..., Done]
MIGRATION_ADDRESS = {"source": "198.18.1.11", "destination": "198.18.1.12"}
SOURCE_URI = "qemu+ssh://root@source/system"
UUID = "5ec0e170-0000-4000-8000-0000000000f1"
# What a shell would make out of the names below, wherever it ran.
PWNED = "vcsp-pwned"
HOSTILE = [
    f"x'; touch {PWNED}; '",
    f'<b>&"$(touch {PWNED})`touch {PWNED}`',
    f"-c Gäst ☃\ttab; touch {PWNED} #",
    "%s%n,debug-threads=off",
    "n" * 200,
    f"a\ntouch {PWNED}\n",
]


def sockets(text: str) -> list[tuple[str, str]]:
    """Program and local address of every TCP socket in the output of ``ss -Hltnp``."""
    found = []
    for line in text.splitlines():
        program = re.search(r'users:\(\("([^"]+)"', line)
        found.append((program[1] if program else "?", line.split()[3]))
    return found


def listening(host: str) -> list[tuple[str, str]]:
    """Those that listen on a lab host."""
    return sockets(on(host, "ss -Hltnp"))


def qemu_sockets(text: str) -> list[str]:
    return [address for program, address in sockets(text) if program.startswith("qemu")]


def qemu_listens(host: str) -> list[str]:
    return qemu_sockets(on(host, "ss -Hltnp"))


def pwned() -> list[str]:
    """Files that a name made by being run; the hosts share the machine's file system but for these places."""
    places = "/ /tmp /run /root /var/lib/libvirt"
    inside = [on(host, f"find {places} -xdev -maxdepth 3 -name '{PWNED}*'").split() for host in ADDRESS]
    here = [str(path) for place in (ROOT, Path("/tmp"), Path.home()) for path in place.glob(f"{PWNED}*")]
    return [*inside[0], *inside[1], *here]


@contextmanager
def running(name: str) -> Iterator[bool]:
    """A guest of 32 MB that runs nothing but its firmware; gives whether libvirt takes its name."""
    root = ElementTree.Element("domain", {"type": "qemu"})
    for tag, text in (("name", name), ("uuid", UUID), ("memory", "32768")):
        ElementTree.SubElement(root, tag).text = text
    ElementTree.SubElement(ElementTree.SubElement(root, "os"), "type", {"arch": "x86_64", "machine": "pc"}).text = "hvm"
    xml = shlex.quote(ElementTree.tostring(root, encoding="unicode"))
    said = on("source", f"printf %s {xml} > /tmp/hostile.xml && virsh create /tmp/hostile.xml", check=False)
    try:
        yield "created from" in said
    finally:
        for host in ADDRESS:
            on(host, "virsh", "destroy", UUID, check=False)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, id=str(n), marks=[] if n == 1 else [pytest.mark.long]) for n, name in enumerate(HOSTILE)],
)
def test_a_guest_of_any_name_is_migrated_and_its_name_is_only_a_name(lab: Path, name: str) -> None:
    before = guests("source"), guests("destination")
    with running(name) as taken:
        if not taken:
            pytest.skip("this libvirt does not take the name")
        done = run_module(
            "destination",
            "postcopy_migration",
            name=name,
            source_uri=SOURCE_URI,
            migration_address=MIGRATION_ADDRESS["destination"],
        )
        assert done.returncode == 0, done.stdout
        assert "running" in on("destination", "virsh", "domstate", UUID)
        assert "running" not in on("source", "virsh", "domstate", UUID, check=False)
        assert qemu_listens("destination") == []
    assert pwned() == []
    assert (guests("source"), guests("destination")) == before


@pytest.mark.parametrize(("name", "says"), [("../../etc/x", "no guest's name"), (f"$(touch {PWNED})", "no guest")])
def test_a_name_that_no_guest_has_is_refused(lab: Path, name: str, says: str) -> None:
    for module_name, settings in (
        ("postcopy_migration", {"source_uri": SOURCE_URI, "migration_address": MIGRATION_ADDRESS["destination"]}),
        ("saved_guest", {"state": "running", "directory": "/var/lib/libvirt/vcsp", "workload": {"window_mb": 8}}),
    ):
        done = run_module("destination", module_name, name=name, **settings)
        assert done.returncode != 0
        assert says in done.stdout or "no saved state" in done.stdout, done.stdout
    assert pwned() == []


def test_qemu_listens_on_the_migration_address_from_the_end_of_the_baseline_on(guest: Migrate) -> None:
    assert qemu_listens("source") == qemu_listens("destination") == []
    look = [("run", "ss -Hltnp"), ("run", "ssh root@source ss -Hltnp")]
    # The push is held down, lest the migration ends while it is looked at.
    steps = [("await", "baseline"), *look, ("await", "post-copy"), ("rate", 4096), *look, ("rate", 0)]
    settings = {"transfer": "demand", "prefetch_pages": 10, "window_mb": 8, "baseline_s": 5, "verify": True}
    done, seen = follow(lambda: guest(**settings), *steps)
    assert done.returncode == 0, done.stdout
    (here, there), (here_later, there_later) = seen[1:3], seen[5:7]
    assert here.watched and there.source != "active" and there_later.split, seen
    assert qemu_sockets(here.output) == qemu_sockets(there.output) == []
    # QEMU may stop listening as soon as all connections are there.
    addresses = {address.rpartition(":")[0] for address in qemu_sockets(here_later.output)}
    assert addresses <= {MIGRATION_ADDRESS["destination"]}
    assert qemu_sockets(there_later.output) == []
    assert "running" in on("destination", "virsh", "domstate", "vcsp-guest")
    assert qemu_listens("destination") == qemu_listens("source") == []


def assert_untouched() -> None:
    """The guest runs on the source, and nothing was made on the destination."""
    assert guests("source") == ["vcsp-guest"]
    assert "running" in on("source", "virsh", "domstate", "vcsp-guest")
    assert guests("destination") == []
    assert qemu_listens("destination") == []
    assert pwned() == []


def test_an_address_that_is_not_this_hosts_own_is_refused(guest: Migrate) -> None:
    # One of each kind; the unit tests of endpoints and fitness have the others.
    for address, says in (
        ("0.0.0.0", "every address"),
        ("198.18.1.12:80,ipv4=on", "no IP address"),
        ("198.18.1.255", "not an address of this host"),
    ):
        done = guest(migration_address=address)
        assert done.returncode != 0, address
        assert says in done.stdout, done.stdout
    assert guest(check=True, migration_address=MIGRATION_ADDRESS["source"]).returncode != 0
    assert_untouched()


def test_a_uri_that_is_not_qemus_or_names_a_program_is_refused(guest: Migrate) -> None:
    # One of each kind; the unit tests of endpoints have the others.
    for uri, says in (
        (f"qemu:///system; touch {PWNED}", "no URI"),
        (f"{SOURCE_URI}?command=/tmp/{PWNED}", "names a program"),
        ("qemu:///system", "the destination's, too"),
    ):
        done = guest(source_uri=uri)
        assert done.returncode != 0, uri
        assert says in done.stdout, done.stdout
    assert_untouched()


def test_hosts_have_no_other_service_than_sshd_on_the_management_network(lab: Path) -> None:
    for host, address in ADDRESS.items():
        assert listening(host) == [("sshd", f"{address}:22")]
        assert on(host, "ss -Hlun") == ""
        # Without a route out of its networks it answers nobody outside of them, whatever the machine forwards.
        routes = [line.split()[0] for line in on(host, "ip -4 route").splitlines()]
        assert sorted(routes) == ["198.18.0.0/24", "198.18.1.0/24"]
    connect = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{MIGRATION_ADDRESS['destination']}/22' 2>/dev/null; echo $?"
    assert on("source", connect).strip() != "0"


def test_the_machine_itself_listens_for_nobody_because_of_the_lab(lab: Path) -> None:
    command = ["ss", "-Hltn"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line.split()[3].startswith("198.18.")] == []
    init = int((LAB_RUN / "source" / "init").read_text().split()[0])
    for namespace in ("net", "mnt", "pid", "ipc", "uts"):
        assert Path(f"/proc/{init}/ns/{namespace}").readlink() != Path(f"/proc/self/ns/{namespace}").readlink()


def test_nothing_on_the_hosts_is_world_writable(guest: Migrate) -> None:
    # While a guest runs, with its sockets; /tmp, which has to be, is the only such place.
    places = "/etc/libvirt /root /run /tmp /var/cache/libvirt /var/lib/libvirt /var/log/libvirt"
    for host in ADDRESS:
        assert on(host, f"find {places} -xdev ! -type l -perm -0002").split() == ["/tmp"]
        assert on(host, "stat -c %a /tmp").strip() == "1777"
        assert on(host, "stat -c %a /run/libvirt/libvirt-sock /run/libvirt/libvirt-sock-ro").split() == ["700", "700"]


def world_writable(top: Path) -> list[Path]:
    every = [top, *top.rglob("*")]
    return [path for path in every if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH]


def test_nothing_on_the_machine_is_world_writable(lab: Path) -> None:
    for top in (LAB_STATE, LAB_RUN, Path("/var/cache/vcsp-testbed"), lab):
        assert top.exists()
        assert world_writable(top) == []
    lock = Path("/run/lock/vcsp-testbed.lock")
    assert not lock.exists() or not lock.stat().st_mode & stat.S_IWOTH


def test_only_root_enters_the_lab_and_its_keys_are_its_own(lab: Path) -> None:
    def private(path: Path) -> bool:
        with path.open("rb") as file:
            return b" PRIVATE KEY-----" in file.read(64)

    for top in (LAB_STATE, LAB_RUN, LAB_STATE / "ssh"):
        state = top.stat()
        assert (stat.S_IMODE(state.st_mode), state.st_uid) == (0o700, 0), top
    small = [path for path in LAB_STATE.rglob("*") if path.is_file() and path.stat().st_size < 65536]
    keys = [path for path in small if private(path)]
    # Others are those of certificates, if any were made.
    assert {path.name for path in keys if path.suffix != ".pem"} == {"id_ed25519", "host_source", "host_destination"}
    for path in keys:
        state = path.stat()
        assert stat.S_IMODE(state.st_mode) in (0o600, 0o400) and state.st_uid == 0, path
    public = (LAB_STATE / "ssh" / "id_ed25519.pub").read_text().split()[1]
    for authorized in Path("/root/.ssh").glob("authorized_keys*"):
        assert public not in authorized.read_text(), "the lab's key opens the machine"
    # Of the machine's passwords the lab knows none.
    for host in ADDRESS:
        assert (LAB_STATE / host / "etc" / "shadow").read_text() == "root:*:::::::\n"


def test_a_lab_is_refused_what_would_harm_the_machine(lab: Path) -> None:
    spec: dict[str, Any] = {
        "owner": str(ROOT),
        "controller_address": "198.18.0.1",
        "hosts": [
            {"name": host, "management_address": ADDRESS[host], "migration_address": MIGRATION_ADDRESS[host]}
            for host in ADDRESS
        ],
    }
    for wrong, says in (
        ({"name": "/"}, "name: "),
        ({"name": ""}, "name: "),
        ({"state_dir": "/var/lib"}, "state_dir: "),
        ({"run_dir": "/run"}, "run_dir: "),
        ({"state_dir": f"/var/lib/x'; touch {PWNED}; '"}, "state_dir: "),
    ):
        done = run_module("localhost", "lab", state="absent", **{**spec, **wrong})
        assert done.returncode != 0
        assert says in done.stdout, done.stdout
    assert on("source", "true") == on("destination", "true") == ""
    assert pwned() == []
