# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nights on ansible-runner, with playbooks that put an experiment of ours where the real one would."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nightly_factory as factory
import pytest
import yaml

from ansible_collections.vcsp.testbed.analysis.nightly import run, store
from ansible_collections.vcsp.testbed.plugins.plugin_utils._experiment import lock
from ansible_collections.vcsp.testbed.plugins.plugin_utils._records.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
COPY = "cp -r {{ results_dir }}/../made {{ results_dir }}/{{ experiment_id }}"


def playbook(path: Path, *tasks: dict[str, Any]) -> Path:
    play = {"name": "A night", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks)}
    path.write_text(yaml.safe_dump([play]))
    return path


def shell(command: str) -> dict[str, Any]:
    return {"name": "Do", "ansible.builtin.shell": command, "vars": {"ansible_python_interpreter": sys.executable}}


@pytest.fixture
def job(tmp_path: Path) -> run.Job:
    """A night that measures, with an experiment of any name in ``made``."""
    made = factory.night(tmp_path, 1)
    made.rename(tmp_path / "made")
    return run.Job(
        tmp_path / "nightly",
        inventory=inventory(tmp_path),
        playbook=playbook(tmp_path / "night.yml", shell(COPY)),
        cleanup=playbook(tmp_path / "cleanup.yml", shell("touch {{ results_dir }}/cleaned")),
    )


def inventory(directory: Path) -> Path:
    (directory / "hosts").write_text("localhost ansible_connection=local\n")
    return directory / "hosts"


def night(job: run.Job, said: list[str] | None = None) -> Any:
    return run.run_night(job, (said if said is not None else []).append)


def test_a_night_is_run_and_judged(job: run.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "hunter2")
    monkeypatch.setenv("https_proxy", "http://user:hunter2@proxy")
    said: list[str] = []
    result = night(job, said)
    assert result.verdict.outcome == "learning"
    assert "A night" in said
    assert os.environ["CLOUD_TOKEN"] == "hunter2"
    kept = job.results / store.RUNS / result.verdict.night
    assert {path.name for path in kept.iterdir()} >= {"artifacts", "verdict.json", "verdict.md", "junit.xml"}
    assert kept.stat().st_mode & 0o777 == 0o700
    assert list(kept.glob("artifacts/night/job_events/*.json"))
    assert not [path for path in kept.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert store.read_state(job.results).running is None
    assert night(job).verdict.outcome == "learning"
    assert len(store.read_state(job.results).entries) == 2


def test_a_host_that_is_down_is_named(job: run.Job, tmp_path: Path) -> None:
    fails = {"name": "Reach the source", "ansible.builtin.fail": {"msg": "source does not answer"}}
    playbook(job.playbook, fails)
    result = night(job)
    assert result.verdict.outcome == "failed"
    assert "it ended before the first trial" in result.verdict.reasons
    assert "ansible: localhost: Reach the source: source does not answer" in result.verdict.reasons


def test_a_host_that_goes_down_in_the_middle_is_red(job: run.Job, tmp_path: Path) -> None:
    trials = tmp_path / "made" / "trials"
    gone = sorted(trials.iterdir())[-1]
    fails = {"name": "Migrate", "ansible.builtin.fail": {"msg": "destination does not answer"}}
    playbook(
        job.playbook, shell(f"{COPY} && rm -r {{{{ results_dir }}}}/{{{{ experiment_id }}}}/trials/{gone.name}"), fails
    )
    result = night(job)
    assert result.verdict.outcome == "failed"
    assert any(reason.startswith("not measured: repeat 4") for reason in result.verdict.reasons)
    assert "ansible: localhost: Migrate: destination does not answer" in result.verdict.reasons


def test_a_playbook_that_fails_after_all_trials_does_not_decide(job: run.Job) -> None:
    fails = {"name": "Report", "ansible.builtin.fail": {"msg": "1 of 8 trials has no valid record"}}
    playbook(job.playbook, shell(COPY), fails)
    result = night(job)
    assert result.verdict.outcome == "learning"
    assert "ansible: localhost: Report: 1 of 8 trials has no valid record" in result.verdict.notes


def test_a_night_that_takes_too_long_is_ended_and_tidied_up(job: run.Job, tmp_path: Path) -> None:
    playbook(job.playbook, shell(f"{COPY} && sleep 60"))
    started = time.monotonic()
    result = night(run.Job(**{**vars(job), "timeout_s": 3}))
    assert time.monotonic() - started < 40
    assert result.verdict.outcome == "failed"
    assert "ended after 3 s, its time limit" in result.verdict.reasons
    assert (job.results / "cleaned").exists()


def test_a_killed_controller_is_cleaned_up_by_the_next_night(job: run.Job, tmp_path: Path) -> None:
    store.mark_running(job.results, "2026-01-02-nightly-030000")
    said: list[str] = []
    assert night(job, said).verdict.outcome == "learning"
    assert any("was killed while it ran" in line for line in said)
    assert (job.results / "cleaned").exists()
    first, second = store.read_state(job.results).before(99)
    assert (first.id, first.outcome, second.outcome) == ("2026-01-02-nightly-030000", "failed", "learning")


def test_a_playbook_that_outlived_its_controller_is_ended(job: run.Job) -> None:
    killed = job.results / "2026-01-02-nightly-030000"
    killed.mkdir(parents=True)
    store.mark_running(job.results, killed.name)
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        lock.acquire(killed / ".lock", "run the experiment", "/src", orphan.pid)
        reaper = threading.Thread(target=orphan.wait)  # it is ours, and would otherwise stay as a zombie
        reaper.start()
        assert night(job).verdict.outcome == "learning"
        reaper.join(10)
        assert orphan.returncode == -signal.SIGINT


def test_a_second_night_at_once_is_refused(job: run.Job) -> None:
    job.results.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock.acquire(job.results / ".run.lock", "run the night", "/src", other.pid)
        with pytest.raises(InputError, match=f"another night is still running: process {other.pid}"):
            night(job)
        assert other.stdin is not None
        other.stdin.close()
    assert store.read_state(job.results).entries == ()


def test_a_full_disk_is_no_green_night(job: run.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device", "nightly.json")

    monkeypatch.setattr(store, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        night(job)
    monkeypatch.undo()
    assert night(job).verdict.outcome == "learning"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_disk_that_is_really_full_is_no_green_night(job: run.Job, tmp_path: Path, share: float) -> None:
    """From one that holds no state to one that holds most trials: an error, or a night that failed."""
    # A file takes whole pages of a disk in memory.
    pages = sum(1 + path.stat().st_size // 4096 for path in (tmp_path / "made").rglob("*"))
    kilobytes = max(4, int(4 * share * pages))
    job.results.mkdir()
    disk = str(job.results)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let its root mount")
    try:
        try:
            assert night(job).verdict.outcome == "failed"
        except OSError as error:
            assert error.errno == errno.ENOSPC
        # With room again, the next night tidies up and measures.
        subprocess.run(["mount", "-o", "remount,size=40M", disk], check=True)
        assert night(job).verdict.outcome == "learning"
        assert [each.outcome for each in store.read_state(job.results).before(99)][:-1] in ([], ["failed"])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_id_that_a_clock_gives_twice_is_used_once(job: run.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = run.datetime.now(run.UTC)

    class Stopped(run.datetime):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now

    monkeypatch.setattr(run, "datetime", Stopped)
    ids = [night(job).verdict.night for _ in range(2)]
    assert ids[1] == f"{ids[0]}-2"
    # Nor is that of a night that was killed before it was registered or had a directory.
    assert store.mark_running(job.results, f"{ids[0]}-3") is None
    after = night(job).verdict
    assert (after.night, after.outcome) == (f"{ids[0]}-4", "learning")


def test_the_command_ends_what_it_runs_when_it_is_ended(job: run.Job, tmp_path: Path) -> None:
    """As systemd and CI runners end a job: the run stops, the hosts are tidied up, and the night is failed."""
    playbook(job.playbook, shell(f"touch {tmp_path}/begun && sleep 60"))
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'collections');"
        "from ansible_collections.vcsp.testbed.analysis.nightly.run import Job, run_night;"
        f"job = Job(Path({str(job.results)!r}), inventory=Path({str(job.inventory)!r}),"
        f" playbook=Path({str(job.playbook)!r}), cleanup=Path({str(job.cleanup)!r}));"
        "print(run_night(job, print).verdict.outcome)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == "failed"
    assert (job.results / "cleaned").exists()


def test_the_night_is_a_playbook_of_its_own() -> None:
    [play] = yaml.safe_load((ROOT / "playbooks" / "nightly.yml").read_text())
    assert play["ansible.builtin.import_playbook"] == "experiment.yml"
    assert play["vars"] == {"scenario": "nightly", "results_dir": "results/nightly"}
