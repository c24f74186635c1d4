"""What happens to connections under changes of the pool, told a second time: one heap, plain Python.

No scheme keeps connections to their servers: `pick(hash, active)` says where any packet goes. Every pending
event is in the heap, control too; an event of a plan that was given up is skipped when it comes up.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from lbsim.engine.connection.plane import Clients
from lbsim.rng import coin

END, CONTROL, BREAK, RETRY, BEGIN = range(5)


class Change(NamedTuple):
    """What happens to one server: "join" (at a place of the list), "leave" or "crash"."""

    time: int
    do: str
    server: int
    place: int = 0


class Outcome(NamedTuple):
    """What was counted."""

    whole: Counter[str]
    cohort: Counter[str]
    breaks: list[tuple[int, int, int, int, int]]
    ratios: list[float]
    load: list[int]
    placed: list[int]
    live: int
    peak: int


class Attempt(NamedTuple):
    """One that wants to begin; of clients with URLs, `process` and `u` say which."""

    time: int
    hash: int
    length: int = 0
    gap: int = 0
    process: int = -1
    u: int = 0


def simulate(
    attempts: list[Attempt],
    changes: list[Change],
    configured: int,
    active: int,
    clients: Clients,
    end: int,
    pick: Callable[[int, list[int]], int],
) -> Outcome:
    """Run everything before `end`."""
    servers, down = list(range(active)), [False] * configured
    load, placed = [0] * configured, [0] * configured
    whole: Counter[str] = Counter()
    cohort: Counter[str] = Counter()
    breaks, ratios = [], []
    live: dict[int, dict[str, Any]] = {}
    peak = 0
    urls = clients.urls
    free = [list(range(len(urls.length))) for _ in range(urls.processes)] if urls else []
    heap: list[tuple[int, int, int, int, Any]] = []  # time, kind, number, plan, what
    for number, a in enumerate(attempts):
        heapq.heappush(heap, (a.time, BEGIN, number, 0, a))
    for number, c in enumerate(changes):
        heapq.heappush(heap, (c.time, CONTROL, number, 0, c))

    def count(name: str, now: int) -> None:
        whole[name] += 1
        cohort[name] += now >= clients.warmup

    def broken(now: int, index: int, c: dict[str, Any]) -> None:
        u = float(int(coin(clients.seed, index, 2)) >> 10) / 2**53
        cause = int(down[c["server"]])
        breaks.append((now, now + round(-clients.notice * math.log1p(-u)), index, c["server"], cause))
        count("lost" if cause else "remapped", now)
        if urls and urls.again and c["process"] >= 0:
            free[c["process"]].append(c["url"])
        if clients.retry >= 0:
            digest = int(coin(clients.seed, index, 3)) & 0xFFFFFFFF
            again = {**c, "hash": digest, "length": c["begin"] + c["length"] - now, "process": -1}
            heapq.heappush(heap, (now + clients.retry, RETRY, index, 0, again))

    def begin(now: int, c: dict[str, Any]) -> None:
        nonlocal peak
        at = [load[s] for s in servers]
        if now >= clients.warmup and sum(at):
            ratios.append(max(at) * len(at) / sum(at))
        index, server = whole["begun"], pick(c["hash"], servers)
        count("begun", now)
        placed[server] += 1
        c |= {"begin": now, "server": server, "plan": 0}
        if down[server]:
            broken(now, index, c)
            return
        load[server] += 1
        live[index] = c
        peak = max(peak, len(live))
        heapq.heappush(heap, (now + c["length"], END, index, 0, None))

    while heap and heap[0][0] < end:
        now, kind, number, plan, what = heapq.heappop(heap)
        if kind == CONTROL:
            if what.do == "join":
                servers.insert(what.place, what.server)
                down[what.server] = False
            elif what.do == "leave":
                servers.remove(what.server)
            else:
                down[what.server] = True
            for index, c in live.items():
                c["plan"] += 1
                if pick(c["hash"], servers) == c["server"] and not down[c["server"]]:
                    continue
                packet = now
                if c["gap"]:
                    packet = c["begin"] + c["gap"]
                    while packet < now:
                        packet += c["gap"]
                if packet < c["begin"] + c["length"]:
                    heapq.heappush(heap, (packet, BREAK, index, c["plan"], None))
        elif kind == BEGIN:
            c = {"hash": what.hash, "length": what.length, "gap": what.gap, "process": what.process}
            if urls:
                mine = free[what.process]
                if not mine:
                    count("skipped", now)
                    continue
                p = what.u % len(mine)
                c["url"] = mine[p]
                mine[p] = mine[-1]
                mine.pop()
                c |= {"length": int(urls.length[c["url"]]), "gap": int(urls.gap[c["url"]])}
            begin(now, c)
        elif kind == RETRY:
            count("retried", now)
            begin(now, what)
        elif number in live and (kind == END or live[number]["plan"] == plan):
            c = live.pop(number)
            load[c["server"]] -= 1
            if kind == BREAK:
                broken(now, number, c)
            else:
                count("completed", now)
                if c["process"] >= 0:
                    free[c["process"]].append(c["url"])
    return Outcome(whole, cohort, breaks, ratios, load, placed, len(live), peak)
