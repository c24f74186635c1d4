"""Units: what is written is what is meant, to the last digit."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbsim.units import (
    MAX_TIME,
    format_clock,
    format_rate,
    format_time,
    parse_clock,
    parse_rate,
    parse_time,
    wire_bits,
)

UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "µs": 10**6, "ms": 10**9, "s": 10**12, "min": 60 * 10**12}


@given(st.integers(0, MAX_TIME))
@example(0)
@example(MAX_TIME)
def test_every_time_survives_its_text(ps):
    assert parse_time(format_time(ps)) == ps == parse_time(ps)


@given(st.integers(0, 10**6), st.text("0123456789", max_size=20), st.sampled_from(sorted(UNITS)))
def test_decimal_times_are_exact(whole, digits, unit):
    exact = Fraction(f"{whole}.{digits or 0}") * UNITS[unit]
    if exact <= MAX_TIME:
        assert parse_time(f"{whole}.{digits}{unit}") == round(exact)


@pytest.mark.parametrize(
    ("text", "ps"),
    [
        ("10us", 10_000_000),
        (" 1.5 ms ", 1_500_000_000),
        ("1_000ns", 1_000_000),
        (".5ns", 500),
        ("5.s", 5 * 10**12),
        ("2e3us", 2 * 10**9),
        ("1e-9s", 1000),
        ("4.4ps", 4),
        ("1μs", 1_000_000),  # the Greek letter
        ("-0s", 0),
        ("4611686.018427387904s", MAX_TIME),
        ("4000000.0000000000014s", 4_000_000 * 10**12 + 1),  # a float would lose the last digits
    ],
)
def test_times_as_people_write_them(text, ps):
    assert parse_time(text) == ps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10", "write a number and one of ps, ns, us"),
        ("us", "write a number"),
        ("10 parsecs", "write a number"),
        ("1.2.3us", "write a number"),
        ("nans", "write a number"),
        ("infs", "write a number"),
        ("", "write a number"),
        ("1e9999s", "write a number"),
        ("9" * 5000 + "s", "write a number"),
        ("-1us", "between 0 and 53 days"),
        (-1, "between 0 and 53 days"),
        ("1e999s", "between 0 and 53 days"),
        ("4611686.018427387905s", "between 0 and 53 days"),
        (MAX_TIME + 1, "between 0 and 53 days"),
    ],
)
def test_other_times_are_refused(text, why):
    with pytest.raises(ValueError, match=why) as refusal:
        parse_time(text)
    assert len(str(refusal.value)) < 200


@given(st.floats(0, 1e13, exclude_min=True), st.sampled_from(["pps", "bps"]))
@example(5e-324, "pps")
@example(1e13, "bps")
@example(1.1e3, "pps")
def test_every_rate_survives_its_text(value, unit):
    assert parse_rate(format_rate(value, unit)) == (value, unit)


@given(st.floats(1e6, 1e11))
def test_every_clock_survives_its_text(hertz):
    assert parse_clock(format_clock(hertz)) == hertz


@given(st.decimals(0, 10**4, places=9).filter(bool), st.sampled_from(["k", "M", "G"]))
def test_a_rate_is_the_float_nearest_to_what_is_written(number, prefix):
    scale = {"k": 10**3, "M": 10**6, "G": 10**9}[prefix]
    if number * scale <= 10**13:
        assert parse_rate(f"{number:f}{prefix}pps") == (float(Fraction(number) * scale), "pps")


def test_rates_read_well():
    assert parse_rate("8Mpps") == (8e6, "pps")
    assert parse_rate("34Gbps") == (34e9, "bps")
    assert format_rate(8e6, "pps") == "8Mpps"
    assert format_rate(33.5e9, "bps") == "33.5Gbps"
    assert format_rate(999, "pps") == "999pps"
    assert format_rate(0.25, "pps") == "0.25pps"
    assert format_clock(3.7e9) == "3.7GHz"
    assert format_clock(1e7) == "10MHz"


@pytest.mark.parametrize("text", ["8", "8mpps", "8M", "8GB/s", "Mpps", "8us"])
def test_other_rates_are_refused(text):
    with pytest.raises(ValueError, match="one of pps, kpps, Mpps, Gpps, bps"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0pps", "-1Mpps", "10001Gpps", "1e999bps", "1e-999pps"])
def test_rates_out_of_range_are_refused(text):
    with pytest.raises(ValueError, match="above 0 and at most 10 T/s"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0GHz", "999kHz", "100.1GHz", "-1GHz"])
def test_clocks_out_of_range_are_refused(text):
    with pytest.raises(ValueError, match="between 1 MHz and 100 GHz"):
        parse_clock(text)


def test_a_smallest_frame_lasts_6720_ps_at_100_gbps():
    assert wire_bits(60) * 10**12 / 100e9 == 6720
