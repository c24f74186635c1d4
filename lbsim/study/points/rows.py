"""Results as columns of one row, and back: whole numbers stay whole, nothing is rounded."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from lbsim.metrics import AnyResult, RequestResult, Result
from lbsim.metrics.connections import Breaks, ConnectionResult, ConnectionSamples, Counters
from lbsim.metrics.histogram import BINS, Histogram
from lbsim.metrics.requests import RequestCounters, RequestEvents, RequestLog, RequestSamples
from lbsim.metrics.result import Samples
from lbsim.scenario import AnyScenario, ConnectionScenario, RequestScenario, canonical

Row = dict[str, Any]
"""Numbers, text, and int64 arrays of one dimension, by column."""

SCALARS: Final = ("span", "offered", "offered_bytes", "delivered", "delivered_bytes", "end")
PER_CORE: Final = ("processed", "busy", "dropped")
OF_CONNECTIONS: Final = (
    *("span", "imbalance_sum", "imbalance_max", "imbalance_count", "peak", "peak_protected"),
    *("load", "placed", "memory_bytes"),
)


def row_of(result: AnyResult) -> Row:
    """Return a result as columns, without a log of packets."""
    head = {"scenario": canonical(result.scenario), "engine": result.engine}
    match result:
        case Result():
            parts = _packets(result)
        case RequestResult():
            parts = _requests(result)
        case _:
            parts = _connections(result)
    row = {**head, **parts, "notices": json.dumps(result.notices)}
    if result.samples is not None:
        row |= {f"sampled_{name}": part.ravel() for name, part in result.samples._asdict().items()}
    return row


def from_row(row: Row, scenario: AnyScenario) -> AnyResult:
    """Return the result that `row_of` turned into a row."""
    head = {"scenario": scenario, "engine": row["engine"], "notices": tuple(json.loads(row["notices"]))}
    if isinstance(scenario, RequestScenario):
        return _of_requests(row, head)
    if isinstance(scenario, ConnectionScenario):
        return ConnectionResult(
            **head,
            **{name: row[name] for name in OF_CONNECTIONS},
            whole=Counters(**_named(row, "whole_")),
            cohort=Counters(**_named(row, "cohort_")),
            breaks=Breaks(**_named(row, "breaks_")),
            samples=ConnectionSamples(**_named(row, "sampled_")) if "sampled_time" in row else None,
        )
    samples = None
    if "sampled_time" in row:
        cores = len(row["processed"])
        parts = {name: row[f"sampled_{name}"].reshape(-1, cores) for name in Samples._fields[1:-1]}
        samples = Samples(row["sampled_time"], **parts, used=row["sampled_used"])
    latencies = None
    if "interval_counts" in row:
        latencies = np.zeros((row["intervals"], BINS), np.int64)
        latencies[row["interval_rows"], row["interval_bins"]] = row["interval_counts"]
    return Result(
        **head,
        **{name: row[name] for name in (*SCALARS, *PER_CORE)},
        drops=json.loads(row["drops"]),
        control=json.loads(row["control"]),
        latency=_histogram(row),
        samples=samples,
        latencies=latencies,
        reordered=row.get("reordered"),
    )


def _packets(result: Result) -> Row:
    asked: Row = {} if result.reordered is None else {"reordered": result.reordered}
    if result.latencies is not None:
        intervals, bins = np.nonzero(result.latencies)
        asked |= {
            "intervals": len(result.latencies),
            "interval_rows": intervals,
            "interval_bins": bins,
            "interval_counts": result.latencies[intervals, bins],
        }
    return {
        **{name: getattr(result, name) for name in SCALARS},
        "drops": json.dumps(result.drops),
        "control": json.dumps(result.control),
        **_latency(result.latency),
        **{name: getattr(result, name) for name in PER_CORE},
        **asked,
    }


def _connections(result: ConnectionResult) -> Row:
    return {
        **{name: getattr(result, name) for name in OF_CONNECTIONS},
        **{f"whole_{name}": value for name, value in result.whole._asdict().items()},
        **{f"cohort_{name}": value for name, value in result.cohort._asdict().items()},
        **{f"breaks_{name}": value for name, value in result.breaks._asdict().items()},
    }


def _requests(result: RequestResult) -> Row:
    log: Row = {}
    if result.log is not None:
        log = {f"log_{name}": value for name, value in result.log._asdict().items()}
        for name in ("sent", "done"):  # short numbers take less room
            log[f"log_{name}"] = log[f"log_{name}"] - result.log.due
        log["log_latency"] = (result.log.latency >= 0).astype(np.int64)  # then done - due + overhead
    return {
        "span": result.span,
        "peak": result.peak,
        "end": result.end,
        "area": str(result.area),  # may exceed an int64
        "sojourn": str(result.sojourn),
        "control": json.dumps(result.control),
        **{f"whole_{name}": value for name, value in result.whole._asdict().items()},
        **{f"during_{name}": value for name, value in result.during._asdict().items()},
        **{f"cohort_{name}": value for name, value in result.cohort._asdict().items()},
        **_latency(result.latency),
        **log,
    }


def _of_requests(row: Row, head: Row) -> RequestResult:
    whole = RequestCounters(**_named(row, "whole_"))
    samples = log = None
    if "sampled_time" in row:
        parts = _named(row, "sampled_")
        for name in RequestCounters._fields[len(RequestEvents._fields) :]:
            parts[name] = parts[name].reshape(-1, len(whole.busy))
        samples = RequestSamples(**parts)
    if "log_due" in row:
        logged = RequestLog(**_named(row, "log_"))
        stay = logged.done
        log = logged._replace(
            sent=logged.due + logged.sent,
            done=logged.due + stay,
            latency=np.where(logged.latency > 0, stay + head["scenario"].clients.overhead, -1),
        )
    return RequestResult(
        **head,
        span=row["span"],
        peak=row["peak"],
        end=row["end"],
        area=int(row["area"]),
        sojourn=int(row["sojourn"]),
        control=json.loads(row["control"]),
        whole=whole,
        during=RequestCounters(**_named(row, "during_")),
        cohort=RequestEvents(**_named(row, "cohort_")),
        latency=_histogram(row),
        samples=samples,
        log=log,
    )


def _latency(histogram: Histogram) -> Row:
    used = np.flatnonzero(histogram.counts)
    return {
        "latency_total": str(histogram.total),  # may exceed an int64
        "latency_low": histogram.low,
        "latency_high": histogram.high,
        "latency_bins": used,
        "latency_counts": histogram.counts[used],
    }


def _histogram(row: Row) -> Histogram:
    counts = np.zeros(BINS, np.int64)
    counts[row["latency_bins"]] = row["latency_counts"]
    return Histogram(counts, int(row["latency_total"]), row["latency_low"], row["latency_high"])


def _named(row: Row, prefix: str) -> Row:
    """Return the columns of a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
