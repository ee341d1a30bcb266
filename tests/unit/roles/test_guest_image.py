# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guest image: which mirror it comes from, asked of the real apt with made-up sources, and when it is rebuilt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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

    def source(self, suite: str) -> dict[str, str]:
        found = self.run(sys.executable, str(ROLE / "files" / "debian_source.py"), suite)
        return dict(re.findall(r"^([\w-]+): (.*(?:\n .*)*)", found, re.MULTILINE))


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    return Apt(tmp_path / "apt")


def deb822(uris: str, suites: str, *more: str) -> str:
    return "\n".join(["Types: deb", f"URIs: {uris}", f"Suites: {suites}", "Components: main", *more, ""])


SECURITY = deb822("http://deb.debian.org/debian-security", "bookworm-security", f"Signed-By: {KEYRING}")
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
