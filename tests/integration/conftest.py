# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The embedded lab and ways to talk to it. A lab that ran before the tests runs after them, else none does."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .faults import HEAL

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LAB_STATE = Path("/var/lib/vcsp-lab")
LAB_RUN = Path("/run/vcsp-lab")
ADDRESS = {"source": "198.18.0.11", "destination": "198.18.0.12"}
# Holds the lab's hosts to this share of the machine's processors: what only a fast machine can do shows.
CPU_PERCENT = os.environ.get("VCSP_LAB_CPU_PERCENT")
LAB_OPTIONS = ["-e", f"local_lab_cpu_percent={CPU_PERCENT}"] if CPU_PERCENT else []
# 8 MB with every known method: the thinnest experiment that shows them all, at a rate that every machine reaches. The
# window is long beside the second or two that a migration takes, so that slow hosts end it inside, too.
EVERY_METHOD = {
    "name": "every-method",
    "repeats": 1,
    "baseline_s": 1,
    "observation_s": 15,
    "workloads": [{"window_mb": 8, "rate_mb_per_s": 30}],
    "methods": ["post-copy", "post-copy-prefetching", "vcsp", "vcsp-prefetching"],
}
METHOD_SETTINGS = (
    "vcpu_quota_percent", "vcpu_period_us", "vcpu_quota_until", "prefetch_pages", "prefetch_policy",
    "prefetch_max_pages", "transfer", "postcopy_preempt", "max_postcopy_bandwidth_mb_per_s", "tls",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root there is no lab: say so instead of failing one by one."""
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="the embedded lab needs root"))


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"}


def playbook(*arguments: str, timeout_s: float = 600, **variables: str) -> Done:
    """Run ansible-playbook in the checkout; output and errors in one text."""
    return subprocess.run(
        [BIN / "ansible-playbook", *arguments, *LAB_OPTIONS],
        cwd=ROOT,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout_s,
    )


def start_playbook(log: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start ansible-playbook as the leader of a process group, as a shell does, so that it can be interrupted."""
    with log.open("w") as output:
        return subprocess.Popen(
            [BIN / "ansible-playbook", *arguments, *LAB_OPTIONS],
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )


def changes(output: str) -> dict[str, int]:
    """Host -> number of changed tasks in Ansible's recap."""
    return {
        host: int(number) for host, number in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
    }


def ssh(host: str, *command: str) -> list[str | Path]:
    """The command that runs another one on a lab host."""
    return [
        "ssh", "-F", "/dev/null", "-i", LAB_STATE / "ssh/id_ed25519", "-o", "IdentitiesOnly=yes",
        "-o", "LogLevel=ERROR", "-o", f"UserKnownHostsFile={LAB_STATE}/ssh/known_hosts",
        # A connection of its own for each of thousands of commands would take longer than they do.
        "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={LAB_RUN}/test-%C",
        f"root@{ADDRESS[host]}", *command,
    ]  # fmt: skip


def on(host: str, *command: str, check: bool = True) -> str:
    """Run a command on a lab host over SSH."""
    done = subprocess.run(
        ssh(host, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        start_new_session=True,  # Ctrl-C is for the tests, not for what they have begun
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def guests(host: str) -> list[str]:
    return on(host, "virsh", "list", "--all", "--name").split()


def bpf_programs() -> set[str]:
    """Our eBPF programs in the kernel: file descriptors of the lab's processes that refer to one."""
    networks = {os.stat(path).st_ino for path in glob.glob("/run/netns/vcsp-*")}
    found = set()
    for info in glob.glob("/proc/[0-9]*/fdinfo/*"):  # pathlib's raises where a process ends meanwhile
        try:
            text = Path(info).read_text()
            ours = os.stat(f"/proc/{info.split('/')[2]}/ns/net").st_ino in networks
        except OSError:
            continue
        # BPF_PROG_TYPE_SOCK_OPS, BPF_PROG_TYPE_SK_MSG
        if ours and ("prog_type:\t13" in text or "prog_type:\t16" in text):
            found.add(info)
    return found


def qemu_processes() -> int:
    """Number of QEMU processes of the lab's guests on both hosts."""
    return sum(len(on(host, "pgrep -x qemu-system-x86", check=False).split()) for host in ADDRESS)


# Asks the guest's workload to look at its memory; run by the host's own Python.
VERIFY = """
import libvirt
domain = libvirt.open("qemu:///system").lookupByName("vcsp-guest")
stream = domain.connect().newStream()
domain.openChannel("vcsp.telemetry", stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
stream.send(b"verify\\n")
text = b"\\n"
while b"\\nverified " not in text or not text.endswith(b"\\n"):
    text += stream.recv(65536)
print(text[text.index(b"\\nverified ") + 1:].split(b"\\n")[0].decode())
"""


def memory_verified(host: str) -> bool:
    """Whether the guest on a host finds its memory as it must be.

    After a guest was paused while its listener left, QEMU tells the next one nothing: that one is replaced.
    """
    for patience_s in (15, 100):
        said = on(host, f"timeout {patience_s} python3 -c '{VERIFY}'", check=False).split()
        if said[:1] == ["verified"]:
            break
    _word, pages, bad = said
    return int(pages) > 0 and int(bad) == 0


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
    return value


def write_scenario(directory: Path, **settings: Any) -> Path:
    """A scenario file: EVERY_METHOD with other settings."""
    path = directory / "scenario.yml"
    path.write_text(yaml.safe_dump({**EVERY_METHOD, **settings}))
    return path


def records(results: Path) -> dict[str, dict[str, Any]]:
    """Method -> record of the newest experiment."""
    found = [json.loads(path.read_text()) for path in (results / "latest" / "trials").glob("*/record.json")]
    return {record["trial"]["method"]["name"]: record for record in found}


@contextmanager
def torn_down(options: list[str], *labs: str) -> Iterator[None]:
    """Remove labs afterwards, and see that nothing of them is left.

    :param options: those of ansible-playbook that choose them.
    """
    try:
        yield
    finally:
        done = playbook("playbooks/teardown.yml", *options)
    assert done.returncode == 0, done.stdout
    for name in labs:
        assert not Path("/run", name).exists() and not Path("/var/lib", name).exists()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lab after one experiment with every method; gives the directory of its results."""
    ran_before = LAB_RUN.exists()
    directory = tmp_path_factory.mktemp("experiment")
    scenario = write_scenario(directory)
    results = directory / "results"
    try:
        done = playbook("experiment.yml", "-e", f"scenario={scenario}", "-e", f"results_dir={results}", timeout_s=1200)
        (directory / "output").write_text(done.stdout)
        assert done.returncode == 0, done.stdout
        yield results
    finally:
        if not ran_before:
            playbook("playbooks/teardown.yml")
        elif not LAB_RUN.exists():
            playbook("playbooks/lab.yml")


@pytest.fixture
def guest(lab: Path) -> Iterator[Callable[..., Done]]:
    """A guest running on the source, and a way to migrate it: ``guest(vcpu_quota_percent=50, ...)``."""
    saved = on("source", "ls /var/lib/libvirt/vcsp/states/*/*/1/0008mb-sequential-w20.save").split()[0]
    state = str(Path(saved).parents[1])
    module("source", "saved_guest", name="vcsp-guest", state="running", directory=state, workload={"window_mb": 8})

    def migrate(check: bool = False, **settings: Any) -> Done:
        return run_module("destination", "postcopy_migration", check=check, **migration_arguments(**settings))

    yield migrate
    end_guests()


def end_guests() -> None:
    """End the guest on both hosts, and every fault that a test which failed has left."""
    heal()
    for host in ADDRESS:
        on(host, "virsh", "destroy", "vcsp-guest", check=False)


def heal() -> None:
    """End every fault on both hosts."""
    for host in ADDRESS:
        on(host, HEAL, check=False)


def other(host: str) -> str:
    """The other one of the two hosts."""
    return "source" if host == "destination" else "destination"


def migration_arguments(to: str = "destination", **settings: Any) -> dict[str, Any]:
    """Arguments of the module that migrates the guest with these settings, those of its method among them."""
    method = {name: settings.pop(name) for name in METHOD_SETTINGS if name in settings}
    return {
        "name": "vcsp-guest", "source_uri": f"qemu+ssh://root@{other(to)}/system",
        "migration_address": ADDRESS[to].replace("198.18.0.", "198.18.1."),
        "method": method, **settings,
    }  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What a watcher saw right after a step of its (watcher.py, look); ``output`` is that of a command."""

    step: list[Any]
    output: str
    time_s: float
    source: str | None
    destination: str | None
    sent: int
    received: int
    watched: bool
    module: bool

    @property
    def split(self) -> bool:
        """Whether the guest was split over both hosts, and its memory on the way."""
        return self.source == self.destination == "postcopy-active"


def follow(migrate: Callable[[], Done], *steps: tuple[str, Any], to: str = "destination") -> tuple[Done, list[Seen]]:
    """Migrate while a watcher on the host that the guest goes to takes its steps (see watcher.py)."""
    command = ssh(to, "python3", "-", shlex.quote(json.dumps(steps)), other(to))
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as watcher,
        ThreadPoolExecutor(1) as pool,
    ):
        assert watcher.stdin is not None and watcher.stdout is not None
        watcher.stdin.write(Path(__file__).with_name("watcher.py").read_text())
        watcher.stdin.close()
        said = watcher.stdout.readline()
        assert said == "ready\n", said + watcher.stdout.read()
        migration = pool.submit(migrate)
        said = watcher.stdout.read()
        if watcher.wait() != 0:
            heal()  # else the migration waits for what the watcher was to end
        done = migration.result()
    assert watcher.returncode == 0, f"{said}\n{done.stdout}"
    return done, [Seen(**seen) for seen in json.loads(said)]


@pytest.fixture
def whole_bytes(lab: Path) -> int:
    """Bytes that a whole migration of the guest sends."""
    return 1024 * int(records(lab)["post-copy"]["measurements"]["sent_kb"])


@pytest.fixture
def at_moment(guest: Callable[..., Done], whole_bytes: int) -> Callable[..., tuple[Done, list[Seen]]]:
    """Migrate, and take steps from a moment of post-copy on: ``at_moment(moment, HOLD, ..., LET_GO)``.

    Gives how the module ended, and what was seen after each of the steps.
    """

    def migrate(moment: Any, *steps: tuple[str, Any], **changes: Any) -> tuple[Done, list[Seen]]:
        print(moment)
        arrived = ("arrived", round(moment.share * whole_bytes))
        done, (_first, *seen) = follow(lambda: guest(**{**moment.settings, **changes}), arrived, *steps)
        print(*seen, sep="\n")
        return done, seen

    return migrate


def run_module(host: str, module_name: str, /, check: bool = False, **arguments: Any) -> Done:
    command = [
        BIN / "ansible",
        host,
        "-m",
        f"vcsp.testbed.{module_name}",
        "-a",
        json.dumps(arguments),
        *(["--check"] if check else []),
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**environment(), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_STDOUT_CALLBACK": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        start_new_session=True,
    )


def module(host: str, module_name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection on a lab host and return its result."""
    done = run_module(host, module_name, **arguments)
    assert done.returncode == 0, done.stdout
    return result(done)


def result(done: Done) -> dict[str, Any]:
    """The module's return value in the output of ``ansible``."""
    return json.loads(done.stdout[done.stdout.index("=> ") + 3 :])
