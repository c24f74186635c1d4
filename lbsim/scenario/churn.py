"""Churn: servers come, drain, are removed, crash and come back."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from lbsim.scenario.clients import law_problems
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Time
from lbsim.scenario.part import Part
from lbsim.scenario.work import Law
from lbsim.units import SECOND, format_time

MOST_CHANGES: Final = 1e7  # each builds a table anew and looks at every live connection
MOST_SERVERS: Final = 10**6

Place = Literal["random", "end"]
"""Where in the balancer's list of active servers one is put that comes."""

Leave = Literal["drain", "remove", "crash"]
"""How a server goes.

drain: it gets nothing new and serves on what it has. remove: what it has is lost at once. crash: likewise,
but the balancer sends new connections to it until it has detected that, and those are lost too.
"""


class Change(Part):
    """One change of the pool."""

    at: Time
    """When."""
    do: Literal["add", "drain", "remove", "crash"]
    """What: add takes the first spare; drain, remove and crash take a server away."""
    servers: int = Field(default=1, ge=1, le=MOST_SERVERS)
    """How many."""
    server: int | None = Field(default=None, ge=0, lt=MOST_SERVERS)
    """The number of the one server meant; left out, the balancer picks."""
    pick: Literal["random", "oldest"] = "random"
    """Which active server goes where none is named."""
    place: Place = "random"
    """Where in the list an added one is put."""
    detect: Time = 0
    """Time until the balancer knows of a crash."""


class Schedule(Part):
    """Changes at given times."""

    kind: Literal["schedule"] = "schedule"
    changes: Annotated[tuple[Change, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
    """All of them, in order of time."""

    @model_validator(mode="after")
    def _each_makes_sense(self) -> Self:
        problems, before = [], 0
        for k, change in enumerate(self.changes):
            path = f"churn.changes.{k}"
            if change.at < before:
                problems.append(
                    f"{path}.at: {format_time(change.at)} is before the change above it, at "
                    f"{format_time(before)}; write changes in order of time"
                )
            if change.server is not None and change.servers > 1:
                problems.append(
                    f"{path}.servers: {change.servers}, but server = {change.server} names one; "
                    "leave one of the two out"
                )
            problems += _needless_detection(path, change.do, change.detect)
            before = max(before, change.at)
        refuse(*problems)
        return self


class Updates(Part):
    """Servers go at random times, each comes back: upgrades as SilkRoad (SIGCOMM 2017) counts them."""

    kind: Literal["updates"] = "updates"
    per_minute: float = Field(gt=0, examples=[10.0])
    """Servers that go in a minute, a Poisson process; one that would leave no server is skipped."""
    do: Leave = "drain"
    """How a random active server goes."""
    down: Law = Field(discriminator="kind")
    """How long it is away, a time."""
    place: Place = "random"
    """Where in the list it comes back."""
    detect: Time = 0
    """Time until the balancer knows of a crash."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        refuse(
            *law_problems("churn.down", self.down),
            *_needless_detection("churn", self.do, self.detect),
        )
        return self


class Flaps(Part):
    """The same few servers go and come back again and again."""

    kind: Literal["flaps"] = "flaps"
    servers: int = Field(default=1, ge=1, le=MOST_SERVERS)
    """How many: the first ones."""
    up: Law = Field(discriminator="kind")
    """How long each is there, a time; they start with it."""
    down: Law = Field(discriminator="kind")
    """How long each is away, a time."""
    do: Leave = "drain"
    """How they go."""
    place: Place = "random"
    """Where in the list one comes back."""
    detect: Time = 0
    """Time until the balancer knows of a crash."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        refuse(
            *law_problems("churn.up", self.up),
            *law_problems("churn.down", self.down),
            *_needless_detection("churn", self.do, self.detect),
        )
        return self


AnyChurn = Schedule | Updates | Flaps

CHURN_KINDS: Final[tuple[type[Part], ...]] = (Schedule, Updates, Flaps)


def _needless_detection(path: str, do: str, detect: int) -> Iterator[str]:
    if detect and do != "crash":
        yield (
            f"{path}.detect: {format_time(detect)}, but only a crash is detected; "
            'leave it out or write do = "crash"'
        )


class Pool(NamedTuple):
    """The servers that come and go, as the problems of a churn speak of them."""

    configured: int
    active: int  # at the start
    fields: tuple[str, str] = ("servers.configured", "servers.active")  # that say so


def churn_problems(churn: AnyChurn, pool: Pool, duration: int | None) -> Iterator[str]:
    """Yield what a churn cannot do with a pool in a duration, where that is known."""
    active = pool.active
    match churn:
        case Schedule():
            yield from _replay(churn, pool)
        case Updates() if active < 2:
            yield "churn.kind: updates, but with one active server none can ever go; write more servers"
        case Flaps() if churn.servers >= active:
            yield (
                f"churn.servers: {churn.servers} of {active} active servers flap, so none may be left; "
                + (f"write {active - 1} or less" if active > 1 else "write more servers")
            )
    if duration is not None:
        yield from _too_many(churn, duration)


def _too_many(churn: AnyChurn, duration: int) -> Iterator[str]:
    """Yield that a run would do little else than change the pool."""
    if isinstance(churn, Updates):
        changes = 2 * churn.per_minute * duration / (60 * SECOND)
        if changes > MOST_CHANGES:
            yield f"churn.per_minute: about {changes:.1e} changes, at most {MOST_CHANGES:.0e}; lower it"
    elif isinstance(churn, Flaps):
        cycle = churn.up.mean_ps(None) + churn.down.mean_ps(None)
        if 2 * churn.servers * duration > MOST_CHANGES * cycle:
            many = f"about {2 * churn.servers * duration / cycle:.1e}" if cycle else "endless"
            yield f"churn.up: {many} changes, at most {MOST_CHANGES:.0e}; write longer times in up and down"


def _replay(schedule: Schedule, pool: Pool) -> Iterator[str]:
    """Yield the changes that cannot be, counting active servers and spares through time.

    A server that crashed is nothing that another change picks; it may be named to come back, and becomes a
    spare when the crash is detected. Where a named server is can be told until a random choice may have met
    it; what cannot be told is taken for possible, what is refused for not done.
    """
    configured, active, _ = pool
    up, spares = active, configured - active
    known: dict[int, tuple[str, int]] = {}  # of named servers: active, spare or down, from which change on
    chance = {"active": -1, "spare": -1}  # the last change that took any server from there
    detections: list[tuple[int, int, int, int | None]] = []  # a heap: when, of which change, how many, whom
    for k, change in enumerate(schedule.changes):
        while detections and detections[0][0] <= change.at:
            _, cause, count, server = heappop(detections)
            if server is None or known[server] == ("down", cause):  # it has not come back before
                spares += count
                if server is not None:
                    known[server] = "spare", k
        count, server = change.servers, change.server
        at_first = "active" if server is not None and server < active else "spare"
        place, since = known.get(-1 if server is None else server, (at_first, 0))
        where = None if server is None or chance.get(place, -1) >= since else place
        back = server is not None and (
            where == "down" or (where is None and any(whom is None for *_, whom in detections))
        )
        if problem := _impossible(change, where, pool, up, count if back else spares):
            yield f"churn.changes.{k}.{problem}"
            continue
        before, after = ("spare", "active") if change.do == "add" else ("active", "spare")
        if change.do == "add":
            up, spares = up + count, spares if back else spares - count
        elif change.do == "crash" and change.detect:
            up, after = up - count, "down"
            heappush(detections, (change.at + change.detect, k, count, server))
        else:
            up, spares = up - count, spares + count
        if server is None:
            chance[before] = k
        else:
            known[server] = after, k


def _impossible(change: Change, where: str | None, pool: Pool, up: int, spares: int) -> str:
    """Return field and problem of a change that cannot be done, "" where it can.

    `where` the named server is; None where chance decides that, or none is named.
    """
    configured, _, (all_of_them, at_start) = pool
    do, count, server, time = change.do, change.servers, change.server, format_time(change.at)
    if server is not None and server >= configured:
        return f"server: {server} is not among the {configured} configured; write {configured - 1} or less"
    if do == "add":
        if where == "active":
            return f"server: {server} is active already at {time}; name one that is not, or leave it out"
        if count > spares:
            have = (
                "no spare is"
                if not spares
                else f"only {spares} {'spare is' if spares == 1 else 'spares are'}"
            )
            more = f"raise {all_of_them} to {configured + count - spares} or lower {at_start}"
            return f"servers: {count} to add at {time}, but {have} left; {more}, or add later"
        return ""
    if where in ("spare", "down"):
        state = "not active" if where == "spare" else "down"
        return (
            f"server: {server} is {state} at {time}, so it cannot {do}; name an active one, or leave it out"
        )
    if count >= up:
        fix = f"write {up - 1} or less" if up > 1 else "add servers before"
        return f"servers: {count} to {do} at {time} of {up} active, which leaves none; {fix}"
    return ""
