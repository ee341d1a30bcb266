# Copyright: vcsp.testbed contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the readings of a migration to the module's return value, by pure functions."""

from __future__ import annotations

from typing import Any

from .._guest.telemetry import Sample, Times
from .._options import Options
from . import metrics, series
from .moments import began_s, clocks_set, completed_s, paused_at_switch, pauses, resumed_s, stopped_s
from .readings import Readings
from .visit_times import visit_times

# Beyond these bounds, two instruments for the same thing contradict each other.
REQUESTS_TOLERANCE = 0.02
REQUESTS_TOLERANCE_MIN = 16
# A guest that is off its rate by more than the first share is pointed out; by more than the second, it is another one.
RATE_CAUTION, RATE_BOUND = 0.10, 0.25
# The guest's workload reports this often.
SAMPLE_PERIOD_S = 0.1


def build(options: Options, readings: Readings) -> dict[str, Any]:
    """The module's return value; ``files`` maps names to compressed contents."""
    resumed = resumed_s(readings)
    measurements = measure(options, readings, resumed)
    verified = readings.verified
    return {
        "measurements": measurements,
        "instruments": instruments(options, readings, resumed),
        "events": events(readings, resumed),
        "clock_offset": clock_offset(readings),
        "memory_verified": None if verified is None else verified.bad == 0 and verified.pages > 0,
        "validity": validity(options, readings, measurements),
        "cautions": cautions(options, measurements),
        "files": files(options, readings, resumed),
        "recoveries": readings.recoveries,
        "taken_over": readings.taken_over,
        "was_home": readings.was_home,
        "run_state": readings.run_state,
    }


def measure(options: Options, readings: Readings, resumed: float | None) -> dict[str, float | None]:
    """Measurements as docs/measurement.md defines them; None where a reading is missing."""
    stopped, completed = stopped_s(readings), completed_s(readings)
    ram = readings.source_migrate.get("ram", {})
    found: dict[str, float | None] = dict.fromkeys((
        "downtime_ms", "stop_and_copy_ms", "page_wait_ms", "total_migration_time_s", "page_requests", "pages_sent",
        "sent_kb", "throughput_mb_per_s", "baseline_mb_per_s", "steady_mb_per_s", "stall_loss_s", "slow_down_percent",
        "throttled_ms", "window_walk_s", "postcopy_rate_mb_per_s", "link_mbit_per_s",
    ))  # fmt: skip
    if ram:
        found["page_requests"] = ram.get("postcopy-requests")
        found["sent_kb"] = ram["transferred"] / 1024
        found["pages_sent"] = ram.get("normal")
    if resumed is None or completed is None:
        return found
    if stopped is not None:
        found["total_migration_time_s"] = completed - stopped
        found["stop_and_copy_ms"] = (resumed - stopped) * 1000
    waits = page_waits_ms(readings, resumed, completed)
    if waits is not None:
        found["page_wait_ms"] = sum(waits)
    if waits and found["stop_and_copy_ms"] is not None and keeps_vcpus_busy(readings):
        found["downtime_ms"] = found["stop_and_copy_ms"] + sum(waits) / len(waits)
    found["throttled_ms"] = _ms(readings.throttled_s)
    if found["sent_kb"] is not None and found["total_migration_time_s"]:
        found["link_mbit_per_s"] = found["sent_kb"] * 1024 * 8 / 1e6 / found["total_migration_time_s"]
    found.update(guest_view(options, readings, stopped, resumed, completed))
    return found


def page_waits_ms(readings: Readings, resumed: float, completed: float) -> list[float] | None:
    """Page wait of each vCPU in ms; None if it was not sampled."""
    return None if readings.sched is None else metrics.page_waits_ms(readings.sched.samples, resumed, completed)


def keeps_vcpus_busy(readings: Readings) -> bool:
    """Whether the guest has a walker on each vCPU: schedstat cannot tell an idle one's sleep from a wait for a page."""
    samples = all_samples(readings)
    return bool(samples) and len(samples[0].visits) >= len(readings.vcpu_threads)


def guest_view(
    options: Options, readings: Readings, stopped: float | None, resumed: float, completed: float
) -> dict[str, float | None]:
    """Measurements from the guest's telemetry."""
    samples = all_samples(readings)
    curve = metrics.pages_curve(samples, stopped, resumed)
    found: dict[str, float | None] = {}
    began = began_s(readings)
    if began is not None and options.baseline_s > 0:
        found["baseline_mb_per_s"] = metrics.rate_mb_per_s(curve, began - options.baseline_s, began)
    found["postcopy_rate_mb_per_s"] = metrics.rate_mb_per_s(curve, resumed, completed)
    if options.window_pages is not None:
        found["window_walk_s"] = metrics.window_walk_s(samples, stopped, resumed, options.window_pages)
    end = readings.observation_end_s
    if end is None:
        return found
    throughput = found["throughput_mb_per_s"] = metrics.rate_mb_per_s(curve, resumed, end)
    window = metrics.steady_window(completed, end)
    steady = found["steady_mb_per_s"] = None if window is None else metrics.rate_mb_per_s(curve, *window)
    baseline = found.get("baseline_mb_per_s")
    if steady and throughput is not None:
        found["stall_loss_s"] = (end - resumed) * (1 - throughput / steady)
    if steady is not None and baseline:
        found["slow_down_percent"] = 100 * (1 - steady / baseline)
    return found


def instruments(options: Options, readings: Readings, resumed: float | None) -> dict[str, dict[str, Any]]:
    """Values of every instrument; an absent one is marked as such, with the reason."""
    completed = completed_s(readings)
    found: dict[str, dict[str, Any]] = {}

    def put(name: str, values: dict[str, Any], missing: str, note: str | None = None) -> None:
        values = {key: value for key, value in values.items() if value is not None}
        found[name] = {"present": bool(values), "reason": note if values else missing, "values": values}

    sched: dict[str, Any] = {}
    if readings.sched is not None and resumed is not None and completed is not None:
        waits = page_waits_ms(readings, resumed, completed)
        if waits:
            sched = {
                "page_wait_ms": sum(waits),
                "vcpu_page_wait_ms": waits,
                "vcpu_page_wait_mean_ms": sum(waits) / len(waits),
                "vcpu_page_wait_max_ms": max(waits),
            }
        released = readings.released_s
        if waits and released is not None and resumed < released < completed:
            until = page_waits_ms(readings, resumed, released)
            # Between two samples of schedstat it is interpolated, so it may come out as a little more than the whole.
            until_ms = 0.0 if until is None else min(sum(until), sum(waits))
            sched["page_wait_until_walked_ms"] = until_ms
            sched["page_wait_after_walked_ms"] = sum(waits) - until_ms
        sched["run_queue_ms"] = metrics.run_queue_ms(readings.sched.samples, resumed, completed)
        sched |= _processor(readings, resumed, completed)
    idle = "there is no downtime: vCPUs may have been idle, which schedstat cannot tell from waiting for a page"
    put(
        "schedstat",
        sched,
        "no vCPU thread could be sampled between resume and completion",
        None if keeps_vcpus_busy(readings) else idle,
    )
    put("cgroup", {"throttled_ms": _ms(readings.throttled_s)}, "no quota was set, or the kernel does not report it")
    put("processors", {"stolen_percent": _stolen_percent(readings)}, "the kernel does not report it")
    blocktime = {
        key.replace("-", "_"): value
        for key, value in readings.destination_migrate.items()
        if key.startswith(("postcopy-blocktime", "postcopy-latency", "postcopy-vcpu", "postcopy-non-vcpu"))
    }
    put("qemu_blocktime", blocktime, "this QEMU reports no postcopy-blocktime")
    guest: dict[str, Any] = {}
    samples = all_samples(readings)
    if samples and resumed is not None and completed is not None:
        before = [sample for sample in samples if sample.time_s <= resumed]
        after = [sample for sample in samples if sample.time_s <= completed + 0.2]
        if before and after:
            guest["stalls"] = after[-1].stalls - before[-1].stalls
            guest["stall_ms"] = after[-1].stall_ms - before[-1].stall_ms
        # Once it is no longer observed, the guest is silent while it looks at its memory.
        observed = completed + 1 if readings.observation_end_s is None else readings.observation_end_s
        guest["longest_gap_ms"] = metrics.longest_gap_ms(samples, resumed - 1, min(completed + 1, observed))
    put("guest_stalls", guest, "the guest has no telemetry channel, or sent nothing")
    end = completed if readings.observation_end_s is None else readings.observation_end_s
    visits = {} if resumed is None or end is None else visit_times(all_times(readings), resumed, end + SAMPLE_PERIOD_S)
    put("visit_times", visits, "the guest has no telemetry channel, or sent nothing")
    requests: dict[str, Any] = {}
    dropped = 0
    if readings.trace is not None and readings.requests_seen is not None:
        dropped = readings.requests_seen - readings.trace.recorded
        requests = {"requests": readings.requests_seen, "dropped": dropped or None}
        if not dropped:
            requests["asked_kb"] = readings.trace.asked_bytes / 1024
            requests["sent_kb"] = readings.trace.sent_bytes / 1024
            gaps = readings.trace.gaps
            requests["gaps"] = {str(bit): gaps[bit] for bit in sorted(gaps)} or None
    put(
        "request_trace",
        requests,
        readings.prefetch_absent or "the program was not loaded",
        f"the trace is full: the last {dropped} requests were only counted" if dropped else None,
    )
    bound = None if readings.cpu_latency_absent else options.cpu_latency_us
    put("cpu_latency", {"bound_us": bound}, readings.cpu_latency_absent or "not requested")
    put("tls", {"encrypted": readings.encrypted}, "not requested")
    put(
        "huge_pages",
        {"destination_mb": readings.huge_pages_mb, "destination_thp": readings.thp},
        "the kernel does not report them",
    )
    return found


def _stolen_percent(readings: Readings) -> float | None:
    before, after = readings.processors_before, readings.processors_after
    return None if before is None or after is None else after.stolen_percent_since(before)


def _processor(readings: Readings, resumed: float, completed: float) -> dict[str, float]:
    """How long the vCPUs ran in the observation window, and for which share of the time once their rate is steady."""
    end = readings.observation_end_s
    steady = None if end is None else metrics.steady_window(completed, end)
    if readings.sched is None or end is None or steady is None:
        return {}
    samples, steady_ms = readings.sched.samples, (steady[1] - steady[0]) * 1000 * len(readings.vcpu_threads)
    whole = metrics.processor_s(samples, resumed, end, resumes=True)
    late = metrics.processor_s(samples, *steady, resumes=False)
    if whole is None or late is None:
        return {}
    return {
        "window_on_cpu_ms": whole[0] * 1000,
        "window_kernel_ms": whole[1] * 1000,
        "steady_on_cpu_percent": 100 * late[0] * 1000 / steady_ms,
        "steady_kernel_percent": 100 * late[1] * 1000 / steady_ms,
    }


def validity(options: Options, readings: Readings, measurements: dict[str, float | None]) -> dict[str, Any]:
    """Whether the trial is valid, with a sentence for each rule of docs/measurement.md that it breaks."""
    reasons = []
    stopped, resumed, completed = stopped_s(readings), resumed_s(readings), completed_s(readings)
    if readings.was_home:
        return {"valid": False, "reasons": ["the guest already ran on this host; nothing was migrated"]}
    if readings.taken_over:
        return {"valid": False, "reasons": ["an interrupted migration was completed; it was not measured"]}
    if readings.was_paused:
        now = "it was resumed" if readings.run_state == "running" else "it is paused"
        return {
            "valid": False,
            "reasons": [f"its operator paused the guest before the switch; {now} on the destination"],
        }
    if readings.time_of("source", "MIGRATION", status="postcopy-active") is None:
        reasons.append("the migration ended before post-copy began")
    reasons += [f"the connection to the {host}'s libvirt was lost" for host in readings.connections_lost]
    if readings.recoveries:
        reasons.append(f"the migration stalled and was recovered {readings.recoveries} times")
    reasons += readings.not_measured
    if paused_at_switch(readings):
        reasons.append("the guest was paused at the switch, so the migration had nothing to stop")
    reasons += [
        f"the guest was paused for {time_s:.1f} s {where}"
        for where, time_s in pauses(readings, options.baseline_s).items()
    ]
    reasons += [f"the clock of the {host} was set during the migration" for host in clocks_set(readings)]
    if readings.clock_offset_s is None:
        reasons.append("the clocks of the two hosts could not be compared")
    elif stopped is not None and resumed is not None and resumed - stopped < -readings.clock_offset_s[1]:
        reasons.append("the guest resumed before it stopped: the clocks of the two hosts disagree")
    if resumed is not None and completed is not None and completed < resumed:
        reasons.append("the migration completed before the guest resumed")
    end = readings.observation_end_s
    if end is not None and completed is not None and completed > end:
        reasons.append(f"the migration ended {completed - end:.1f} s after the observation window")
    reset = any(event.name == "RESET" for _time, event in readings.events)
    if reset or len({sample.boot for sample in all_samples(readings)}) > 1:
        reasons.append("the guest rebooted")
    if options.verify:
        if readings.verified is None:
            reasons.append("the guest's memory was not verified")
        elif readings.verified.bad or not readings.verified.pages:
            reasons.append(f"the guest's memory is wrong on {readings.verified.bad} of {readings.verified.pages} pages")
    if readings.tighter_quota is not None:
        reasons.append(f"the requested quota was not in force: the guest had a tighter one, {readings.tighter_quota}")
    capabilities = ["postcopy-ram", *(["postcopy-preempt"] if options.method.preempt else [])]
    reasons += [
        f"the capability {name} was not in force" for name in capabilities if not readings.capabilities.get(name)
    ]
    if options.method.tls and not readings.encrypted:
        reasons.append("the migration was not encrypted")
    seen, counted = readings.requests_seen, measurements["page_requests"]
    if seen is not None and counted is not None:
        tolerance = max(REQUESTS_TOLERANCE_MIN, REQUESTS_TOLERANCE * counted)
        if abs(seen - counted) > tolerance:
            reasons.append(f"the request trace saw {seen} requests, QEMU's source counted {counted:.0f}")
    wait = measurements["page_wait_ms"]
    if wait is not None and resumed is not None and completed is not None:
        longest_ms = len(readings.vcpu_threads) * (completed - resumed) * 1000
        if wait > longest_ms + 1:
            reasons.append("page wait is longer than the post-copy phase")
    off = off_rate(options, measurements)
    if off is not None and off[0] > RATE_BOUND:
        reasons.append(off[1])
    needed = ["total_migration_time_s", "page_requests"]
    if keeps_vcpus_busy(readings):
        needed.insert(0, "downtime_ms")
    if options.observation_s is not None:
        needed.append("throughput_mb_per_s")
    reasons += [f"{name} could not be measured" for name in needed if measurements[name] is None]
    return {"valid": not reasons, "reasons": reasons}


def off_rate(options: Options, measurements: dict[str, float | None]) -> tuple[float, str] | None:
    """By which share the guest missed its rate before the migration, and that in words; None if it has none to keep."""
    wanted, found = options.rate_mb_per_s, measurements["baseline_mb_per_s"]
    if wanted is None or found is None:
        return None
    return abs(found / wanted - 1), f"the guest ran at {found:.1f} MB/s before the migration instead of {wanted:.1f}"


def cautions(options: Options, measurements: dict[str, float | None]) -> list[str]:
    """What does not make the trial invalid, but should be known."""
    off = off_rate(options, measurements)
    return [off[1]] if off is not None and RATE_CAUTION < off[0] <= RATE_BOUND else []


def events(readings: Readings, resumed: float | None) -> list[dict[str, Any]]:
    """Events of both QEMUs and the module's own marks, oldest first; 0 s is the resume on the destination."""
    zero = resumed if resumed is not None else min((time_s for time_s, _event in readings.events), default=0.0)
    found = [
        {"host": event.host, "name": event.name, "data": event.data, "time_s": round(time_s - zero, 6)}
        for time_s, event in readings.events
    ]
    for name, time_s in (
        ("WINDOW_WALKED", readings.released_s),
        ("QUOTA_LIFTED", readings.quota_lifted_s),
        ("OBSERVATION_END", readings.observation_end_s),
    ):
        if time_s is not None:
            found.append({"host": "module", "name": name, "data": {}, "time_s": round(time_s - zero, 6)})
    return sorted(found, key=lambda event: event["time_s"])


def clock_offset(readings: Readings) -> dict[str, float] | None:
    """The source's clock minus the destination's, and the bound of the error, in ms."""
    if readings.clock_offset_s is None:
        return None
    offset_s, bound_s = readings.clock_offset_s
    return {"offset_ms": offset_s * 1000, "bound_ms": bound_s * 1000}


def files(options: Options, readings: Readings, resumed: float | None) -> dict[str, bytes]:
    """Telemetry and requests as compressed CSV, with times relative to the resume."""
    found = {}
    # After the window the guest verifies its memory instead of walking it.
    end = readings.observation_end_s
    samples = [sample for sample in all_samples(readings) if end is None or sample.time_s <= end + SAMPLE_PERIOD_S]
    if samples:
        found["telemetry.csv"] = series.telemetry(samples, resumed or 0.0, options.files_dir is not None)
    if readings.trace is not None:
        found["requests.csv"] = readings.trace.csv
    return found


def all_samples(readings: Readings) -> list[Sample]:
    """Telemetry of both hosts in order of arrival."""
    channels = (readings.source_channel, readings.destination_channel)
    found = sorted((s for channel in channels if channel for s in channel.samples), key=lambda s: s.time_s)
    return [sample for sample in found if len(sample.visits) == len(found[0].visits)]  # the guest is not trusted


def all_times(readings: Readings) -> list[Times]:
    """How long visits took, as reported on both hosts, in order of arrival."""
    channels = (readings.source_channel, readings.destination_channel)
    return sorted((each for channel in channels if channel for each in channel.times), key=lambda each: each.time_s)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
