# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""debian_source.py SUITE: print a source of that Debian suite, for apt, at the mirror that this machine's apt uses.

Prints nothing where apt knows no Debian mirror, or has no package lists yet, which say what each source is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from email.parser import HeaderParser
from pathlib import Path

# One line per list of packages that apt has: where it is configured, its codename and its mirror.
TARGETS = ["apt-get", "indextargets", "--format", "$(SOURCESENTRY) $(CODENAME) $(REPO_URI)"]
# Not a vendor's packages for Debian, and not those of another architecture.
DEBIAN = ["Created-By: Packages", "Origin: Debian", "Component: main", "Architecture: amd64"]
# What decides whether apt accepts the mirror's signature.
TRUST = ("Signed-By", "Trusted", "Check-Valid-Until")


def mirrors() -> list[tuple[str, str, str]]:
    """Return entry, codename and URI of each Debian archive that apt uses, without the suites beside a release."""
    found = subprocess.run([*TARGETS, *DEBIAN], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    lines = [(entry, codename, uri) for entry, codename, uri in (line.split(" ", 2) for line in found)]
    return [line for line in lines if "-" not in line[1] and not line[2].startswith("cdrom:")]


def trust(entry: str) -> dict[str, str]:
    """Return what an entry says about signatures.

    :param entry: as apt names it: the number of a line of a .list file, or of a stanza of a .sources file.
    """
    path, _, number = entry.rpartition(":")
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".sources"):
        stanzas = re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE))
        fields = HeaderParser().parsestr([stanza.strip() for stanza in stanzas if stanza.strip()][int(number) - 1])
    else:
        options = re.match(r"\s*deb\s+\[([^]]*)]", text.splitlines()[int(number) - 1])
        fields = HeaderParser().parsestr(re.sub(r"\s+", "\n", options[1].strip()).replace("=", ": ") if options else "")
    return {name: fields[name] for name in TRUST if name in fields}


def source(suite: str) -> str:
    """Return the suite's source in deb822 format: at the release's own mirror, or that of another release."""
    codename = suite.partition("-")[0]
    entry, _, uri = min(mirrors(), key=lambda mirror: mirror[1] != codename, default=("", "", ""))
    if not uri:
        return ""
    fields = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": "main", **trust(entry)}
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


if __name__ == "__main__":
    sys.stdout.write(source(sys.argv[1]))
