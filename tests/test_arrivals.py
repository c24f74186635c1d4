"""Clocks: the rate asked for, times that never fall, and the shape each promises."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.rng import stream
from lbsim.scenario import Arrivals, Batch, Batched, Deterministic, OnOff, Poisson, Profile, Recorded
from lbsim.units import MAX_TIME, MS, NS, SECOND, US
from lbsim.workload.arrivals import clock, warp

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


# Profiles --------------------------------------------------------------------------------------------------

factors = st.lists(st.floats(0, 50) | st.sampled_from([0.0, 1e-300, 1.0]), min_size=1, max_size=6)
profiles = st.builds(
    lambda factors, last, every: Profile(every=every, factors=[*factors, last]),
    factors,
    st.floats(1e-3, 50),
    st.integers(US, 20 * US),
)


def steady_time(profile: Profile, t: Fraction) -> Fraction:
    """The profile's factors integrated from 0 to t, exactly."""
    total = Fraction(0)
    for k, factor in enumerate(profile.factors):
        last = k == len(profile.factors) - 1
        begin = min(t, Fraction(k * profile.every))
        end = t if last else min(t, Fraction((k + 1) * profile.every))
        total += Fraction(factor) * (end - begin)
    return total


@given(profile=profiles, steady=st.lists(st.integers(0, 10**9), min_size=1))
def test_a_warp_inverts_the_integral_of_the_profile(profile: Profile, steady: list[int]) -> None:
    for x, t in zip(steady, warp(profile)(np.array(steady)).tolist(), strict=True):
        slack = len(profile.factors)  # ps: each factor's own length in steady time is rounded to one
        assert steady_time(profile, Fraction(t) - 1) <= x + slack
        assert steady_time(profile, Fraction(t) + 1) >= x - slack


@given(profile=profiles, steady=st.lists(st.integers(0, 2**62), min_size=1))
def test_warped_times_never_fall_nor_end_beyond_time(profile: Profile, steady: list[int]) -> None:
    times = warp(profile)(np.array(sorted(steady)))
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] <= MAX_TIME


def test_a_warp_by_hand() -> None:
    bend = warp(Profile(every="10us", factors=[2.0, 0.0, 0.5, 4.0]))
    steady = np.array([0, 7, 20 * US - 2, 20 * US, 22 * US, 25 * US - 1, 25 * US, 33 * US])
    # twice as fast up to 10 us, silence up to 20, half as fast up to 30, 4 times as fast from then on
    assert bend(steady).tolist() == [
        *(0, 4, 10 * US - 1, 20 * US),
        *(24 * US, 30 * US - 2, 30 * US, 32 * US),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_bends_any_clock_and_pieces_do_not_matter(kind: str) -> None:
    profile = Profile(every="20us", factors=[0.5, 3.0, 1.0])
    bent = KINDS[kind].model_copy(update={"profile": profile})
    own = recording(1000)
    steady = clock(KINDS[kind], PPS, OWN_PPS, stream(1, "gaps"))
    profiled = clock(bent, PPS, OWN_PPS, stream(1, "gaps"))
    for piece in np.split(own, [1, 400]):
        assert (profiled(piece) == warp(profile)(steady(piece))).all()


def test_the_rate_follows_the_profile() -> None:
    poisson = Poisson(rate="10Mpps", profile=Profile(every="10ms", factors=[0.0, 1.0, 0.3, 2.0]))
    times = clock(poisson, 1e7, float("nan"), stream(1, "gaps"))(np.zeros(500_000))
    counts = np.histogram(times, bins=np.arange(0, 50 * MS, 10 * MS))[0]
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([100_000, 30_000, 200_000], rel=0.02)
