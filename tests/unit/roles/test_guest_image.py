# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guest image: which mirror it comes from, asked of the real apt with made-up sources, and when it is rebuilt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "guest_image"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt")


class Apt:
    """The machine's apt, with other sources and package lists."""

    def __init__(self, directory: Path) -> None:
        self.parts = directory / "sources.list.d"
        self.lists = directory / "lists"
        self.parts.mkdir(parents=True)
        (self.lists / "partial").mkdir(parents=True)
        settings = directory / "apt.conf"
        settings.write_text(
            f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{self.parts}";\n'
            f'Dir::State::lists "{self.lists}"; Dir::Cache "{directory}"; APT::Architecture "amd64";\n'
        )
        self.environment = {"APT_CONFIG": str(settings)}

    def run(self, *command: str) -> str:
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout

    def update(self, vendors: str = "nobody") -> None:
        """Make empty package lists, as if downloaded: of Debian, but for the archives that match ``vendors``."""
        for uri, name in re.findall(r"^'(.+)' (\S+)", self.run("apt-get", "update", "--print-uris"), re.MULTILINE):
            suite = uri.split("/dists/")[-1].split("/")[0]
            codename = suite.replace("oldstable", "bookworm").replace("stable", "trixie")
            origin = "Vendor" if re.search(vendors, uri) else "Debian"
            origin += " Backports" if suite.endswith("backports") else ""
            release = f"Origin: {origin}\nLabel: {origin}\nSuite: {suite}\nCodename: {codename}\nComponents: main\n"
            (self.lists / name).write_text(release if name.endswith("InRelease") else "")

    def set(self, *settings: str) -> None:
        with Path(self.environment["APT_CONFIG"]).open("a") as file:
            file.write("\n".join([*settings, ""]))

    def source(self, suite: str) -> dict[str, str]:
        found = self.run(sys.executable, str(ROLE / "files" / "debian_source.py"), suite)
        return dict(re.findall(r"^([\w-]+): (.*(?:\n .*)*)", found, re.MULTILINE))


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    return Apt(tmp_path / "apt")


def deb822(uris: str, suites: str, *more: str) -> str:
    return "\n".join(["Types: deb", f"URIs: {uris}", f"Suites: {suites}", "Components: main", *more, ""])


SECURITY = deb822("http://security.example/debian-security", "bookworm-security", f"Signed-By: {KEYRING}")
KEY = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEXX\n -----END PGP PUBLIC KEY BLOCK-----"


@pytest.mark.parametrize(
    ("name", "text", "uri", "trust"),
    [
        ("sources", deb822("http://a/debian", "bookworm", f"Signed-By: {KEYRING}"), "http://a/debian/", KEYRING),
        ("sources", f"# Ours.\n\n{SECURITY}\n{deb822('http://a/debian', 'bookworm')}", "http://a/debian/", None),
        ("sources", deb822("http://a/debian", "bookworm", f"signed-by:{KEY}"), "http://a/debian/", KEY),
        ("sources", deb822("http://a/debian http://b/debian", "bookworm bookworm-updates"), "http://a/debian/", None),
        ("sources", deb822("mirror+file:///m.list", "bookworm"), "mirror+file:/m.list/", None),
        ("sources", deb822("http://a/debian", "oldstable"), "http://a/debian/", None),
        (
            "sources",
            f"{deb822('http://b/debian', 'bookworm', 'Enabled: no')}\n{deb822('http://a/debian', 'bookworm')}",
            "http://a/debian/",
            None,
        ),
        ("list", "deb http://a/debian bookworm main\n", "http://a/debian/", None),
        (
            "list",
            f"# deb http://b/debian bookworm main\n\ndeb [ arch=amd64  signed-by={KEYRING} ] http://a/debian "
            "bookworm main # ours\n",
            "http://a/debian/",
            KEYRING,
        ),
        ("list", "deb [signed-by=/a.gpg,/b.gpg] http://a/debian bookworm main\n", "http://a/debian/", "/a.gpg,/b.gpg"),
        ("list", "deb cdrom:[Debian 12]/ bookworm main\ndeb http://a/debian bookworm main\n", "http://a/debian/", None),
        (
            "list",
            "deb [arch=i386] http://b/debian bookworm main\ndeb http://a/debian bookworm main\n",
            "http://a/debian/",
            None,
        ),
        ("list", "deb http://vendor/ bookworm main\ndeb http://a/debian bookworm main\n", "http://a/debian/", None),
        ("list", "deb http://b/debian trixie main\ndeb http://a/debian bookworm main\n", "http://a/debian/", None),
        # Every mirror of Debian has all releases.
        (
            "list",
            "deb http://a/debian trixie-updates main\ndeb http://b/debian trixie main\n",
            "http://b/debian/",
            None,
        ),
    ],
)
def test_the_mirror_is_that_of_the_release_itself(apt: Apt, name: str, text: str, uri: str, trust: str | None) -> None:
    (apt.parts / "00-debian-security.sources").write_text(SECURITY)
    (apt.parts / f"10-more.{name}").write_text(text)
    apt.update(vendors="//vendor/")
    wanted = {"Types": "deb", "URIs": uri, "Suites": "bookworm", "Components": "main"}
    found = apt.source("bookworm")
    assert found.pop("Signed-By", None) == (trust and trust.lstrip(" "))
    assert found == wanted


@pytest.mark.parametrize(
    "line",
    [
        "deb http://security.debian.org bookworm-security main",
        "deb cdrom:[Debian 12]/ bookworm main",
        "deb http://vendor/debian bookworm main",
        "deb http://a/debian bookworm contrib",
        "deb-src http://a/debian bookworm main",
    ],
)
def test_what_is_no_mirror_of_debian_is_not_used(apt: Apt, line: str) -> None:
    (apt.parts / "some.list").write_text(line + "\n")
    apt.update(vendors="//vendor/")
    assert apt.source("bookworm") == {}


def test_without_package_lists_nothing_is_known(apt: Apt) -> None:
    (apt.parts / "debian.list").write_text("deb http://a/debian bookworm main\n")
    assert apt.source("bookworm") == {}


def test_an_unsigned_or_frozen_mirror_stays_what_it_is(apt: Apt) -> None:
    (apt.parts / "a.list").write_text("deb [trusted=yes check-valid-until=no] http://a/debian bookworm main\n")
    apt.update()
    found = apt.source("bookworm-backports")
    assert (found["Suites"], found["Trusted"], found["Check-Valid-Until"]) == ("bookworm-backports", "yes", "no")


def executable(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def build(apt: Apt, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Build the image with stand-ins for the tools, and return the source and settings that mmdebstrap was given."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cc", "sqfstar"):
        executable(tools / tool, 'for word; do case $word in */vcsp-workload | *.squashfs) : > "$word"; esac; done')
    root = tmp_path / "root"
    executable(
        tools / "mmdebstrap",
        f"mkdir -p {root}/etc/apt/apt.conf.d {root}/etc/apt/sources.list.d; cat > {tmp_path}/source",
        f"cp {tmp_path}/source {root}/etc/apt/sources.list.d/0000main.sources",
        f": > {root}/etc/apt/apt.conf.d/99mmdebstrap; : > {root}/etc/apt/sources.list",
        f'for word; do case $word in --customize-hook=cd*) sh -c "${{word#*=}}" exec {root}; esac; done',
        f'for word; do case $word in --aptopt=*) cp "${{word#*=}}" {tmp_path}/settings; esac; done',
        'for word; do case $word in */root.tar) : > "$word"; cd "${word%/*}"; : > vmlinuz; : > initrd; esac; done',
    )

    def build(source: str) -> tuple[str, str]:
        environment = {**os.environ, **apt.environment, "PATH": f"{tools}:{os.environ['PATH']}"}
        command = ["sh", "build.sh", "bookworm", str(tmp_path / "image")]
        subprocess.run(command, cwd=ROLE / "files", env=environment, input=source, text=True, check=True)
        assert {path.name for path in (tmp_path / "image").iterdir()} == {
            "SHA256SUMS",
            "bare.rom",
            "initrd",
            "root.squashfs",
            "vmlinuz",
        }
        assert [path for path in root.rglob("*") if path.is_file()] == []  # no proxy, no login, no mirror
        return (tmp_path / "source").read_text(), (tmp_path / "settings").read_text()

    return build


def test_the_image_is_built_through_the_proxy_of_the_machines_apt(apt: Apt, build: Any) -> None:
    network = [
        'Acquire::http::Proxy "http://proxy:3128/";',
        'Acquire::http::Proxy::intern.example "DIRECT";',
        'Acquire::https::Proxy-Auto-Detect "/usr/bin/detect";',
        'Acquire::https::CAInfo "/etc/ssl/ours.pem";',
        'Acquire::Check-Valid-Until "false";',
    ]
    apt.set(*network, 'Acquire::Languages "de";', 'Dir::Etc::netrc "/etc/ours.conf";')
    source, settings = build(deb822("http://a/debian", "bookworm"))
    assert source == deb822("http://a/debian", "bookworm")
    assert set(network) <= set(settings.splitlines())
    assert 'Dir::Etc::netrc "/etc/ours.conf";' in settings
    assert "Languages" not in settings


@pytest.mark.parametrize(
    ("source", "copied"),
    [
        ("Types: deb\nURIs: file:/srv/debian/\nSuites: bookworm\n", "URIs: copy:/srv/debian/"),
        ("deb [signed-by=/a.gpg] file:///srv/debian bookworm main\n", "deb [signed-by=/a.gpg] copy:///srv/debian"),
        ("deb file:/srv/debian bookworm main\n", "deb copy:/srv/debian bookworm main"),
        ("deb mirror+file:/m.list bookworm main\n", "deb mirror+file:/m.list bookworm main"),
    ],
)
def test_packages_are_copied_from_a_local_mirror(build: Any, source: str, copied: str) -> None:
    assert copied in build(source)[0]


class Play:
    """A playbook that runs the role in check mode, again and again, and copies of the role beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "roles").mkdir()
        (directory / "inventory").write_text("localhost ansible_connection=local\n")
        self.tasks: list[dict[str, Any]] = []

    def copy_of_role(self, changed: str) -> str:
        """Copy the role, with a line more in one of its files."""
        name = f"role_{len(self.tasks)}"
        shutil.copytree(ROLE, self.directory / "roles" / name)
        with (self.directory / "roles" / name / changed).open("a") as file:
            file.write("# More.\n")
        return name

    def include(self, name: str, apt: Apt | None = None, tasks_from: str = "main", **variables: str) -> None:
        apply = {"environment": apt.environment} if apt else {}
        role = {"name": name, "tasks_from": tasks_from, "apply": apply}
        self.tasks += [{"ansible.builtin.include_role": role, "vars": variables}]

    def image(
        self, name: str, role: str = "vcsp.testbed.guest_image", apt: Apt | None = None, **variables: str
    ) -> None:
        """Find out which image the role would build."""
        self.include(role, apt, "name", **{"guest_image_cache_dir": "/nowhere", **variables})
        self.tasks += [{"ansible.builtin.debug": {"msg": f"{name}={{{{ guest_image_dir | basename }}}}"}}]

    def run(self, **environment: str) -> str:
        play = {"hosts": "localhost", "gather_facts": False, "tasks": self.tasks}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventory", "play.yml", "--check"]
        environment = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **environment}
        environment["ANSIBLE_STDOUT_CALLBACK"] = "ansible.builtin.default"
        done = subprocess.run(
            command, cwd=self.directory, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def images(self, **environment: str) -> dict[str, str]:
        return dict(re.findall(r"(\S+)=([a-z]+-[0-9a-f]{12})\b", self.run(**environment)))


@pytest.fixture
def play(tmp_path: Path) -> Play:
    (tmp_path / "play").mkdir()
    return Play(tmp_path / "play")


def test_the_image_is_rebuilt_exactly_when_an_ingredient_changed(play: Play) -> None:
    mirror = "http://a/debian"
    play.image("base", guest_image_mirror=mirror)
    play.image("elsewhere", play.copy_of_role("defaults/main.yml"), guest_image_mirror=mirror)
    play.image("release", guest_image_mirror=mirror, guest_image_release="trixie")
    play.image("mirror", guest_image_mirror="http://b/debian")
    play.image("key", guest_image_mirror="deb [signed-by=/a.gpg] http://a/debian bookworm main")
    # The list of packages is in build.sh. What found the mirror is no ingredient.
    ingredients = {str(path.relative_to(ROLE)) for path in ROLE.glob("files/**/*.*")} - {"files/debian_source.py"}
    ingredients |= {"files/initramfs/overlay", "files/initramfs/modules"}
    for path in ingredients:
        play.image(path, play.copy_of_role(path), guest_image_mirror=mirror)
    rom = {path for path in ingredients if path.startswith("files/bare/")} | {"files/walk.h"}
    for path in (*sorted(rom), "files/workload.c"):
        play.image(f"rom-{path}", play.copy_of_role(path), guest_image_system="bare")
    found = play.images(http_proxy="http://proxy:3128")
    bare = {name: found.pop(name) for name in list(found) if name.startswith("rom-")}
    assert set(found) == {"base", "elsewhere", "release", "mirror", "key", *ingredients}
    assert found.pop("elsewhere") == found["base"]
    assert len(set(found.values())) == len(found)
    assert all(image.startswith("bare-") for image in bare.values())
    assert len(set(bare.values())) == len(rom) + 1


def test_the_image_is_rebuilt_when_the_machines_mirror_changed_and_not_with_its_proxy(
    play: Play, tmp_path: Path
) -> None:
    debian = deb822("http://a/debian", "bookworm")
    for name, texts in {
        "base": [debian],
        "security": [SECURITY, debian],
        "proxy": [debian],
        "mirror": [debian.replace("/a/", "/b/")],
        "signed": [debian + f"Signed-By: {KEYRING}\n"],
    }.items():
        apt = Apt(tmp_path / name)
        for number, text in enumerate(texts):
            (apt.parts / f"{number}.sources").write_text(text)
        if name == "proxy":
            apt.set('Acquire::http::Proxy "http://proxy:3128";')
        apt.update()
        play.image(name, apt=apt)
    found = play.images()
    assert found["security"] == found["proxy"] == found["base"]
    assert len({found["base"], found["mirror"], found["signed"]}) == 3


def test_check_mode_says_what_it_would_build_on_a_machine_without_anything(play: Play, apt: Apt) -> None:
    play.include("vcsp.testbed.guest_image", apt, guest_image_cache_dir="/nowhere")
    done = play.run()
    assert "/nowhere/bookworm-" in done
    assert "would be built, from mmdebstrap's default mirror" in " ".join(done.split())


@pytest.mark.parametrize("mirror", ["mirror.example", "/srv/debian", "http://a/debian\nTrusted: yes", "deb x\ny"])
def test_a_mirror_that_is_none_is_refused(play: Play, mirror: str) -> None:
    play.include("vcsp.testbed.guest_image", guest_image_cache_dir="/nowhere", guest_image_mirror=mirror)
    with pytest.raises(AssertionError, match="guest_image_mirror: is"):
        play.run()


@pytest.mark.parametrize("own", [False, True], ids=["add", "keep"])
def test_backports_are_added_to_a_host_that_has_none(play: Play, apt: Apt, own: bool) -> None:
    (apt.parts / "a.sources").write_text(SECURITY)
    (apt.parts / "b.list").write_text(f"deb [signed-by={KEYRING}] mirror+file:/m.list bookworm main\n")
    name = "owner" if own else "vcsp-backports"
    (apt.parts / f"{name}.sources").write_text(deb822("http://b/debian", "bookworm-backports"))
    apt.update()
    play.include("vcsp.testbed.hypervisor", apt, "backports")
    play.tasks += [{"ansible.builtin.debug": {"msg": "{{ 'source:' ~ (guest_image_source | default('none')) }}"}}]
    done = play.run()
    if own:
        assert "source:none" in done
    else:
        assert re.search(r"URIs: mirror\+file:/m.list/\s+Suites: bookworm-backports\s+Components: main", done)
        assert f"Signed-By: {KEYRING}" in done
