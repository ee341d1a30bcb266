# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Results of hand-written readings; each validity rule is broken once."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.vcsp.testbed.plugins.module_utils._destination.prefetch import Request
from ansible_collections.vcsp.testbed.plugins.module_utils._guest.telemetry import Sample, Times, Verified
from ansible_collections.vcsp.testbed.plugins.module_utils._host.qmp import Event
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.instruments import Processors, SchedSample
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.readings import Readings
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.result import build
from ansible_collections.vcsp.testbed.plugins.module_utils._measure.series import trace
from ansible_collections.vcsp.testbed.plugins.module_utils._method import Method
from ansible_collections.vcsp.testbed.plugins.module_utils._options import Options

# The guest walks 1000 pages per second on both hosts, and half as many during post-copy from 100 s to 101 s.
STOP_S, RESUME_S, COMPLETED_S, END_S = 99.9, 100.0, 101.0, 104.0


def options(**changes: Any) -> Options:
    values: dict[str, Any] = {
        "name": "vcsp-guest",
        "source_uri": "qemu:///system",
        "destination_uri": "qemu:///system",
        "migration_address": "192.0.2.12",
        "method": Method(vcpu_quota_percent=50, prefetch_pages=10),
        "prefetch_program": Path("prefetch.bpf.o"),
        "window_mb": 1,
        "baseline_s": 2.0,
        "observation_s": 4.0,
        "verify": True,
        "end_guest": True,
        "files_dir": None,
        "cpu_latency_us": None,
        "run_state": "keep",
        "timeout_s": 300.0,
        "stall_timeout_s": 15.0,
    }
    return Options(**values | changes)


REQUEST = Request(100.5, "pc.ram", 8192, 4096, 4096, 40960)


def event(time_s: float, host: str, name: str, **data: Any) -> tuple[float, Event]:
    return time_s, Event(host, name, data, 0.0)


def sched(time_s: float, *threads: tuple[float, float]) -> SchedSample:
    """A sample of threads, of each the time on a processor and in its queue."""
    on_cpu, queued = zip(*threads, strict=True)
    return SchedSample(time_s, on_cpu, queued, tuple(each / 4 for each in on_cpu))


def line(time_s: float, pages: int, host: str, boot: str = "boot-1") -> Sample:
    return Sample(time_s, host, boot, time_s, pages, int(time_s), time_s * 2, (pages,))


SCHED = (sched(99.5, (0.0, 0.0)), sched(100.5, (0.2, 0.1)), sched(101.5, (0.6, 0.3)), sched(104.5, (3.6, 0.3)))


def channel(*samples: Sample) -> Any:
    times = [
        Times(each.time_s, each.host, each.boot, 3.5 if each.time_s > RESUME_S else 0.1, {14: each.pages})
        for each in samples
    ]
    return SimpleNamespace(samples=list(samples), times=times)


def readings(**changes: Any) -> Readings:
    values: dict[str, Any] = {
        "events": [
            event(99.8, "source", "MIGRATION", status="setup"),
            event(STOP_S, "source", "STOP"),
            event(STOP_S, "source", "MIGRATION", status="postcopy-active"),
            event(RESUME_S, "destination", "RESUME"),
            event(COMPLETED_S, "destination", "MIGRATION", status="completed"),
        ],
        "clock_offset_s": (0.002, 0.0005),
        "clock_measured_s": 99.8,
        "sched": SimpleNamespace(
            samples=[
                sched(99.5, (0.0, 0.0)),
                sched(100.5, (0.2, 0.1)),
                sched(101.5, (0.6, 0.3)),
                sched(104.5, (3.6, 0.3)),
            ]
        ),
        "processors_before": Processors(stolen=30, all=1000),
        "processors_after": Processors(stolen=130, all=1800),
        "source_channel": channel(*(line(s, int((s - 97) * 1000), "source") for s in (97.0, 98.0, 99.0, 99.9))),
        "destination_channel": channel(
            line(100.0, 2900, "destination"), line(101.0, 3400, "destination"), line(104.1, 6500, "destination")
        ),
        "source_migrate": {"ram": {"postcopy-requests": 1000, "transferred": 2048, "normal": 7}},
        "destination_migrate": {"postcopy-blocktime": 12, "status": "completed"},
        "capabilities": {"postcopy-ram": True, "postcopy-preempt": True},
        "vcpu_threads": (7,),
        "trace": trace([REQUEST] * 1000, RESUME_S, gzip=False),
        "requests_seen": 1000,
        "observation_end_s": END_S,
        "throttled_s": 0.25,
        "quota_lifted_s": 101.01,
        "released_s": 100.9,
        "verified": Verified(256, 0),
        "huge_pages_mb": 0.0,
    }
    return Readings(**values | changes)


def text_of(packed: bytes) -> list[str]:
    return zlib.decompress(packed).decode().splitlines()


def without(name: str, **data: Any) -> Callable[[Readings], None]:
    """Break readings by removing the matching events."""

    def change(found: Readings) -> None:
        found.events = [
            (time_s, happened)
            for time_s, happened in found.events
            if not (happened.name == name and data.items() <= happened.data.items())
        ]

    return change


def test_measurements() -> None:
    found = build(options(), readings())
    assert found["validity"] == {"valid": True, "reasons": []}
    mb = 1000 / 256  # 1000 pages
    assert found["measurements"] == {
        "stop_and_copy_ms": pytest.approx(100.0),
        # 1 s minus 0.4 s on a processor and 0.2 s in its queue
        "page_wait_ms": pytest.approx(400.0),
        "downtime_ms": pytest.approx(500.0),
        "total_migration_time_s": pytest.approx(1.1),
        "page_requests": 1000,
        "pages_sent": 7,
        "sent_kb": 2.0,
        "throughput_mb_per_s": pytest.approx(3.5 * mb / 4),
        "baseline_mb_per_s": pytest.approx(mb),
        "steady_mb_per_s": pytest.approx(mb),
        "stall_loss_s": pytest.approx(0.5),
        "slow_down_percent": pytest.approx(0.0, abs=1e-9),
        "throttled_ms": 250.0,
        "window_walk_s": pytest.approx(256 / 500),
        "postcopy_rate_mb_per_s": pytest.approx(mb / 2),
        "link_mbit_per_s": pytest.approx(2048 * 8 / 1e6 / 1.1),
    }


def test_instruments_events_and_files() -> None:
    found = build(options(), readings())
    assert found["instruments"]["schedstat"]["values"]["run_queue_ms"] == pytest.approx(200.0)
    schedstat = found["instruments"]["schedstat"]["values"]
    # From 100 s to 104 s, and once the rate is steady: the whole of the last two seconds.
    assert schedstat["window_on_cpu_ms"] == pytest.approx(3100)
    assert schedstat["window_kernel_ms"] == pytest.approx(3100 / 4)
    assert schedstat["steady_on_cpu_percent"] == pytest.approx(100)
    assert schedstat["steady_kernel_percent"] == pytest.approx(25)
    assert schedstat["page_wait_until_walked_ms"] > 0
    assert schedstat["page_wait_until_walked_ms"] + schedstat["page_wait_after_walked_ms"] == pytest.approx(
        schedstat["page_wait_ms"]
    )
    assert found["instruments"]["cgroup"]["values"] == {"throttled_ms": 250.0}
    assert found["instruments"]["processors"]["values"] == {"stolen_percent": 12.5}
    times = found["instruments"]["visit_times"]["values"]
    assert times["longest_ms"] == 3.5
    assert times["histogram"] == {"14": times["visits"]}
    assert found["instruments"]["qemu_blocktime"]["values"] == {"postcopy_blocktime": 12}
    assert found["instruments"]["request_trace"]["values"] == {
        "requests": 1000,
        "asked_kb": 4000.0,
        "sent_kb": 40000.0,
        "gaps": {"0": 999},
    }
    assert found["instruments"]["cpu_latency"] == {"present": False, "reason": "not requested", "values": {}}
    assert found["clock_offset"] == {"offset_ms": 2.0, "bound_ms": 0.5}
    assert found["memory_verified"] is True
    times = {(item["host"], item["name"]): item["time_s"] for item in found["events"]}
    assert times["destination", "RESUME"] == 0.0
    assert times["source", "STOP"] == pytest.approx(-0.1)
    assert times["module", "QUOTA_LIFTED"] == pytest.approx(1.01)
    assert [item["time_s"] for item in found["events"]] == sorted(item["time_s"] for item in found["events"])
    telemetry = text_of(found["files"]["telemetry.csv"])
    assert telemetry[0] == "time_s,host,pages,stalls,stall_ms"
    assert len(telemetry) == 1 + 7
    assert text_of(found["files"]["requests.csv"]) == [
        "time_s,block,start,asked,sent_start,sent",
        *["0.500000,pc.ram,8192,4096,4096,40960"] * 1000,
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"taken_over": True}, "an interrupted migration was completed; it was not measured"),
        ({"recoveries": 2}, "the migration stalled and was recovered 2 times"),
        ({"observation_end_s": 100.8}, "the migration ended 0.2 s after the observation window"),
        ({"verified": Verified(256, 3)}, "the guest's memory is wrong on 3 of 256 pages"),
        ({"verified": Verified(0, 0)}, "the guest's memory is wrong on 0 of 0 pages"),
        ({"verified": None}, "the guest's memory was not verified"),
        ({"capabilities": {"postcopy-preempt": True}}, "the capability postcopy-ram was not in force"),
        (
            {"capabilities": {"postcopy-ram": True, "postcopy-preempt": False}},
            "the capability postcopy-preempt was not in force",
        ),
        ({"requests_seen": 1100}, "the request trace saw 1100 requests, QEMU's source counted 1000"),
        ({"requests_seen": 1021}, "the request trace saw 1021 requests, QEMU's source counted 1000"),
        ({"source_migrate": {}}, "page_requests could not be measured"),
        ({"sched": None}, "downtime_ms could not be measured"),
        (
            {"source_channel": None, "destination_channel": None},
            "throughput_mb_per_s could not be measured",
        ),
        (
            {"destination_channel": channel(line(100.0, 2900, "destination", "boot-2"), line(104.1, 1, "destination"))},
            "the guest rebooted",
        ),
    ],
)
def test_a_trial_that_breaks_a_rule_is_invalid(changes: dict[str, Any], reason: str) -> None:
    validity = build(options(), readings(**changes))["validity"]
    assert validity == {"valid": False, "reasons": [reason]}


@pytest.mark.parametrize("host", ["source", "destination"])
def test_a_guest_without_telemetry_that_rebooted_is_told_by_its_reset(host: str) -> None:
    found = readings()
    found.events.append(event(102.0, host, "RESET", guest=True))
    assert build(options(), found)["validity"]["reasons"] == ["the guest rebooted"]


@pytest.mark.parametrize(("run_state", "now"), [("paused", "is paused"), ("running", "was resumed")])
def test_a_guest_that_its_operator_paused_is_not_measured(run_state: str, now: str) -> None:
    found = build(options(), readings(was_paused=True, run_state=run_state))
    assert found["run_state"] == run_state
    assert found["validity"]["reasons"] == [
        f"its operator paused the guest before the switch; it {now} on the destination"
    ]


def test_a_migration_that_ended_before_post_copy_is_invalid() -> None:
    found = readings()
    without("MIGRATION", status="postcopy-active")(found)
    validity = build(options(), found)["validity"]
    assert "the migration ended before post-copy began" in validity["reasons"]


def test_small_differences_between_instruments_are_tolerated() -> None:
    assert build(options(), readings(requests_seen=1020))["validity"]["valid"]
    few = {"ram": {"postcopy-requests": 10, "transferred": 0, "normal": 0}}
    assert build(options(), readings(requests_seen=26, source_migrate=few))["validity"]["valid"]
    assert not build(options(), readings(requests_seen=27, source_migrate=few))["validity"]["valid"]


def test_rules_apply_only_to_what_was_requested() -> None:
    push = readings(capabilities={"postcopy-ram": True}, verified=None, observation_end_s=None, requests_seen=None)
    assert build(options(method=Method(transfer="push"), verify=False, observation_s=None), push)["validity"]["valid"]


@pytest.mark.parametrize(
    ("share", "is_caution", "is_valid"),
    [(0.95, False, True), (1.15, True, True), (0.85, True, True), (1.3, False, False)],
)
def test_a_guest_off_its_rate_is_pointed_out_or_invalid(share: float, is_caution: bool, is_valid: bool) -> None:
    rate = 1000 / 256  # that of the readings
    found = build(options(rate_mb_per_s=rate / share), readings())
    said = [f"the guest ran at {rate:.1f} MB/s before the migration instead of {rate / share:.1f}"]
    assert found["cautions"] == (said if is_caution else [])
    assert found["validity"] == {"valid": is_valid, "reasons": [] if is_valid else said}
    assert build(options(rate_mb_per_s=rate / share, baseline_s=0.0), readings(source_channel=None))["cautions"] == []


def test_a_quota_that_was_tighter_already_is_said() -> None:
    found = build(options(), readings(tighter_quota="30 % of a processor"))["validity"]
    assert found["reasons"] == [
        "the requested quota was not in force: the guest had a tighter one, 30 % of a processor"
    ]


@pytest.mark.parametrize("encrypted", [True, False, None])
def test_a_migration_that_was_to_be_encrypted_was(encrypted: bool | None) -> None:
    changes = {"encrypted": encrypted, "trace": None, "requests_seen": None, "prefetch_absent": "TLS hides them"}
    found = build(options(method=Method(vcpu_quota_percent=50, tls=True)), readings(**changes))
    assert found["validity"]["reasons"] == ([] if encrypted else ["the migration was not encrypted"])
    assert found["instruments"]["tls"]["values"] == ({} if encrypted is None else {"encrypted": encrypted})


def test_a_lost_connection_or_a_guest_already_home_is_invalid() -> None:
    lost = build(options(), readings(connections_lost=["source"]))["validity"]
    assert lost["reasons"] == ["the connection to the source's libvirt was lost"]
    home = build(options(), readings(was_home=True))
    assert home["was_home"] is True
    assert home["validity"]["valid"] is False


def test_missing_readings_give_none_and_never_zero() -> None:
    found = build(options(), Readings())
    assert set(found["measurements"].values()) == {None}
    assert len(found["measurements"]) == 16
    assert found["memory_verified"] is None
    assert found["clock_offset"] is None
    assert found["files"] == {}
    assert not found["validity"]["valid"]
    for name in (
        "schedstat",
        "cgroup",
        "qemu_blocktime",
        "guest_stalls",
        "visit_times",
        "request_trace",
        "tls",
        "cpu_latency",
        "processors",
    ):
        assert found["instruments"][name]["present"] is False, name
        assert found["instruments"][name]["reason"], name


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (
            without("STOP"),
            {
                "stop_and_copy_ms",
                "downtime_ms",
                "baseline_mb_per_s",
                "slow_down_percent",
                "total_migration_time_s",
                "link_mbit_per_s",
            },
        ),
        (lambda found: setattr(found, "sched", None), {"page_wait_ms", "downtime_ms"}),
        (lambda found: setattr(found, "throttled_s", None), {"throttled_ms"}),
        (
            lambda found: setattr(found, "source_migrate", {}),
            {"page_requests", "pages_sent", "sent_kb", "link_mbit_per_s"},
        ),
        (
            lambda found: setattr(found, "observation_end_s", None),
            {"throughput_mb_per_s", "steady_mb_per_s", "stall_loss_s", "slow_down_percent"},
        ),
        (without("MIGRATION", status="postcopy-active"), set()),
    ],
    ids=["stop", "schedstat", "cgroup", "qemu", "observation", "switch"],
)
def test_a_missing_reading_affects_only_what_needs_it(change: Callable[[Readings], None], missing: set[str]) -> None:
    found = readings()
    change(found)
    measurements = build(options(), found)["measurements"]
    assert {name for name, value in measurements.items() if value is None} == missing


def paused_on(host: str, start_s: float, end_s: float) -> list[tuple[float, Event]]:
    return [event(start_s, host, "STOP"), event(end_s, host, "RESUME")]


def with_events(*more: tuple[float, Event], before_switch: int = 0, **changes: Any) -> Readings:
    """Readings with more events, of which so many came before the switch was requested."""
    found = readings(**changes)
    found.events = sorted([*found.events, *more], key=lambda item: item[0])
    found.events_before_switch = before_switch
    return found


def test_a_pause_in_the_baseline_is_not_the_blackout_and_makes_the_trial_invalid() -> None:
    found = build(options(), with_events(*paused_on("source", 98.5, 99.5), before_switch=3))
    assert found["measurements"]["stop_and_copy_ms"] == pytest.approx(100.0)
    assert found["measurements"]["total_migration_time_s"] == pytest.approx(1.1)
    assert found["validity"]["reasons"] == ["the guest was paused for 1.0 s in the baseline"]


def test_the_baseline_ends_where_the_migration_begins() -> None:
    found = with_events(event(97.5, "source", "MIGRATION", status="setup"))  # of a migration that came to nothing
    found.events = [
        event(99.0, "source", "MIGRATION", status="setup") if time_s == 99.8 else (time_s, happened)
        for time_s, happened in found.events
    ]
    lines = ((96.9, 0), (98.0, 1100), (99.0, 2100), (99.9, 2300))  # slow once QEMU logs what the guest writes
    found.source_channel = channel(*(line(time_s, pages, "source") for time_s, pages in lines))
    assert build(options(), found)["measurements"]["baseline_mb_per_s"] == pytest.approx(1000 / 256)


def test_a_pause_before_the_baseline_does_not_matter() -> None:
    found = build(options(), with_events(*paused_on("source", 96.0, 97.5), before_switch=3))
    assert found["validity"]["valid"]


def test_a_guest_that_was_paused_before_the_baseline_and_resumed_in_it_counts_as_paused() -> None:
    found = build(options(), with_events(event(98.3, "source", "RESUME"), before_switch=2))
    assert found["validity"]["reasons"] == ["the guest was paused for 0.5 s in the baseline"]


def test_a_guest_that_is_paused_at_the_switch_has_no_blackout() -> None:
    found = readings()
    found.events_before_switch = 2  # its stop came before the switch was requested
    built = build(options(), found)
    assert built["measurements"]["stop_and_copy_ms"] is None
    assert built["measurements"]["downtime_ms"] is None
    assert built["validity"]["reasons"][0] == "the guest was paused at the switch, so the migration had nothing to stop"


def test_the_stop_of_an_attempt_that_gave_the_guest_back_is_not_the_migrations() -> None:
    found = build(options(baseline_s=0.0), with_events(*paused_on("source", 99.82, 99.85)))
    assert found["measurements"]["stop_and_copy_ms"] == pytest.approx(100.0)


def test_a_guest_that_runs_on_the_source_has_no_stop() -> None:
    found = build(options(), with_events(event(99.95, "source", "RESUME")))
    assert found["measurements"]["stop_and_copy_ms"] is None


def test_a_pause_in_the_observation_window_makes_the_trial_invalid() -> None:
    ended = build(options(), with_events(*paused_on("destination", 102.0, 103.5)))["validity"]
    assert ended["reasons"] == ["the guest was paused for 1.5 s in the observation window"]
    lasting = build(options(), with_events(event(102.0, "destination", "STOP")))["validity"]
    assert lasting["reasons"] == ["the guest was paused for 2.0 s in the observation window"]
    later = build(options(), with_events(*paused_on("destination", 104.5, 105.0)))["validity"]
    assert later["valid"]


def test_without_an_observation_window_a_pause_counts_until_the_last_page() -> None:
    found = with_events(*paused_on("destination", 100.5, 103.0), observation_end_s=None)
    reasons = build(options(observation_s=None), found)["validity"]["reasons"]
    assert reasons == ["the guest was paused for 0.5 s during post-copy"]


def test_a_later_migration_of_the_guest_to_elsewhere_changes_nothing() -> None:
    again = with_events(event(103.0, "destination", "MIGRATION", status="completed"))
    assert build(options(), again)["measurements"] == build(options(), readings())["measurements"]


@pytest.mark.parametrize("switched_s", [STOP_S - 0.005, STOP_S + 0.005, COMPLETED_S - 0.01])
def test_the_total_time_begins_at_the_stop_whenever_qemu_reports_post_copy(switched_s: float) -> None:
    found = readings()
    without("MIGRATION", status="postcopy-active")(found)
    found.events.append(event(switched_s, "source", "MIGRATION", status="postcopy-active"))
    assert build(options(), found)["measurements"]["total_migration_time_s"] == pytest.approx(1.1)


def test_a_migration_that_completes_before_the_guest_resumes_is_invalid() -> None:
    late = readings()
    without("RESUME")(late)
    late.events.append(event(101.5, "destination", "RESUME"))
    assert "the migration completed before the guest resumed" in build(options(), late)["validity"]["reasons"]


TWO_VCPUS: dict[str, Any] = {
    "vcpu_threads": (7, 8),
    "sched": SimpleNamespace(samples=[sched(99.5, (0.0, 0.0), (0.0, 0.0)), sched(COMPLETED_S, (0.4, 0.2), (0.6, 0.2))]),
}


def two_walkers(found: Readings) -> Readings:
    for name in ("source_channel", "destination_channel"):
        samples = getattr(found, name).samples
        halves = [replace(sample, visits=(sample.pages // 2, sample.pages - sample.pages // 2)) for sample in samples]
        setattr(found, name, channel(*halves))
    return found


def test_with_several_busy_vcpus_downtime_is_the_blackout_and_the_mean_page_wait() -> None:
    found = build(options(), two_walkers(readings(**TWO_VCPUS)))
    assert found["validity"] == {"valid": True, "reasons": []}
    values = found["instruments"]["schedstat"]["values"]
    assert values["vcpu_page_wait_ms"] == pytest.approx([400.0, 200.0])
    assert (values["vcpu_page_wait_mean_ms"], values["vcpu_page_wait_max_ms"]) == pytest.approx((300.0, 400.0))
    assert found["measurements"]["page_wait_ms"] == pytest.approx(600.0)
    assert found["measurements"]["downtime_ms"] == pytest.approx(400.0)


@pytest.mark.parametrize("silent", [False, True], ids=["one walker on two vCPUs", "a guest without the workload"])
def test_a_guest_whose_vcpus_may_idle_has_no_downtime_and_stays_valid(silent: bool) -> None:
    channels = {"source_channel": None, "destination_channel": None} if silent else {}
    found = build(options(observation_s=None), readings(**TWO_VCPUS, **channels, observation_end_s=None))
    assert found["measurements"]["downtime_ms"] is None
    assert found["measurements"]["page_wait_ms"] == pytest.approx(600.0)
    assert found["validity"] == {"valid": True, "reasons": []}
    assert "idle" in found["instruments"]["schedstat"]["reason"]


def test_a_full_trace_says_how_many_requests_it_lacks() -> None:
    found = build(options(), readings(trace=trace([REQUEST] * 900, RESUME_S, gzip=False)))
    entry = found["instruments"]["request_trace"]
    assert entry["values"] == {"requests": 1000, "dropped": 100}
    assert entry["reason"] == "the trace is full: the last 100 requests were only counted"
    assert found["validity"]["valid"]


def test_files_for_a_folder_are_gzip_files() -> None:
    packed = trace([REQUEST], RESUME_S, gzip=True)
    found = build(options(files_dir=Path("/somewhere")), readings(trace=packed))["files"]
    assert gzip.decompress(found["requests.csv"]).decode().splitlines()[1] == "0.500000,pc.ram,8192,4096,4096,40960"
    assert gzip.decompress(found["telemetry.csv"]).startswith(b"time_s,host,")


def test_a_trace_counts_the_times_between_requests_for_guest_memory() -> None:
    times = ((100.0, "pc.ram"), (100.0003, "pc.ram"), (100.0004, None), (100.0008, "pc.ram"), (100.0008, "pc.ram"))
    requests = (REQUEST._replace(time_s=time_s, block=block) for time_s, block in times)
    assert trace(requests, 0.0, gzip=False).gaps == {8: 2, 0: 1}  # 300, 500 and 0 us


def test_a_trace_is_packed_without_holding_its_requests() -> None:
    alive = 0

    class Counted(Request):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def requests() -> Iterator[Request]:
        nonlocal alive
        for _ in range(1000):
            alive += 1
            assert alive <= 3
            yield Counted(*REQUEST)

    assert trace(requests(), 0.0, gzip=False).recorded == 1000


def test_a_clock_that_was_set_makes_the_trial_invalid() -> None:
    found = build(options(), readings(clocks_set={"destination"}))["validity"]
    assert found["reasons"] == ["the clock of the destination was set during the migration"]


def test_a_source_that_seems_to_complete_before_the_destination_had_its_clock_set_back() -> None:
    early = with_events(event(COMPLETED_S - 0.01, "source", "MIGRATION", status="completed"), switch_requested_s=99.85)
    assert build(options(), early)["validity"]["reasons"] == ["the clock of the source was set during the migration"]


def test_a_source_that_seems_to_stop_before_it_was_asked_to_had_its_clock_set_back() -> None:
    found = build(options(), readings(switch_requested_s=STOP_S + 0.001))["validity"]
    assert found["reasons"] == ["the clock of the source was set during the migration"]
    within_the_error = build(options(), readings(switch_requested_s=STOP_S + 0.0004))["validity"]
    assert within_the_error["valid"]


@pytest.mark.parametrize(("end_s", "gap_ms"), [(COMPLETED_S + 0.3, 400.0), (COMPLETED_S + 2.0, 700.0)])
def test_a_guest_that_is_no_longer_observed_may_be_silent(end_s: float, gap_ms: float) -> None:
    source = (line(RESUME_S - each / 10, 1000 - each, "source") for each in (9, 6, 3, 1))
    after = (*(RESUME_S + each / 10 for each in (0, 4, 8)), COMPLETED_S + 0.2, COMPLETED_S + 0.9)
    there = (line(time_s, 1000 + n, "destination") for n, time_s in enumerate(after))
    found = build(
        options(),
        readings(observation_end_s=end_s, source_channel=channel(*source), destination_channel=channel(*there)),
    )
    assert found["instruments"]["guest_stalls"]["values"]["longest_gap_ms"] == pytest.approx(gap_ms)
