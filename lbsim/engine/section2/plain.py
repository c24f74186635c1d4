"""The same simulations as one writes them in plain Python: a heap of events, dicts, one event at a time.

Same seed, same numbers: the oracle of the compiled kernels in the tests, and what they race against in the
bench. Nothing here is shared with the kernels but the laws, the parameters and the uniform hash.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from lbsim.engine.section2.dip import Broken, Churn
from lbsim.engine.section2.dynamic_beamer import Beamer
from lbsim.engine.section2.events import Law, down_times, durations
from lbsim.engine.section2.imbalance import PUBLISHED, WARM, Cluster, Imbalance, Meter, Placement
from lbsim.engine.section2.keys import Hashing
from lbsim.rng import coin

Event = tuple[float, str, int]  # time, kind, number; at equal time departures come before arrivals


def draw(law: Law, rng: random.Random) -> float:
    """Draw from a law."""
    return law.values[bisect_right(law.cdf, rng.random())]


def python2_hash(text: str) -> int:
    """Return `hash(text)` of 64-bit Python 2; the text is not empty."""
    x = ord(text[0]) << 7
    for character in text:
        x = (1000003 * x ^ ord(character)) & 0xFFFFFFFFFFFFFFFF
    x ^= len(text)
    signed = x - (1 << 64) if x >> 63 else x
    return -2 if signed == -1 else signed


def bucket(hashing: Hashing, seed: int, number: int, buckets: int, choice: int | None = None) -> int:
    """Return the bucket of a connection, its first or second choice where it has two."""
    if hashing == "uniform":
        return coin(seed, number, choice or 0) % buckets
    return python2_hash(f"000{number}" + ("" if choice is None else str(choice))) % buckets


def imbalance(placement: Placement, cluster: Cluster, seed: int = 1, meter: Meter = PUBLISHED) -> Imbalance:
    """Do what `section2.imbalance.imbalance` does."""
    rng, law = random.Random(seed), durations()
    servers, buckets = cluster.servers, cluster.buckets
    rate = cluster.connections / law.mean
    loads = [0] * servers
    server_of: dict[int, int] = {}
    events: list[Event] = [(0.0, "new", 0)]
    started, measuring, last = 0, False, 0.0
    total = weight = largest = 0.0
    while True:
        now, kind, number = heappop(events)
        if now > cluster.end:
            return Imbalance(started, total / weight, largest)
        if measuring and not meter.at_arrivals:
            total += (now - last) * max(loads) * servers / len(server_of)
            weight += now - last
            last = now
        if kind == "del":
            loads[server_of.pop(number)] -= 1
            continue
        mean = sum(loads) // servers if meter.floor else sum(loads) / servers
        if mean > WARM * cluster.connections / servers and not measuring:
            measuring, last = True, now
        if measuring:
            ratio = max(loads) / mean
            largest = max(largest, ratio)
            if meter.at_arrivals:
                total += ratio
                weight += 1
        if placement == "round-robin":
            server = started % servers
        elif placement == "least-loaded":
            server = loads.index(min(loads))
        elif placement == "hash":
            server = bucket(meter.hashing, seed, number, buckets) * servers // buckets
        else:
            first = bucket(meter.hashing, seed, number, buckets, 0)
            second = bucket(meter.hashing, seed, number, buckets - 1, 1)
            if second >= first:
                second += 1
            server, other = first * servers // buckets, second * servers // buckets
            if loads[server] > loads[other]:
                server = other
        loads[server] += 1
        server_of[number] = server
        heappush(events, (now + draw(law, rng), "del", number))
        heappush(events, (now + rng.expovariate(rate), "new", number + 1 if number else 2))
        started += 1


@dataclass
class Bucket:
    """A bucket of dynamic Beamer: where it is and was, and which connections are there."""

    server: int
    previous: int = -1
    here: set[int] = field(default_factory=set)
    there: set[int] = field(default_factory=set)


def dynamic_beamer(beamer: Beamer, seed: int = 1) -> list[tuple[int, int, int, int]]:
    """Return the rows of `section2.dynamic_beamer.dynamic_beamer`."""
    rng, law = random.Random(seed), durations()
    servers = range(beamer.servers)
    rate = beamer.connections / law.mean
    table = [Bucket(b * beamer.servers // beamer.buckets) for b in range(beamer.buckets)]
    own: dict[int, list[Bucket]] = {s: [] for s in servers}
    for one in table:
        own[one.server].append(one)
    loads, buckets = [0] * beamer.servers, [len(own[s]) for s in servers]
    bucket_of: dict[int, Bucket] = {}
    broken: set[int] = set()
    balancing: set[int] = set()
    started = moved = returned = 0
    rows = []

    def mean() -> float:
        calm = [loads[s] for s in servers if s not in balancing]
        return sum(calm) // len(calm) if beamer.floor else sum(calm) / len(calm)

    def move(one: Bucket, new: int) -> None:
        if one.previous != new:
            broken.update(one.there)
            if one.there:
                loads[one.previous] -= len(one.there)
                loads[new] += len(one.there)
        buckets[one.server] -= 1
        buckets[new] += 1
        one.previous, one.server = one.server, new
        one.here, one.there = one.there, one.here

    events: list[Event] = [(0.0, "new", 0)]
    minute = 60.0
    while True:
        now, kind, number = heappop(events)
        while now > min(minute, beamer.end) and minute < beamer.end + 60:
            rows.append((started, len(broken), moved, returned))
            moved = returned = 0
            minute += 60
        if now > beamer.end:
            return rows
        if kind == "new":
            one = table[bucket(beamer.hashing, seed, number, beamer.buckets)]
            one.here.add(number)
            bucket_of[number] = one
            loads[one.server] += 1
            started += 1
            heappush(events, (now + draw(law, rng), "del", number))
            heappush(events, (now + rng.expovariate(rate), "new", number + 1 if number else 2))
            seen = [s for s in servers if s not in balancing] if beamer.any_overloaded else list(servers)
            most = max(seen, key=lambda s: (loads[s], s))
            if 0 < mean() < loads[most] / beamer.threshold and most not in balancing:
                balancing.add(most)
                for one in own[most]:
                    calm = [s for s in servers if s not in balancing]
                    move(one, min(calm, key=lambda s: (buckets[s], s)))
                    moved += 1
        else:
            one = bucket_of.pop(number)
            server = one.server if number in one.here else one.previous
            (one.here if number in one.here else one.there).remove(number)
            loads[server] -= 1
            if server in balancing and loads[server] < mean():
                for one in own[server]:
                    move(one, server)
                    returned += 1
                balancing.remove(server)


@dataclass
class Connection:
    """A connection of the DIP updates: what the rules need to know of it."""

    key: int
    server: int
    home: int
    past: list[int]
    previous: int | None = None
    dead: bool = False


def dip(churn: Churn, seed: int = 1) -> Broken:
    """Do what `section2.dip.dip` does."""
    rng, law, down = random.Random(seed), durations(), down_times()
    rate, update_rate = churn.connections / law.mean, churn.updates / 60
    points = {s: [_md5(f"{s}-{v}") for v in range(churn.vnodes)] for s in range(churn.servers)}
    ring = sorted((point, s) for s in points for point in points[s])
    active: dict[int, Connection] = {}
    on: dict[int, set[int]] = {s: set() for s in points}  # connections of each server; () where it is down
    up = set(points)
    numbers = count(1)
    started = broken = forced = updates = 0
    rule = churn.rule

    def owner(key: int) -> int:
        return ring[bisect_right(ring, (key, churn.servers)) % len(ring)][1]

    def captured(c: Connection, new: int) -> None:
        nonlocal broken
        if rule == "every-move":
            broken += 1
        elif rule == "new-server":
            if new in c.past:
                del c.past[c.past.index(new) + 1 :]
            else:
                broken += 1
                c.past.append(new)
        elif rule == "chain":
            broken += c.previous is not None
        elif not c.dead and (rule == "once" or c.home != c.server):
            broken += 1
            c.dead = True
        c.previous = c.server

    def removed(c: Connection, new: int) -> None:
        nonlocal broken, forced
        if rule == "new-server" and new not in c.past:
            c.past.append(new)
        elif rule in ("once", "chain-once") and not c.dead:
            forced += c.home == c.server
            broken += c.home not in (c.server, new)
            c.dead = c.home != new
        c.previous = None

    events: list[Event] = [(0.0, "new-conn", 0), (0.0, "new-up", next(numbers))]
    while True:
        now, kind, number = heappop(events)
        if now > churn.end or started == churn.most:
            return Broken(started, broken, forced, updates, len(up))
        if kind == "new-conn":
            key = _md5(f"000{number}")
            server = owner(key)
            active[number] = Connection(key, server, server, [server])
            on[server].add(number)
            started += 1
            heappush(events, (now + draw(law, rng), "del-conn", number))
            heappush(events, (now + rng.expovariate(rate), "new-conn", next(numbers)))
        elif kind == "del-conn":
            on[active.pop(number).server].remove(number)
        elif kind == "new-up":
            s = number % churn.servers
            while churn.pick_up and s not in up:
                s = (s + 1) % churn.servers
            if s in up and len(up) > 1:
                up.remove(s)
                ring = [entry for entry in ring if entry[1] != s]
                for n in on[s]:
                    c = active[n]
                    new = owner(c.key)
                    removed(c, new)
                    c.server = new
                    on[new].add(n)
                on[s].clear()
                if rule in ("chain", "chain-once"):
                    for c in active.values():
                        if c.previous == s:
                            c.previous = None
                            if rule == "chain-once" and c.home == s and not c.dead:
                                forced += 1
                                c.dead = True
            updates += 1
            heappush(events, (now + draw(down, rng), "del-up", s))
            heappush(events, (now + rng.expovariate(update_rate), "new-up", next(numbers)))
        elif number not in up:
            up.add(number)
            losers = {owner(point) for point in points[number]}
            for point in points[number]:
                insort(ring, (point, number))
            for loser in losers:
                for n in [n for n in on[loser] if owner(active[n].key) == number]:
                    captured(active[n], number)
                    active[n].server = number
                    on[loser].remove(n)
                    on[number].add(n)


def _md5(text: str) -> int:
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16)
