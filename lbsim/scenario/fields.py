"""How scenarios write quantities: "10us", "8Mpps", "700cycles", "3.7GHz", each exact in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from lbsim.scenario.errors import nearest, show
from lbsim.units import (
    SECOND,
    TIMES,
    US,
    format_clock,
    format_quantity,
    format_rate,
    format_time,
    parse_clock,
    parse_quantity,
    parse_rate,
    parse_time,
    wire_bits,
)

CYCLES: Final = {"cycles": 1}
MOST_CYCLES: Final = 10**12  # at the slowest clock, 1 MHz, they still fit an int64 of picoseconds
FRAMES: Final = ("imix", "campus", "campus-4")
FOREVER: Final = "forever"
SMALLEST_FRAME, LARGEST_FRAME = 60, 9216


@dataclass(frozen=True)
class Rate:
    """A rate of packets ("8Mpps") or of bits on the link ("34Gbps")."""

    value: float
    unit: Literal["pps", "bps"]

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Return the rate that `text` names; ValueError for other text."""
        value, unit = parse_rate(text)
        return cls(value, "pps" if unit == "pps" else "bps")

    def pps(self, mean_frame: float) -> float:
        """Return packets per second when frames have `mean_frame` bytes on average (without FCS)."""
        return self.value if self.unit == "pps" else self.value / wire_bits(mean_frame)

    def __str__(self) -> str:
        return format_rate(self.value, self.unit)


@dataclass(frozen=True)
class Work:
    """What a core must do: a time ("190ns"), or cycles ("700cycles") that last as its clock says."""

    amount: float  # whole ps, or cycles
    unit: Literal["ps", "cycles"] = "ps"

    @classmethod
    def parse(cls, text: str) -> Work:
        """Return the work that `text` names; ValueError for other text."""
        exact, unit = parse_quantity(text, TIMES | CYCLES, "time or number of cycles")
        if unit not in CYCLES:
            return cls(parse_time(text))
        if not 0 <= exact <= MOST_CYCLES:
            raise ValueError(f"{text!r} is out of range: 0 to {MOST_CYCLES} cycles")
        return cls(float(exact), "cycles")

    def ps(self, clock: float | None) -> int:
        """Return picoseconds on a core of `clock` hertz; ValueError for cycles without a clock."""
        if self.unit == "ps":
            return round(self.amount)
        if clock is None:
            raise ValueError(f'{self} need a clock; set server.clock, e.g. "3.7GHz"')
        return round(self.amount * SECOND / clock)

    def __str__(self) -> str:
        return format_time(round(self.amount)) if self.unit == "ps" else format_quantity(self.amount, CYCLES)


@dataclass(frozen=True)
class Written:
    """A quantity that files hold as text with a unit and models hold as a value.

    `parse` and `write` are inverse; `bare` are the Python types taken as values as they are. Files must
    write the unit: where the validation context says so ("text"), a bare number other than 0 is refused,
    so a field's default in ps says `validate_default=False`.
    """

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    bare: tuple[type, ...]
    examples: tuple[str, ...]
    pattern: str

    def read(self, value: object, info: ValidationInfo) -> Any:
        """Return the value of text, or a value that its own text gives back."""
        if isinstance(value, str):
            return self.parse(value)
        in_file = info.context is not None and info.context["text"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, self.bare) or isinstance(value, bool) or (in_file and number and value != 0):
            problem = "has no unit" if number else "is not a quantity"
            raise ValueError(f"{show(value)} {problem}; write text such as {self._shown()}")
        try:
            return self.parse(self.write(value))
        except ArithmeticError:
            raise ValueError(
                f"{show(value)} is no finite number; write text such as {self._shown()}"
            ) from None

    def _shown(self) -> str:
        return " or ".join(show(example) for example in self.examples)

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(self.write, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": self.pattern, "examples": list(self.examples)}


def _pattern(*units: str) -> str:
    return rf"^\s*\+?[0-9._]+([eE][+-]?[0-9]+)?\s*({'|'.join(units)})\s*$"


def _work_text(value: Work | int) -> str:
    return format_time(value) if isinstance(value, int) else str(value)


def _positive(value: Any) -> Any:
    if value in (0, Work(0), Work(0, "cycles")):
        raise ValueError('0 is too short; write a time above 0, e.g. "1us"')
    return value


def _period(value: int) -> int:
    if value < US:
        raise ValueError(f'{format_time(value)} is too short; write a period of at least "1us"')
    return value


def _key(value: str) -> str:
    from lbsim.nic.toeplitz import parse_key  # loads the kernels of the hash: only where a key is checked

    parse_key(value)
    return value


def _loops(value: object) -> object:
    if isinstance(value, str) and value != FOREVER:
        raise ValueError(f'{show(value)} is neither a number of times from 1 nor "{FOREVER}"; try 1')
    return None if value == FOREVER else value


def _found_from_file(value: str, info: ValidationInfo) -> str:
    folder = info.context["folder"] if info.context else None
    return str(folder / value) if folder is not None else value


def _table_name(value: str, info: ValidationInfo) -> str:
    return _found_from_file(value, info) if value.endswith(".csv") else value


def _title(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{show(value)} has a line break or control character; write one plain line")
    return value


def _identifier(value: str) -> str:
    if not (value.isascii() and value.isidentifier()):
        raise ValueError(f'{show(value)} is not a name of letters, digits and "_"; try "round_robin"')
    return value


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        raise ValueError(f"{value} is not a power of two from 1 to 4096; try {below} or {2 * below}")
    return value


def _frame(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and SMALLEST_FRAME <= value <= LARGEST_FRAME:
        return value
    if value in FRAMES:
        return str(value)
    close = nearest(value, FRAMES) if isinstance(value, str) else None
    raise ValueError(
        f"{show(value)} is neither bytes from {SMALLEST_FRAME} to {LARGEST_FRAME} "
        f"nor one of {', '.join(FRAMES)}; " + (f'did you mean "{close}"?' if close else "try 1000")
    )


_TIME = Written(parse_time, format_time, (int,), ("10us", "1.5ms"), _pattern(*TIMES))
_RATES = [prefix + base for base in ("pps", "bps") for prefix in ("", "k", "M", "G")]

Time = Annotated[int, _TIME]
"""Picoseconds, from 0 to 53 days; written "10us"."""

PositiveTime = Annotated[int, _TIME, AfterValidator(_positive)]
"""Picoseconds, above 0."""

Period = Annotated[int, _TIME, AfterValidator(_period)]
"""Picoseconds between two control events, 1 us or more: a shorter period would be a busy loop."""

RateText = Annotated[Rate, Written(Rate.parse, str, (Rate,), ("8Mpps", "34Gbps"), _pattern(*_RATES))]
"""A `Rate`, written "8Mpps" or "34Gbps"."""

_WORK = Written(Work.parse, _work_text, (Work, int), ("190ns", "700cycles"), _pattern(*TIMES, *CYCLES))

WorkText = Annotated[Work, _WORK]
"""A `Work`, written "190ns" or "700cycles"; a plain int is picoseconds."""

PositiveWork = Annotated[Work, _WORK, AfterValidator(_positive)]
"""A `Work` above 0."""

Clock = Annotated[
    float,
    Written(
        parse_clock, format_clock, (int, float), ("3.7GHz", "2300MHz"), _pattern("Hz", "kHz", "MHz", "GHz")
    ),
]
"""Hertz, from 1 MHz to 100 GHz; written "3.7GHz"."""

Frame = Annotated[
    int | Literal["imix", "campus", "campus-4"],
    PlainValidator(_frame),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": SMALLEST_FRAME, "maximum": LARGEST_FRAME},
                {"enum": [*FRAMES]},
            ]
        }
    ),
]
"""Bytes of every frame (without FCS), or the name of a published table of packet sizes."""

TableSize = Annotated[int, AfterValidator(_power_of_two)]
"""Entries of an indirection table: a power of two."""

Key = Annotated[str, AfterValidator(_key)]
"""A hash key as `lbsim.nic.parse_key` reads it."""

File = Annotated[str, AfterValidator(_found_from_file)]
"""Path of a file; relative to the scenario file, where one says it."""

TableName = Annotated[str, AfterValidator(_table_name)]
"""Name of a published distribution, or path of a CSV file."""

Title = Annotated[str, AfterValidator(_title)]
"""One line of text."""

Identifier = Annotated[str, AfterValidator(_identifier)]
"""A name as Python functions have them."""

Loops = Annotated[
    int | None,
    BeforeValidator(_loops),
    PlainSerializer(lambda value: FOREVER if value is None else value, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": FOREVER}]}),
]
"""How often to repeat; None, written "forever", has no end."""
