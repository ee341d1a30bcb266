# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names, URIs and addresses as an inventory might have them, above all hostile ones."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vcsp.testbed.plugins.module_utils._host.endpoints import (
    address_problem,
    free_listener,
    has_arrived,
    name_problem,
    own_addresses,
    port_range,
    ports_problem,
    uri_problem,
    virsh,
)

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 198.18.1.0/24 2 0 2
        |-- 198.18.1.0
           /32 link BROADCAST
           /24 link UNICAST
        |-- 198.18.1.12
           /32 link UNICAST
           /32 host LOCAL
        |-- 198.18.1.255
           /32 link BROADCAST
"""
IF_INET6 = """\
fe800000000000004cebc1fffeea6184 0d 40 20 80     mig0
20010db8000000000000000000000012 04 40 00 82     mig0
00000000000000000000000000000001 01 80 10 80       lo
"""


@pytest.mark.parametrize("address", ["192.0.2.12", "198.18.1.12", "2001:db8::12", "2001:DB8:0:0:0:0:0:12", "fd00::2"])
def test_a_literal_address_is_accepted(address: str) -> None:
    assert address_problem(address) is None


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("0.0.0.0", "every address"),
        ("::", "every address"),
        ("0:0::0", "every address"),
        ("::ffff:0.0.0.0", "::ffff:0.0.0.0"),
        ("::ffff:192.0.2.12", "written as IPv6"),
        ("127.0.0.1", "cannot reach"),
        ("::1", "cannot reach"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("2001:db8::12%x:0,to=65535", "2001:db8::12%x:0,to=65535"),
        ("1.2.3.4:80,ipv4=on", "no IP address"),
        ("192.0.2.12,to=9", "no IP address"),
        ("[2001:db8::12]", "no IP address"),
        ("192.0.2.12:4444", "no IP address"),
        ("192.0.2.12/24", "no IP address"),
        ("192.0.2.12\n", "no IP address"),
        (" 192.0.2.12", "no IP address"),
        ("3221225996", "no IP address"),
        ("0xc000020c", "no IP address"),
        ("localhost", "no IP address"),
        ("$(id)", "no IP address"),
        ("", "no IP address"),
    ],
)
def test_any_other_address_is_refused_with_advice(address: str, says: str) -> None:
    problem = address_problem(address)
    assert problem is not None
    assert says in problem
    assert "192.0.2.12" in problem


@given(st.one_of(st.text(), st.ip_addresses().map(str), st.ip_addresses().flatmap(lambda ip: st.just(f"{ip},to=1"))))
def test_only_addresses_are_accepted(text: str) -> None:
    if address_problem(text) is not None:
        return
    assert set(text) <= set("0123456789abcdefABCDEF.:")
    address = ipaddress.ip_address(text)
    assert not (address.is_unspecified or address.is_loopback or address.is_multicast)


def test_own_addresses_are_local_unicast_addresses(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    assert list(map(str, own_addresses(tmp_path))) == ["198.18.1.12"]
    (tmp_path / "if_inet6").write_text(IF_INET6)
    assert list(map(str, own_addresses(tmp_path))) == ["198.18.1.12", "2001:db8::12"]


@pytest.mark.parametrize("ports", ["49152-49215", "1024-65535", "50000-50000"])
def test_a_range_of_ports_is_accepted(ports: str) -> None:
    assert ports_problem(ports) is None
    assert "-".join(str(port_range(ports)[end]) for end in (0, -1)) == ports


@pytest.mark.parametrize(
    "ports", ["", "49152", "49215-49152", "1023-1024", "0-0", "65535-65536", "1-2-3", "-1", " 2000-3000", "2000-3000\n"]
)
def test_anything_else_is_no_range_of_ports(ports: str) -> None:
    problem = ports_problem(ports)
    assert problem is not None
    assert repr(ports) in problem
    assert "49152-49215" in problem


def test_a_listener_takes_the_first_port_that_is_free() -> None:
    with free_listener("127.0.0.1", range(49152, 49216)) as first:
        port = first.getsockname()[1]
        with free_listener("127.0.0.1", range(port, 49216)) as second:
            assert second.getsockname()[1] > port
        with pytest.raises(OSError, match="in use"):
            free_listener("127.0.0.1", range(port, port + 1))
    with pytest.raises(OSError, match="assign"):
        free_listener("192.0.2.12", range(49152, 49216))


@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_connection_has_arrived_once_it_is_more_than_listened_for(address: str, family: socket.AddressFamily) -> None:
    try:
        listener = free_listener(address, range(49152, 49216))
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with listener:
        port = listener.getsockname()[1]
        assert not has_arrived(port)
        with socket.create_connection((address, port)):
            assert has_arrived(port)


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu:///session",
        "qemu+ssh://root@node1/system",
        "qemu+ssh://root@[2001:db8::1]:22/system?keyfile=/root/.ssh/lab&socket=/run/libvirt/libvirt-sock",
        "qemu+unix:///system?socket=/run/other",
        "qemu+tls://node1/system",
    ],
)
def test_a_qemu_uri_is_accepted(uri: str) -> None:
    assert uri_problem(uri) is None


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "no URI"),
        ("node1", "does not use libvirt's QEMU driver"),
        ("test:///default", "does not use libvirt's QEMU driver"),
        ("esx://node1/", "does not use libvirt's QEMU driver"),
        ("xen+ssh://root@node1/", "does not use libvirt's QEMU driver"),
        ("qemu", "does not use libvirt's QEMU driver"),
        ("qemu:///system\n", "no URI"),
        ("qemu:///system; touch /tmp/pwned", "no URI"),
        ("qemu+ssh://[node1/system", "no URI"),
        ("qemu+ext:///system?command=/tmp/evil", "names a program"),
        ("QEMU+EXT:///system", "names a program"),
        ("qemu+ssh://root@node1/system?command=/tmp/evil", "names a program"),
        ("qemu+ssh://root@node1/system?socket=/x;Command=/tmp/evil", "names a program"),
        ("qemu+ssh://root@node1/system?socket=/x&%63ommand=/tmp/evil", "names a program"),
    ],
)
def test_a_uri_of_another_driver_or_with_a_program_is_refused(uri: str, says: str) -> None:
    problem = uri_problem(uri)
    assert problem is not None
    assert says in problem
    assert "qemu:///system" in problem


@pytest.mark.parametrize(
    "name", ["web1", "x'; touch pwned; '", '<name>&"', "$(id)", "-c", "Gäst ☃", "a\nb", "%s%n", "..", "n" * 255]
)
def test_a_name_that_libvirt_accepts_is_accepted(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", "a/b", "../../etc/passwd", "a\0b", "\x1b[2J", "\ud800", "\ufffe"])
def test_a_name_that_no_guest_can_have_is_refused(name: str) -> None:
    problem = name_problem(name)
    assert problem is not None
    assert problem.isprintable()


hostile = st.text(
    st.one_of(st.sampled_from("'\"`$\\;&|<>(){}*?~!# \n-"), st.characters(exclude_categories=["Cs", "Cc"]))
)


@given(hostile, hostile)
def test_a_command_to_paste_is_one_command_whatever_the_guests_name(uri: str, name: str) -> None:
    shell = ["sh", "-c", 'virsh() { printf "%s\\0" "$@"; }; ' + virsh(uri, "destroy", name)]
    arguments = subprocess.run(shell, capture_output=True, check=True).stdout.decode()
    assert arguments.split("\0") == ["-c", uri, "destroy", "--domain", name, ""]
