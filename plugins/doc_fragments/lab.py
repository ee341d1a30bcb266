# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options that say which embedded lab is meant."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for the fragment of this file."""

    DOCUMENTATION = r"""
options:
  name:
    description: Prefix of every namespace, device and cgroup of the lab, at most 11 letters, digits and C(-).
    type: str
    default: vcsp
  state_dir:
    description:
      - Directory that holds C(boot.sh) and C(system.sh), one of which PID 1 of each host runs, and a folder for each
        host.
      - Must hold nothing but the lab's files, because the role removes it with everything in it; others are refused.
    type: path
    default: /var/lib/vcsp-lab
  run_dir:
    description: Directory for the lab's runtime state. Must hold nothing else, either.
    type: path
    default: /run/vcsp-lab
  owner:
    description: Checkout that the lab belongs to. A running lab of another checkout is refused.
    type: path
    required: true
  hosts:
    description: The two hosts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host, at most 15 letters, digits and C(-).
        type: str
        required: true
      management_address:
        description: IPv4 address on the management network.
        type: str
        required: true
      migration_address:
        description: IPv4 address on the migration link.
        type: str
        required: true
      os:
        description:
          - Operating system of the host. V(machine) shares this machine's files. The others are booted with systemd,
            and need what the role P(vcsp.testbed.local_lab#role) puts into O(state_dir) for them.
        type: str
        choices: [machine, debian-12, debian-13, debian-13-backports]
        default: machine
  controller_address:
    description: IPv4 address of this machine on the management network.
    type: str
    required: true
  prefix_length:
    description: Prefix length of both networks.
    type: int
    default: 24
  rate_mbit:
    description: Rate of the migration link in Mbit/s, in both directions.
    type: int
    default: 1000
  delay_us:
    description: Delay of the migration link in microseconds, one way, from program to program.
    type: int
    default: 100
  queue:
    description:
      - The queue before each end of the migration link. V(fair) lets connections take turns, V(fifo) is one for all.
    type: str
    choices: [fair, fifo]
    default: fair
  congestion_control:
    description: Congestion control of TCP on the migration link; the kernel has to have it.
    type: str
    default: cubic
  cpu_percent:
    description:
      - Share of this machine's processors that each host may use, in percent; V(100) sets no limit.
      - Needs the CPU controller of cgroups. cgroup v1 refuses a guest's vCPU quota that exceeds its host's share.
    type: int
    default: 100
"""
