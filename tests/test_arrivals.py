"""Clocks: the rate asked for, times that never fall, and the shape each promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.rng import stream
from lbsim.scenario import Arrivals, Batch, Batched, Deterministic, OnOff, Poisson, Recorded
from lbsim.units import MS, NS, SECOND, US
from lbsim.workload.arrivals import clock

PPS = 2e6
BATCH = Batch(base=20, gap="80ns")
KINDS: dict[str, Arrivals] = {
    "poisson": Poisson(rate="2Mpps"),
    "deterministic": Deterministic(rate="2Mpps"),
    "on_off": OnOff(rate="2Mpps", on="10us", off="30us"),
    "batched": Batched(rate="2Mpps", batch=BATCH),
    "recorded": Recorded(rate="2Mpps"),
    "recorded in batches": Recorded(rate="2Mpps", batch=BATCH),
}
OWN_PPS = 1e6  # the recording runs at half the speed


def recording(n: int) -> np.ndarray:
    return np.cumsum(stream(3, "order").integers(0, 2 * US, n))


def arrive(kind: str, n: int, cuts: list[int]) -> np.ndarray:
    """Times of n packets, asked for in pieces."""
    times = clock(KINDS[kind], PPS, OWN_PPS, stream(1, "gaps"))
    pieces = [piece for piece in np.split(recording(n), sorted(c % n for c in cuts)) if len(piece)]
    return np.concatenate([times(piece) for piece in pieces])


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_rate_is_the_one_asked_for(kind: str) -> None:
    n = 400_000
    times = arrive(kind, n, [])
    spread = 0.03 if kind == "on_off" else 0.01
    assert n / (times[-1] / SECOND) == pytest.approx(PPS, rel=spread)


@pytest.mark.parametrize("kind", KINDS)
@given(cuts=st.lists(st.integers(1, 999), max_size=5))
def test_times_never_fall_however_they_are_asked_for(kind: str, cuts: list[int]) -> None:
    times = arrive(kind, 1000, cuts)
    assert len(times) == 1000
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0


@pytest.mark.parametrize("kind", ["poisson", "deterministic", "on_off", "recorded"])
@given(cuts=st.lists(st.integers(1, 999), max_size=5))
def test_pieces_do_not_change_the_times(kind: str, cuts: list[int]) -> None:
    assert (arrive(kind, 1000, cuts) == arrive(kind, 1000, [])).all()


def test_deterministic_gaps_do_not_drift() -> None:
    times = clock(Deterministic(rate="3Mpps"), 3e6, float("nan"), stream(1, "gaps"))(np.zeros(3_000_000))
    assert times[-1] == SECOND
    assert set(np.diff(times)) == {333_333, 333_334}


def test_on_off_is_silent_when_off() -> None:
    gaps = np.diff(arrive("on_off", 200_000, []))
    assert (gaps > 10 * US).sum() > 100  # silences of 30 us on average; Poisson gaps of 125 ns within
    assert np.median(gaps) < 200 * NS


@pytest.mark.parametrize("kind", ["batched", "recorded in batches"])
def test_batches_are_back_to_back_on_the_wire(kind: str) -> None:
    gaps = np.diff(arrive(kind, 100_000, [333, 5000]))
    assert gaps.min() == 80 * NS
    share = (gaps == 80 * NS).mean()
    assert share == pytest.approx(1 - 1 / 20, abs=0.01)  # a mean of 20 packets: 19 of 20 gaps are inner ones


def test_a_timer_grows_batches_with_the_rate_up_to_the_cap() -> None:
    batch = Batch(base=4, timer="10us", cap=20, law="fixed", gap="1ns", jitter=0)

    def size(pps: float) -> int:
        gaps = np.diff(clock(Batched(rate="1pps", batch=batch), pps, 1, stream(1, "gaps"))(np.zeros(1000)))
        starts = np.flatnonzero(gaps > 1 * NS)
        return int(np.diff(starts).max())

    assert [size(1e5), size(1e6), size(1e7)] == [5, 14, 20]


def test_recorded_times_are_stretched() -> None:
    assert (arrive("recorded", 1000, []) == np.rint(recording(1000) * 0.5)).all()


def test_a_recorded_batch_leaves_when_its_first_packet_is_due() -> None:
    law = Recorded(speed=1, batch=Batch(base=3, law="fixed", gap="1us"))
    own = np.arange(9, dtype=np.int64) * MS
    times = clock(law, 1e3, 1e3, stream(1, "gaps"))
    both = np.concatenate([times(own[:4]), times(own[4:])])
    assert (
        both == [0, US, 2 * US, 3 * MS, 3 * MS + US, 3 * MS + 2 * US, *(6 * MS + k * US for k in range(3))]
    ).all()
