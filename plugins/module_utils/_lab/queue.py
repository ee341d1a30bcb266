# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The queue before a migration link, on the sender's own device, where a host's queue is: commands of tc(8)."""

from __future__ import annotations

from .._link import Link

# A network card sends a large buffer as frames, and the first page of many is there first. An emulated link carries a
# buffer as a whole: one that takes longer than this is made smaller, down to a page with its headers.
BUFFER_S = 131e-6
BUFFER_MIN_BYTES, BUFFER_MAX_BYTES = 4500, 64 * 1024
# What the queue may release at once, to make up for a timer that came late. The wire keeps the exact rate.
BURST_S = 200e-6
BURST_MIN_BYTES = 1600
# Connections are told apart by a hash, as fq_codel does, into as many queues.
FLOWS = 1024
# tc-bpf(8): the class of a packet is FLOWS plus the lowest bits of its connection's hash (SKF_AD_RXHASH). "or" adds
# the number of the queue and the bit that no hash has.
CLASSIFIER = f"4,32 0 0 {0xFFFFF000 + 32},84 0 0 {FLOWS - 1},68 0 0 {1 << 16 | FLOWS},22 0 0 0"


def buffer_bytes(link: Link) -> int:
    """Return the size of the largest buffer that is sent as a whole."""
    return min(max(int(link.rate_mbit * 1e6 / 8 * BUFFER_S), BUFFER_MIN_BYTES), BUFFER_MAX_BYTES)


def commands(link: Link, device: str, has_fq_codel: bool) -> list[str]:
    """Return the commands for ``tc -batch`` that put the queue before a device.

    :param has_fq_codel: whether the kernel has the fair queue that Linux hosts have by default; without it classes of
        htb, one for every value of the hash, take turns.
    """
    burst = max(BURST_MIN_BYTES, int(link.rate_mbit * 1e6 / 8 * BURST_S))
    turn = f"burst {burst} cburst {burst} quantum {buffer_bytes(link)}"
    rate = f"{link.rate_mbit}mbit"
    root = [
        f"qdisc replace dev {device} root handle 1: htb default {{}}",
        f"class add dev {device} parent 1: classid 1:1 htb rate {rate} {turn}",
    ]
    if link.queue == "fifo" or has_fq_codel:
        kind = "pfifo limit 1000" if link.queue == "fifo" else "fq_codel"
        return [root[0].format("1"), root[1], f"qdisc add dev {device} parent 1:1 handle 10: {kind}"]
    own = f"rate {max(8, link.rate_mbit * 1_000_000 // FLOWS)}bit ceil {rate}"
    return [
        root[0].format(f"{FLOWS:x}"),
        root[1],
        *(f"class add dev {device} parent 1:1 classid 1:{FLOWS + flow:x} htb {own} {turn}" for flow in range(FLOWS)),
        f"filter add dev {device} parent 1: prio 1 bpf bytecode '{CLASSIFIER}'",
    ]
