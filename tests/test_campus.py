from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from fidelity import FULL, record
from hypothesis import given
from hypothesis import strategies as st

from lbsim.engine.source import open_source
from lbsim.nic.classes import classes_of
from lbsim.scenario import Campus, Scenario, load_scenario, override
from lbsim.units import SECOND
from lbsim.workload import campus_kernels as kernels
from lbsim.workload.campus import _train_lengths, campus
from lbsim.workload.campus_facts import FACTS, flow_columns, frame_sizes, second_columns
from lbsim.workload.campus_plan import OWN_FRAME, TRAIN, _heavy_spans, campus_plan
from lbsim.workload.campus_tuples import PREFIX_ZIPF, SERVICES, campus_tuples
from lbsim.workload.packets import FlowTable

SEED = 1
TRACES = ("campus", pytest.param("campus-4", marks=pytest.mark.slow))
MIDDLE = slice(1, 46)  # 5 s to 50 s of the sender's clock, which starts 4 s before the recording


@lru_cache(maxsize=2)
def columns(trace: str) -> dict[str, np.ndarray]:
    return second_columns(trace)


def lag1(x: np.ndarray) -> float:
    return float(np.corrcoef(x[1:], x[:-1])[0, 1])


def cv(x: np.ndarray) -> float:
    return float(x.std() / x.mean())


def share(counts: np.ndarray, low: int, high: int) -> float:
    return counts[low : high + 1].sum() / counts.sum()


def top(sizes: np.ndarray, part: float) -> float:
    return np.sort(sizes)[-round(part * len(sizes)) :].sum() / sizes.sum()


def slope(sizes: np.ndarray) -> float:
    x = np.geomspace(50, 5000, 40)
    larger = [np.mean(sizes > size) for size in x]
    return float(np.polyfit(np.log(x), np.log(larger), 1)[0])


def at_quantile(counts: np.ndarray, q: float) -> float:
    return float(np.quantile(counts, q))


# quantity: (measure, published for campus and campus-4, relative tolerance). Where nothing is said the
# tolerance is the rounding of the published figure.
PUBLISHED = {
    "packets": (lambda r: r.sizes.sum(), (28_363_552, 104_454_970), 0),
    "packets per second": (lambda r: r.sizes.sum() / r.window * SECOND, (507_376, 1_868_681), 1e-6),
    "packets per second, 5-50 s": (lambda r: r.packets[MIDDLE].mean(), (529_400, 1_933_000), 0.01),  # borders
    "link rate, 5-50 s": (lambda r: r.bits[MIDDLE].mean() / 1e9, (4.387, 15.85), 0.01),
    # the published series themselves give 0.151 and 0.89, 0.050 and 0.58 over these 45 seconds: the figures
    # depend on which seconds count as 5-50 s; the next test compares the series
    "cv of the link rate": (lambda r: cv(r.bits[MIDDLE]), (0.152, 0.043), (0.03, 0.25)),
    "lag-1 of the link rate": (lambda r: lag1(r.bits[MIDDLE]), (0.91, 0.62), (0.05, 0.15)),
    "frames <= 66": (lambda r: share(r.frames, 0, 66), (0.203, 0.201), 0.01),
    "frames <= 128": (lambda r: share(r.frames, 0, 128), (0.272, 0.275), 0.01),
    "frames <= 512": (lambda r: share(r.frames, 0, 512), (0.318, 0.322), 0.01),
    "frames <= 1024": (lambda r: share(r.frames, 0, 1024), (0.347, 0.356), 0.01),
    "frames <= 1460": (lambda r: share(r.frames, 0, 1460), (0.486, 0.515), 0.01),
    "frames 1511-1514": (lambda r: share(r.frames, 1511, 1514), (0.452, 0.429), 0.01),
    "mean frame": (lambda r: r.frames @ np.arange(1515) / r.frames.sum(), (1011.17, 1002.17), 0.002),
    "flows": (lambda r: np.count_nonzero(r.sizes), (539_021, 2_189_989), 0),
    "mean flow size": (lambda r: r.sizes.mean(), (52.6205, 47.6966), 1e-5),
    "1-packet flows": (lambda r: np.mean(r.sizes == 1), (0.519, 0.518), 0.001),
    "median flow size": (lambda r: at_quantile(r.sizes, 0.5), (1, 1), 0),
    "p90 flow size": (lambda r: at_quantile(r.sizes, 0.9), (13, 13), 0),
    "p99 flow size": (lambda r: at_quantile(r.sizes, 0.99), (184, 181), 0.01),
    "p99.9 flow size": (lambda r: at_quantile(r.sizes, 0.999), (4854, 4702), 0.01),
    "largest flow": (lambda r: r.sizes.max(), (4_425_709, 4_415_866), 0),
    "share of the largest flow": (lambda r: r.sizes.max() / r.sizes.sum(), (0.156035, 0.0422753), 1e-5),
    # the published shares count one of the two counting threads twice: the table of sizes, which is matched,
    # and the true totals give 0.893 and 0.746, 0.884 and 0.725
    "share of the top 1 %": (lambda r: top(r.sizes, 0.01), (0.886, 0.886), 0.015),
    "share of the top 0.1 %": (lambda r: top(r.sizes, 0.001), (0.73, 0.731), 0.03),
    "log-log slope of the sizes, 50-5000": (lambda r: slope(r.sizes), (-0.676, -0.677), 0.03),
    # the rest is the model's doing, with constants common to both traces
    "active flows per second": (lambda r: r.active[FULL].mean(), (18_987, 77_073), 0.02),
    "new flows per second": (lambda r: r.new[FULL].mean(), (9784, 40_015), 0.01),
    "new flows, first second": (lambda r: r.new[FULL][0], (13_434, 58_892), 0.03),
    "new flows, last second": (lambda r: r.new[FULL][-1], (7158, 25_636), 0.06),  # 1 % of the next is moved
    "1-packet flow-seconds": (lambda r: np.mean(r.per_second == 1), (0.538, 0.544), 0.03),
    "p90 packets of a flow in a second": (lambda r: at_quantile(r.per_second, 0.9), (12, 12), 0.1),  # one
    "p99 packets of a flow in a second": (lambda r: at_quantile(r.per_second, 0.99), (286, 273), 0.1),
    # 19 flows of a second of campus: two seeds differ by 10 %
    "p99.9 packets of a flow in a second": (lambda r: at_quantile(r.per_second, 0.999), (3026, 3055), 0.2),
    "largest flow in a second": (lambda r: r.per_second[-1], (83_176, 97_554), 0.15),
}


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("quantity", PUBLISHED)
def test_a_recording_has_the_published(quantity: str, trace: str):
    measure, published, tolerance = PUBLISHED[quantity]
    which = 0 if trace == "campus" else 1
    rel = tolerance[which] if isinstance(tolerance, tuple) else tolerance
    assert measure(record(trace, SEED)) == pytest.approx(published[which], rel=rel)


@pytest.mark.parametrize("trace", TRACES)
def test_every_second_has_its_published_packets_and_bits(trace: str):
    r, published = record(trace, SEED), columns(trace)
    packets, bits = published["packets"][:56], published["bits"][:56]
    np.testing.assert_allclose(r.packets, packets * (r.packets.sum() / packets.sum()), atol=2)
    mine, theirs = r.bits / r.packets, bits / packets
    assert np.std(mine / theirs) < 0.01  # drawn frames; the published series varies by 0.025 and 0.02


@pytest.mark.parametrize("trace", TRACES)
def test_every_second_has_about_the_published_flows(trace: str):
    r, published = record(trace, SEED), columns(trace)
    np.testing.assert_allclose(r.new[FULL], published["new"][FULL], rtol=0.06)
    most = slice(2, 54)  # in the last one before the ramp the flows of campus-4 are fewer than the packets
    np.testing.assert_allclose(r.active[most], published["active"][most], rtol=0.11)
    # the ramps at the ends: in one first part of a second, and in the last
    assert r.new[:2] == pytest.approx(published["new"][:2], rel=0.15)


@pytest.mark.parametrize("trace", TRACES)
def test_packets_of_a_flow_in_a_second_follow_the_published_table(trace: str):
    table = flow_columns(trace)
    at, flows = (table[name][table["span"] == 1] for name in ("packets", "flows"))
    counts = record(trace, SEED).per_second
    mine = np.searchsorted(counts, at, side="right") / len(counts)
    assert np.abs(mine - flows).max() < 0.02
    rare = flows > 0.95
    # the tail: as many flow-seconds above, within the rounding of the table and the model's reach
    assert np.abs(np.log((1 - mine[rare]) / (1 - flows[rare]))).max() < 0.25


@pytest.mark.parametrize("trace", TRACES)
def test_rss_imbalance_on_8_cores_is_predicted_near_the_measured(trace: str):
    """Fig. 12: median 458 % (mean of the box plot 320) and 51 % (54), one hash key and one trace."""
    r = record(trace, SEED)
    keys = [np.random.default_rng(k).integers(0, 2**16, len(r.sizes), dtype=np.uint16) for k in range(10)]
    imbalance = [100 * r.imbalance(8, key) for key in keys]
    low, high = (230, 458) if trace == "campus" else (45, 110)
    assert low < np.median(imbalance) < high


def test_time_goes_on_over_the_laps_and_chunks_stay_small():
    plan, chunks = campus_plan("campus", SEED), campus("campus", SEED).chunks(False)
    first = next(chunks)
    last, n = first.recorded[-1], len(first.flow)
    for chunk in chunks:
        assert len(chunk.flow) == len(chunk.frame) == len(chunk.recorded) <= 2**18
        assert len(chunk.checksum) == 0
        assert chunk.recorded[0] >= last
        last = chunk.recorded[-1]
        if last >= plan.window:
            break
        n += len(chunk.flow)
    assert n == FACTS["campus"].packets
    assert chunk.recorded[0] == plan.window + first.recorded[0]
    assert np.array_equal(np.sort(chunk.flow), np.sort(first.flow))  # the same events
    assert not np.array_equal(chunk.flow, first.flow)  # in another order


def test_the_same_seed_gives_the_same_packets_with_and_without_checksums():
    one, two = campus("campus", SEED).chunks(False), campus("campus", SEED).chunks(True)
    sums = np.zeros(256)
    for _ in range(30):
        a, b = next(one), next(two)
        for column in ("flow", "frame", "recorded"):
            assert np.array_equal(getattr(a, column), getattr(b, column))
        assert len(b.checksum) == len(b.flow)
        sums += np.bincount(b.checksum, minlength=256)
    expected = sums.sum() / 256
    assert ((sums - expected) ** 2 / expected).sum() < 256 + 6 * np.sqrt(2 * 256)  # chi-square, 6 sigma


def test_an_unknown_trace_is_refused():
    with pytest.raises(ValueError, match="trace 'campus4' is not known: use one of campus, campus-4"):
        campus("campus4", 1)  # type: ignore[arg-type]


def test_a_flow_keeps_to_its_own_frames():
    """The largest flow is of full-size frames; 0.7 of each flow's packets are from its own quantiles."""
    plan = campus_plan("campus", SEED)
    full = np.mean(plan.frames >= 1511)
    chunks = campus("campus", SEED).chunks(False)
    some = [next(chunks) for _ in range(100)]
    flow, frame = (np.concatenate([getattr(c, name) for c in some]) for name in ("flow", "frame"))
    largest = frame[flow == 0]
    assert np.mean(largest >= 1511) == pytest.approx(OWN_FRAME + (1 - OWN_FRAME) * full, abs=0.005)
    busy = 0
    for f in range(1, 300):
        mine = frame[flow == f]
        if len(mine) < 200:
            continue
        busy += 1
        low = int(plan.frame_from[f]) >> 20
        high = (int(plan.frame_from[f]) + int(plan.frame_width[f])) >> 20
        first, last = plan.frames[low], plan.frames[high]
        by_chance = np.mean((plan.frames >= first) & (plan.frames <= last))
        expected = OWN_FRAME + (1 - OWN_FRAME) * by_chance
        inside = np.mean((mine >= first) & (mine <= last))
        assert inside == pytest.approx(expected, abs=5 * np.sqrt(0.25 / len(mine)))
    assert busy > 50


def test_own_intervals_cover_all_quantiles_once():
    plan = campus_plan("campus", SEED)
    order = np.argsort(plan.frame_from, kind="stable")
    low, width = plan.frame_from[order].astype(np.int64), plan.frame_width[order].astype(np.int64)
    assert low[0] == 0
    assert low[-1] + width[-1] == 2**32
    assert np.array_equal(low[1:], (low + width)[:-1])
    np.testing.assert_allclose(plan.frame_width, plan.sizes * (2**32 / plan.sizes.sum()), atol=1)


@pytest.mark.parametrize("trace", TRACES)
def test_tuples_are_distinct_and_half_of_them_lead_to_a_server(trace: str):
    table, facts = campus_plan(trace, SEED).flows, FACTS[trace]
    assert len(table) == facts.flows
    rows = np.zeros((len(table), 13), np.uint8)
    rows[:, :4], rows[:, 4:8], rows[:, 8] = table.src[:, :4], table.dst[:, :4], table.proto
    rows[:, 9:11] = table.sport.astype(">u2").view(np.uint8).reshape(-1, 2)
    rows[:, 11:] = table.dport.astype(">u2").view(np.uint8).reshape(-1, 2)
    assert len(np.unique(rows.view("V13"))) == len(table)
    assert set(np.unique(table.proto)) == {6, 17}
    assert np.mean(table.proto == 6) > 0.8
    services = [port for _, port, _ in SERVICES]
    to_server = np.isin(table.dport, services)
    assert np.all(to_server | np.isin(table.sport, services))
    assert np.mean(to_server) == pytest.approx(0.5, abs=0.01)


def test_server_prefixes_follow_zipf_and_windows_share_no_pair_of_prefixes():
    one, four = (campus_tuples(1_000_000, windows, np.random.default_rng(1)) for windows in (1, 4))

    def pairs(table: FlowTable) -> np.ndarray:
        """Flows of each pair of /8 prefixes, campus first, the most popular first."""
        to_server = np.isin(table.dport, [port for _, port, _ in SERVICES])
        ends = np.stack((table.src[:, 0], table.dst[:, 0]), axis=1)
        ends[~to_server] = ends[~to_server, ::-1]
        counts = np.sort(np.unique(ends, axis=0, return_counts=True)[1])[::-1]
        return counts[counts > 20]  # own ports may look like a service's

    counts = pairs(one)
    assert len(counts) == 104
    assert len(pairs(four)) > 3 * 104  # windows have prefixes of their own; the rarest have few flows
    ranks = np.arange(1, 51)
    assert np.polyfit(np.log(ranks), np.log(counts[:50]), 1)[0] == pytest.approx(-PREFIX_ZIPF, abs=0.15)
    assert pairs(four)[:4] == pytest.approx(np.full(4, counts[0] / 4), rel=0.1)


def test_the_merged_recording_shows_as_many_pairs_of_prefixes_as_the_published_rules():
    # 830 rules on pairs of /8 prefixes; one bit more would not fit the 1024 rules of the NIC.
    classes = classes_of(campus_tuples(500_000, 4, np.random.default_rng(1)), 1024)
    assert classes.prefix == 8
    assert classes.number == pytest.approx(830, abs=5)


def test_heavy_flows_keep_their_rate_for_seconds():
    """Else a balancer that acts every 100 ms could learn nothing from the last 100 ms."""
    plan = campus_plan("campus", SEED)
    epochs = len(plan.starts) - 1
    epoch = np.repeat(np.arange(epochs), np.diff(plan.starts))
    correlations = {1: [], 10: [], 40: []}
    for f in range(1, 60):
        mine = plan.event_flow == f
        counts = np.bincount(epoch[mine], plan.event_count[mine], epochs)
        active = np.flatnonzero(counts)
        counts = np.log(counts[active[0] : active[-1] + 1] + 4)
        if len(counts) >= 200:
            for gap, values in correlations.items():
                values.append(np.corrcoef(counts[gap:], counts[:-gap])[0, 1])
    one, ten, forty = (np.mean(values) for values in correlations.values())
    assert one > 0.8
    assert 0.15 < ten < one
    assert abs(forty) < 0.3


def test_heavy_flows_are_spread_evenly_over_the_window():
    rng = np.random.default_rng(1)
    sizes = np.sort(185 * rng.random(40_000) ** -1.5).astype(np.int64)[::-1]
    begin, length = _heavy_spans(sizes, 559, 10.0, rng)
    assert (begin[0], length[0]) == (0, 559)
    assert (begin >= 0).all()
    assert (length >= 1).all()
    assert (begin + length <= 559).all()
    active = np.cumsum(np.bincount(begin, minlength=560) - np.bincount(begin + length, minlength=560))[:559]
    per_second = active[:550].reshape(-1, 10).mean(1)
    np.testing.assert_allclose(per_second, per_second.mean(), rtol=0.1)


@given(st.lists(st.integers(1, 184), min_size=1, max_size=60), st.integers(0, 2**32))
def test_light_events_hold_every_packet_once(sizes: list[int], seed: int):
    rng = np.random.default_rng(seed)
    size = np.sort(np.array(sizes))[::-1]
    out = tuple(np.empty(size.sum(), np.int32) for _ in range(3))
    first = rng.random(len(size)) * 50
    earliest = first.min()
    n = kernels.light_events(rng, size, first, 50, (1.0, 0.1), (70.0, 1.8), out)
    epoch, flow, count = (column[:n] for column in out)
    assert np.array_equal(np.bincount(flow, count, len(size)), size)
    assert epoch.min() == int(earliest)
    assert epoch.max() < 50
    assert count.min() > 0


def test_bursts_split_as_in_a_pitman_yor_process():
    """Four packets, strength t, discount d: the probabilities of all partitions (Pitman, 1995)."""
    t, d, flows = 1.0, 0.6, 40_000
    size = np.full(flows, 4)
    out = tuple(np.empty(size.sum(), np.int32) for _ in range(3))
    n = kernels.light_events(
        np.random.default_rng(3), size, np.zeros(flows), 10**6, (t, d), (100.0, 0.5), out
    )
    _, flow, count = (column[:n] for column in out)
    bursts = np.bincount(flow)
    squares = np.bincount(flow, count**2)
    total = (t + 1) * (t + 2) * (t + 3)
    expected = {
        (1, 16): (1 - d) * (2 - d) * (3 - d),
        (2, 10): 4 * (t + d) * (1 - d) * (2 - d),
        (2, 8): 3 * (t + d) * (1 - d) ** 2,
        (3, 6): 6 * (t + d) * (t + 2 * d) * (1 - d),
        (4, 4): (t + d) * (t + 2 * d) * (t + 3 * d),
    }
    assert sum(expected.values()) == pytest.approx(total)
    for (k, square), weight in expected.items():
        share = weight / total
        seen = np.mean((bursts == k) & (squares == square))
        assert seen == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / flows))


@given(st.lists(st.floats(0.1, 900), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 2**32))
def test_heavy_events_round_without_losing_a_packet(rates: list[float], quantum: int, seed: int):
    rate = np.array(rates)
    size = np.array([max(1, round(rate.sum()))])
    out = tuple(np.empty(len(rate), np.int32) for _ in range(3))
    starts, begin = np.array([0, len(rate)]), np.array([7])
    n = kernels.heavy_events(np.random.default_rng(seed), rate, starts, begin, size, quantum, out)
    epoch, flow, count = (column[:n] for column in out)
    assert count.sum() == size[0]
    assert set(flow) == {0}
    assert (np.diff(epoch) > 0).all()
    assert (count[:-1] % quantum == 0).all()
    sent = np.bincount(epoch, count, 7 + len(rate))[7:]
    assert np.abs(np.cumsum(sent) - np.cumsum(rate)).max() <= quantum + 1


def test_rake_meets_sizes_packets_and_volume():
    rng = np.random.default_rng(5)
    flows, epochs = 300, 40
    length = rng.integers(5, epochs + 1, flows)
    begin = (rng.random(flows) * (epochs - length + 1)).astype(np.int64)
    starts = np.append(0, np.cumsum(length))
    size = rng.integers(500, 5000, flows)
    frame = rng.choice([100.0, 400.0, 1300.0, 1500.0], flows)
    truth = np.zeros(starts[-1])  # some table that exists
    packets, volume = np.zeros(epochs), np.zeros(epochs)
    for f in range(flows):
        mine = slice(starts[f], starts[f + 1])
        truth[mine] = rng.random(length[f]) * np.linspace(1, 2, epochs)[begin[f] : begin[f] + length[f]]
        truth[mine] *= size[f] / truth[mine].sum()
        packets[begin[f] : begin[f] + length[f]] += truth[mine]
        volume[begin[f] : begin[f] + length[f]] += truth[mine] * frame[f]
    rate = np.ones(starts[-1])
    kernels.rake(rate, starts, begin, size, frame, packets, volume, 1e9)
    got, got_volume = np.zeros(epochs), np.zeros(epochs)
    for f in range(flows):
        mine = rate[starts[f] : starts[f + 1]]
        assert mine.sum() == pytest.approx(size[f])
        got[begin[f] : begin[f] + length[f]] += mine
        got_volume[begin[f] : begin[f] + length[f]] += mine * frame[f]
    np.testing.assert_allclose(got, packets, rtol=0.02)
    np.testing.assert_allclose(got_volume, volume, rtol=0.02)


@given(st.lists(st.integers(0, 6), max_size=50))
def test_by_epoch_is_a_stable_sort(epochs: list[int]):
    epoch = np.array(epochs, np.int32)
    flow = np.arange(len(epoch), dtype=np.int32)
    starts, sorted_flow, count = kernels.by_epoch((epoch, flow, flow * 2), 7)
    assert np.array_equal(sorted_flow, np.argsort(epoch, kind="stable"))
    assert np.array_equal(count, 2 * sorted_flow)
    assert np.array_equal(starts, np.searchsorted(np.sort(epoch), np.arange(8)))


def expand(flows: list[int], counts: list[int], lengths: list[int], spacing: int = 21, seed: int = 1):
    n = max(flows) + 1
    whole = np.zeros(n, np.uint32), np.full(n, 2**32 - 1, np.uint32)
    columns = (np.array(x, np.int32) for x in (flows, counts, lengths))
    return kernels.expand(seed, *columns, spacing, *whole, 0, np.arange(4096, dtype=np.int32))


@given(st.dictionaries(st.integers(0, 99), st.integers(1, 300), min_size=1), st.integers(0, 2**62))
def test_an_epoch_holds_the_packets_of_its_events(events: dict[int, int], seed: int):
    flow, frame = expand(list(events), list(events.values()), [1, 3, 9, 20], seed=seed)
    assert np.array_equal(np.bincount(flow, minlength=100), [events.get(f, 0) for f in range(100)])
    assert ((frame >= 0) & (frame < 4096)).all()


def test_packets_come_in_trains_of_the_given_length():
    """Two flows far apart from themselves: runs are trains of 8, and of 1."""

    def runs(lengths: list[int], spacing: int) -> float:
        flow, _ = expand([0, 1], [8000, 8000], lengths, spacing)
        return len(flow) / (1 + np.count_nonzero(np.diff(flow)))

    assert runs([1], 0) == pytest.approx(2, rel=0.05)  # fair coins
    assert 12 < runs([8], 0) < 17  # 8 packets, twice: the next train is of the same flow every other time
    assert runs([8], 2**13) < 3  # a train as long as the epoch is mixed with others


def test_train_lengths_are_geometric():
    lengths = _train_lengths()
    assert len(lengths) == 4096
    assert lengths.mean() == pytest.approx(TRAIN, rel=0.01)
    assert np.mean(lengths == 1) == pytest.approx(1 / TRAIN, abs=1 / 4096)


def test_packets_of_an_epoch_are_spread_evenly():
    flow, frame = expand([0, 1], [100, 40_000], [1])
    middle = np.flatnonzero(flow == 0) / len(flow)
    assert middle.mean() == pytest.approx(0.5, abs=0.1)
    assert np.histogram(middle, 4, (0, 1))[0].min() > 10
    assert np.bincount(frame // 1024) == pytest.approx(np.full(4, len(flow) / 4), rel=0.05)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 10**6), st.data())
def test_packets_are_stamped_evenly_between_the_clock_knots(counts: list[int], lap: int, data: st.DataObject):
    packets = np.append(0, np.cumsum(counts))
    times = np.arange(len(packets), dtype=np.int64) * SECOND
    first = data.draw(st.integers(0, int(packets[-1]) - 1))
    n = int(packets[-1]) - first
    got = kernels.stamp(first, n, lap, packets, times)
    exact = [
        lap + int(times[j]) + (k - int(packets[j])) * SECOND // counts[j]
        for k in range(first, first + n)
        for j in [int(np.searchsorted(packets, k, side="right")) - 1]
    ]
    assert np.abs(got - np.array(exact)).max() <= 1
    assert (np.diff(got) >= 0).all()


@pytest.mark.parametrize("trace", ["campus", "campus-4"])
def test_the_law_of_frames_has_the_published_mean(trace: str):
    assert frame_sizes(trace).mean == pytest.approx(FACTS[trace].mean_frame, rel=0.001)


def campus_scenario(**more: object) -> Scenario:
    base = load_scenario("examples/campus.toml")
    return override(base, {"traffic": Campus(trace="campus"), **more})


def test_a_recording_is_the_same_for_every_seed_and_replication() -> None:
    recorded = campus_scenario(**{"traffic.recording": 5})
    sizes = [
        open_source(override(recorded, {"seed": seed, "replication": replication})).traffic.flows.sport[:50]
        for seed, replication in ((1, 0), (2, 0), (1, 3))
    ]
    for other in sizes[1:]:
        np.testing.assert_array_equal(sizes[0], other)
    own = [open_source(campus_scenario(seed=seed)).traffic.flows.sport[:50] for seed in (1, 2, 5)]
    assert (own[0] != own[1]).any()
    np.testing.assert_array_equal(own[2], sizes[0])


def test_eight_windows_come_at_a_constant_rate() -> None:
    seconds, facts = second_columns("campus-8"), FACTS["campus-8"]
    packets = seconds["packets"][seconds["packets"] > 0]
    assert packets.sum() == facts.packets
    assert (packets == facts.pps).all()
    four = second_columns("campus-4")
    assert 1.7 < seconds["new"][5:50].sum() / four["new"][5:50].sum() < 2.3
