"""Prequal against a plain reading of its rule, compiled and as written."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer import Answer, Unit, View, policies
from lbsim.balancer.policies import memory_of
from lbsim.balancer.prequal import FIELDS as WIDTH
from lbsim.balancer.prequal import (
    FLYING,
    HELD,
    LATENCY,
    LONGEST,
    PLACE,
    POOL,
    POOL_AT,
    RIF,
    ROUND_TRIP,
    SENT,
    SERVER,
    best,
    reuses,
    worst,
)
from lbsim.balancer.tournament import no_order
from lbsim.engine.policy import compile_policy
from lbsim.rng import coin
from lbsim.units import MS, SECOND, US

NONE = np.empty(0, np.int64)


@dataclass
class Report:
    server: int
    rif: int
    latency: int
    sent: int
    uses: int


@dataclass
class Plain:
    """The rule with lists."""

    n: int
    seed: int
    flying: list[Report] = field(default_factory=list)
    pool: list[Report] = field(default_factory=list)
    rifs: list[int] = field(default_factory=list)
    removals: int = 0
    met: dict[int, int] = field(default_factory=dict)

    def choose(self, index: int, now: int, inside: list[int]) -> int:
        while self.flying and self.flying[0].sent + 100 * US <= now:
            new = self.flying.pop(0)
            self.rifs.append(new.rif)
            self.pool = [old for old in self.pool if old.server != new.server][-16:]
            self.pool = [*self.pool, new][-16:]
        self.pool = [r for r in self.pool if now - r.sent <= SECOND]
        target = coin(self.seed, index, 0) % self.n
        if len(self.pool) >= 2:
            target = self.from_pool()
        self.probe(index, now, inside)
        return target

    def from_pool(self) -> int:
        recent = sorted(self.rifs[-128:])
        limit = recent[math.ceil(0.84 * len(recent)) - 1]
        cold = [r for r in self.pool if r.rif <= limit]
        if cold:
            best = min(cold, key=lambda r: (r.latency, r.rif))
        else:
            best = min(self.pool, key=lambda r: (r.rif, r.latency))
        best.rif += 1
        best.uses -= 1
        self.pool = [r for r in self.pool if r is not best or r.uses]
        if len(self.pool) > 2:
            hot = [r for r in self.pool if r.rif > limit]
            worst = max(hot, key=lambda r: r.rif) if hot else max(self.pool, key=lambda r: r.latency)
            gone = worst if self.removals % 2 else self.pool[0]
            self.pool = [r for r in self.pool if r is not gone]
            self.removals += 1
        return best.server

    def learn(self, server: int, latency: int, found: int) -> None:
        each, known = latency // (found + 1), self.met.get(server, 0)
        self.met[server] = known + (each - known) // 8 if known else each

    def probe(self, index: int, now: int, inside: list[int]) -> None:
        net = (1 - 16 / self.n) * 3 - 1
        often = max(1.0, 2 / net) if net > 0 else 1.0
        sent: list[int] = []
        count = min(3, self.n)
        for k in range(count):
            last = self.n - count + k
            t = coin(self.seed, index, 1 + k) % (last + 1)
            t = last if t in sent else t
            sent.append(t)
            up = (coin(self.seed, index, 4 + k) >> 10) / 2**53 < often % 1
            if len(self.flying) < 64 + 16 * self.n:
                self.flying.append(
                    Report(t, inside[t], self.met.get(t, 0) * (inside[t] + 1), now, int(often) + up)
                )


class Both:
    """The policy on n servers, compiled and as written."""

    def __init__(self, n: int, seed: int = 1) -> None:
        self.policy = policies()["prequal"]
        self.n, self.seed = n, seed
        self.states = [memory_of(self.policy, n) for _ in range(2)]
        self.inside = np.zeros(n, np.int64)
        self.active = np.arange(n, dtype=np.int64)

    def ask(self, index: int, now: int) -> int:
        n, none, unit = len(self.active), np.full(len(self.active), -1), Unit(index, index, 0, 0)
        chosen = []
        for choose, state in zip(
            (self.policy.choose, compile_policy(self.policy.choose)), self.states, strict=True
        ):
            view = View(
                n, now, none, state, self.seed, -1, np.ones(n), NONE, no_order(), self.active, 2,
                none, self.inside[self.active], none,
            )  # fmt: skip
            chosen.append(int(choose(view, unit)))
        assert chosen[0] == chosen[1]
        assert self.states[0].tolist() == self.states[1].tolist()
        return chosen[0]

    def tell(self, now: int, server: int, latency: int, found: int) -> None:
        for done, state in zip(
            (self.policy.done, compile_policy(self.policy.done)), self.states, strict=True
        ):
            none, order = np.full(self.n, -1), no_order()
            view = View(
                self.n, now, none, state, self.seed, -1, np.ones(self.n), NONE, order, self.active, 2,
                none, self.inside, none,
            )  # fmt: skip
            done(view, Answer(server, latency, -1, -1, -1, found))

    @property
    def pool(self) -> np.ndarray:
        state = self.states[0]
        return state[POOL_AT : POOL_AT + POOL * WIDTH].reshape(POOL, WIDTH)[: state[HELD]]


@given(
    n=st.sampled_from([1, 2, 3, 5, 20, 25, 64, 300]),
    seed=st.integers(0, 2**63 - 1),
    gap=st.sampled_from([US // 2, 5 * US, 60 * US, MS, SECOND // 5]),
    spread=st.integers(1, 12),
    asked=st.integers(1, 250),
)
@settings(max_examples=60, deadline=None)
def test_prequal_follows_its_rule(n: int, seed: int, gap: int, spread: int, asked: int) -> None:
    both, plain = Both(n, seed), Plain(n, seed)
    rng = np.random.default_rng(seed)
    now = 0
    for index in range(asked):
        now += round(rng.exponential() * gap)
        some = rng.integers(0, n)
        both.inside[some] = rng.integers(0, spread)
        latency, found = int(rng.integers(0, spread)) * MS, int(rng.integers(0, 5))
        plain.learn(int(some), latency, found)
        both.tell(now, int(some), latency, found)
        expected = plain.choose(index, now, both.inside.tolist())
        assert both.ask(index, now) == expected
        pool = [[r.server, r.rif, r.sent] for r in plain.pool]
        assert both.pool[:, [PLACE, RIF, SENT]].tolist() == pool
        assert both.states[0][FLYING] == len(plain.flying)


def test_an_answer_is_usable_a_round_trip_after_its_probe() -> None:
    both = Both(50)
    both.ask(0, 0)
    both.ask(1, ROUND_TRIP - 1)
    assert len(both.pool) == 0
    both.ask(2, ROUND_TRIP)
    assert both.pool[:, SENT].tolist() == [0, 0]  # one of three was removed, or used as often as it may be


def test_an_answer_is_dropped_when_it_is_too_old() -> None:
    both = Both(50)
    both.ask(0, 0)
    both.ask(1, LONGEST)
    assert 0 in both.pool[:, SENT]
    both.ask(2, LONGEST + 1)
    assert 0 not in both.pool[:, SENT]


def test_while_the_pool_is_too_small_the_choice_is_random() -> None:
    both = Both(8)
    chosen = Counter(both.ask(k, 2 * k * SECOND) for k in range(1600))  # all answers are too old by then
    assert all(abs(chosen[s] - 200) < 5 * math.sqrt(200) for s in range(8))


POOLED = [(9, 1), (1, 8), (1, 5), (2, 9), (5, 3)]  # RIF, latency


@pytest.mark.parametrize(
    ("limit", "chosen", "removed"),
    [(8, 4, 0), (9, 0, 3), (4, 2, 0), (0, 2, 0), (1, 2, 0)],
)
def test_hot_and_cold_then_latency_or_requests_in_flight(limit: int, chosen: int, removed: int) -> None:
    state = memory_of(policies()["prequal"], 5)
    state[HELD] = len(POOLED)
    pool = state[POOL_AT : POOL_AT + POOL * WIDTH].reshape(POOL, WIDTH)
    pool[: len(POOLED), [RIF, LATENCY]] = POOLED
    assert best(state, limit) == chosen
    assert worst(state, limit) == removed


def test_servers_that_left_or_moved_are_forgotten() -> None:
    both = Both(6)
    for k in range(10):
        both.ask(k, k * MS)
    assert len(both.pool) >= 2
    both.active = np.array([5, 0, 2], np.int64)
    for k in range(10, 60):
        assert 0 <= both.ask(k, k * MS) < 3
        assert both.active[both.pool[:, PLACE]].tolist() == both.pool[:, SERVER].tolist()


@pytest.mark.parametrize(("n", "often"), [(10, 1.0), (64, 1.6), (10**9, 1.0)])
def test_answers_are_used_as_often_as_the_paper_says(n: int, often: float) -> None:
    assert reuses(n) == pytest.approx(often)
