"""Time, rates and sizes as the engines use them: whole picoseconds, packets per second, bits on the wire.

Time is an int64 count of picoseconds everywhere. At 100 Gb/s a 64-byte frame lasts 6.72 ns, so nanoseconds
are too coarse, and float seconds differ between a loop and a cumulative sum; picoseconds are exact and
reach 106 days.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

PS: Final = 1
NS: Final = 1_000
US: Final = 1_000_000
MS: Final = 1_000_000_000
SECOND: Final = 1_000_000_000_000
MAX_TIME: Final = 2**62  # 53 days; sums of two times still fit an int64

WIRE_OVERHEAD: Final = 24
"""Bytes a frame occupies on the wire beyond its own: FCS 4, preamble 8, gap 12 (RSS++, averagecounter)."""

TIMES: Final = {"ps": PS, "ns": NS, "us": US, "µs": US, "ms": MS, "s": SECOND, "min": 60 * SECOND}
_PACKET_RATES: Final = {"pps": 1, "kpps": 10**3, "Mpps": 10**6, "Gpps": 10**9}
_BIT_RATES: Final = {"bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9}
_MULTIPLES: Final = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
_CLOCKS: Final = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
# Exponents of at most three digits: an exact fraction of "1e999999999s" would fill the memory.
_NUMBER: Final = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*([A-Za-zµ]+)", re.ASCII)
_LONGEST: Final = 64  # characters of a quantity


def parse_quantity(text: str, units: dict[str, int], what: str) -> tuple[Fraction | int, str]:
    """Return (exact value in the base unit, unit as written) of text such as "1.5 us".

    `units` maps each unit to its size; `what` names the quantity in the ValueError that refuses other text.
    """
    written = text.strip().replace("μ", "µ")  # the Greek letter looks like the micro sign
    match = _NUMBER.fullmatch(written) if len(written) <= _LONGEST else None
    if match is None or match[2] not in units:
        shown = written if len(written) <= _LONGEST else written[:_LONGEST] + "..."
        raise ValueError(f"{shown!r} is not a {what}: write a number and one of {', '.join(units)}")
    digits, unit = match[1].replace("_", ""), match[2]
    exact = int(digits) if digits.isdigit() else Fraction(digits)  # most are whole, and int is far quicker
    return exact * units[unit], unit


def format_quantity(value: float, units: dict[str, int]) -> str:
    """Return `value` in its largest whole unit; `parse_quantity` gives the same float back.

    Units are powers of ten in rising order, so only the decimal point moves and no digit changes.
    """
    unit = next((u for u in reversed(units) if units[u] <= value), next(iter(units)))
    number = (Decimal(repr(float(value))) / units[unit]).normalize()
    return f"{number:f}{unit}" if number.adjusted() > -7 else f"{number}{unit}"


def parse_time(text: str | int) -> int:
    """Return picoseconds for text such as "10us", "1.5 ms" or a plain int of picoseconds.

    Decimals are exact; what is finer than a picosecond is rounded to the nearest (ties to even). Raises
    ValueError when the unit is missing or unknown, the value is negative, or beyond 53 days.

    >>> parse_time("10us")
    10000000
    """
    exact = parse_quantity(text, TIMES, "time")[0] if isinstance(text, str) else text
    if not 0 <= exact <= MAX_TIME:
        raise ValueError(f"{text!r} is out of range: a time is between 0 and 53 days")
    return round(exact)


def format_time(ps: int) -> str:
    """Return the shortest exact text of a time; `parse_time` gives the same picoseconds back.

    >>> format_time(1_448_000)
    '1448ns'
    """
    for unit, scale in (("s", SECOND), ("ms", MS), ("us", US), ("ns", NS)):
        if ps % scale == 0 and ps >= scale:
            return f"{ps // scale}{unit}"
    return f"{ps}ps"


def parse_rate(text: str) -> tuple[float, str]:
    """Return (value, "pps" or "bps") for text such as "8Mpps" or "34Gbps".

    Bits per second are link rates: each frame counts with its `WIRE_OVERHEAD`. Raises ValueError for other
    text, and for a rate that is not above 0 or beyond 10 T/s.
    """
    exact, unit = parse_quantity(text, _PACKET_RATES | _BIT_RATES, "rate")
    value = float(exact) if exact <= 10**13 else 0.0
    if value <= 0:
        raise ValueError(f"{text!r} is out of range: a rate is above 0 and at most 10 T/s")
    return value, "pps" if unit in _PACKET_RATES else "bps"


def format_rate(value: float, unit: str) -> str:
    """Return the text of a rate in "pps" or "bps"; `parse_rate` gives the same float back.

    >>> format_rate(8e6, "pps")
    '8Mpps'
    """
    return format_quantity(value, _PACKET_RATES if unit == "pps" else _BIT_RATES)


def parse_clock(text: str) -> float:
    """Return hertz for text such as "3.7GHz"; ValueError outside 1 MHz to 100 GHz."""
    exact, _ = parse_quantity(text, _CLOCKS, "clock frequency")
    if not 10**6 <= exact <= 10**11:
        raise ValueError(f"{text!r} is out of range: a clock is between 1 MHz and 100 GHz")
    return float(exact)


def format_clock(hertz: float) -> str:
    """Return the text of a clock frequency; `parse_clock` gives the same float back.

    >>> format_clock(3.7e9)
    '3.7GHz'
    """
    return format_quantity(hertz, _CLOCKS)


def wire_bits(frame: float) -> float:
    """Return the bits a frame of `frame` bytes (without FCS) occupies on the link."""
    return (frame + WIRE_OVERHEAD) * 8


def short(value: float) -> str:
    """Return a count in at most six places.

    >>> short(12_345_678)
    '12.3 M'
    """
    rounded = float(f"{value:.3g}")
    scale, suffix = next(((k, s) for k, s in _MULTIPLES if abs(rounded) >= k), (1.0, ""))
    return f"{rounded / scale:.3g}{suffix}"


def span(seconds: float) -> str:
    """Return a time for people: 42 s, 3:24, 1:02:03.

    >>> span(204)
    '3:24'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
