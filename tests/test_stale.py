"""Policies for old information, against a plain reading of their rules, compiled and as written."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer import Answer, Unit, View, policies, policy
from lbsim.balancer.policies import READS, memory_of
from lbsim.balancer.tournament import no_order
from lbsim.engine.policy import compile_policy
from lbsim.rng import coin
from lbsim.units import MS, SECOND, US

NONE = np.empty(0, np.int64)


class Seen:
    """A view of n servers that a policy is asked and answered with, and the policy both ways."""

    def __init__(self, name: str, n: int, seed: int = 1) -> None:
        self.policy = policies()[name]
        self.zeros = np.zeros(n, np.int64)
        self.inside = np.zeros(n, np.int64)
        self.states = [memory_of(self.policy, n) for _ in range(2)]
        self.order = np.arange(n, dtype=np.int64)
        self.n, self.seed = n, seed

    def view(self, now: int, state: np.ndarray) -> View:
        weight = np.ones(self.n)
        return View(
            self.n, now, self.zeros, state, self.seed, 0, weight, NONE, no_order(), self.order, 2,
            self.zeros, self.inside, self.zeros,
        )  # fmt: skip

    def ask(self, now: int, index: int) -> int:
        """Return the choice, the same compiled and as written."""
        unit = Unit(index, index, 0, 0)
        plain = self.policy.choose(self.view(now, self.states[0]), unit)
        compiled = compile_policy(self.policy.choose)(self.view(now, self.states[1]), unit)
        assert plain == compiled
        assert self.states[0].tolist() == self.states[1].tolist()
        return int(plain)

    def tell(self, now: int, answer: Answer) -> None:
        """Tell of an answer, compiled and as written."""
        assert self.policy.done is not None
        self.policy.done(self.view(now, self.states[0]), answer)
        compile_policy(self.policy.done)(self.view(now, self.states[1]), answer)
        assert self.states[0].tolist() == self.states[1].tolist()


@st.composite
def histories(draw):
    """Servers, and what happens: (time since, server or -1 to choose, latency, service, queue)."""
    n = draw(st.integers(1, 6))
    step = st.tuples(
        st.sampled_from([0, 1, 3 * US, 20 * MS, 5 * SECOND]),
        st.integers(-1, n - 1),
        st.sampled_from([0, 1, 10 * US, 7 * SECOND, 10**16]) | st.integers(MS, 4 * MS),
        st.floats(0, 1),
        st.integers(0, 10**6),
    )
    return n, draw(st.lists(step, min_size=1, max_size=60)), draw(st.integers(0, 2**63 - 1))


# --- (1 + beta) choices: its rule is with the others in test_policies ---------------------------------------


def test_half_of_the_choices_compare_two_queues() -> None:
    seen = Seen("one_plus_beta", 2)
    seen.zeros[:] = [5, 0]
    chosen = Counter(seen.ask(0, index) for index in range(4000))
    # to the long queue: half blindly, a quarter of the rest as both are it
    assert abs(chosen[0] - 4000 * (0.5 * 0.5 + 0.5 * 0.25)) < 5 * math.sqrt(4000 * 0.375 * 0.625)


# --- Peak EWMA ----------------------------------------------------------------------------------------------


class Peak:
    """Finagle's metric of a server, in whole ps."""

    def __init__(self) -> None:
        self.cost, self.stamp = 0, 0

    def observe(self, now: int, latency: int) -> None:
        w = math.exp(-(now - self.stamp) / (10 * SECOND))
        self.cost = latency if latency > self.cost else math.floor(self.cost * w + latency * (1 - w))
        self.stamp = now

    def load(self, now: int, pending: int) -> float:
        self.observe(now, 0)
        return 2**47 * 1000.0 if not self.cost and pending else self.cost * (pending + 1.0)


@given(history=histories())
@settings(max_examples=60)
def test_peak_ewma_is_finagles(history) -> None:
    n, steps, seed = history
    seen, servers, now = Seen("peak_ewma", n, seed), [Peak() for _ in range(n)], 0
    for index, (gap, server, latency, _, _) in enumerate(steps):
        now += gap
        if server < 0:
            a = coin(seed, index, 0) % n
            others = [s for s in range(n) if s != a]
            expected = 0
            if others:
                b = others[coin(seed, index, 1) % len(others)]
                of_a, of_b = (servers[s].load(now, int(seen.inside[s])) for s in (a, b))
                expected = a if of_a < of_b else b
            assert seen.ask(now, index) == expected
            seen.inside[expected] += 1
        else:
            seen.inside[server] = max(0, seen.inside[server] - 1)
            servers[server].observe(now, latency)
            seen.tell(now, Answer(server, latency, latency, 0, index))
            assert seen.states[0][2 * server] == pytest.approx(servers[server].cost, rel=1e-12, abs=1)


def test_peak_ewma_jumps_to_a_peak_and_forgets_it_slowly() -> None:
    seen = Seen("peak_ewma", 2)
    for server in (0, 1):
        seen.tell(SECOND, Answer(server, MS, MS, 0, 0))
    seen.tell(SECOND, Answer(1, 100 * MS, MS, 0, 0))
    assert {seen.ask(SECOND, k) for k in range(20)} == {0}
    seen.tell(2 * SECOND, Answer(1, MS, MS, 0, 0))
    assert {seen.ask(2 * SECOND, k) for k in range(20)} == {0}
    seen.inside[0] = 200
    assert {seen.ask(2 * SECOND, k) for k in range(20)} == {1}


# --- C3 -----------------------------------------------------------------------------------------------------


@given(history=histories())
@settings(max_examples=60)
def test_c3_ranks_by_the_cube_of_the_queue(history) -> None:
    n, steps, seed = history
    seen, told, now = Seen("c3", n, seed), [(0, 0, 0)] * n, 0
    for index, (gap, server, latency, share, queue) in enumerate(steps):
        now += gap
        if server < 0:
            start = coin(seed, index, 0) % n
            ranks = []
            for place in range(n):
                s = (start + place) % n
                waited, service, left = told[s]
                q = 1 + int(seen.inside[s]) + left / 2**20
                ranks.append((waited + q**3 * service, int(seen.inside[s]), place, s))
            expected = min(ranks)[3]
            chosen = seen.ask(now, index)
            scores = {s: score for score, _, _, s in ranks}
            assert chosen == expected or scores[chosen] == pytest.approx(scores[expected], rel=1e-12)
            seen.inside[chosen] += 1
        else:
            service = int(share * latency)
            values = (latency - service, service, queue * 2**20)
            told[server] = tuple(
                int(0.9 * new + (1 - 0.9) * old) for new, old in zip(values, told[server], strict=True)
            )
            seen.inside[server] = max(0, seen.inside[server] - 1)
            seen.tell(now, Answer(server, latency, service, queue, index))
            assert seen.states[0][3 * server : 3 * server + 3].tolist() == list(told[server])


def test_c3_prefers_a_slower_server_whose_queue_is_short_enough() -> None:
    seen = Seen("c3", 2)
    for server, service in ((0, MS), (1, 5 * MS)):
        seen.tell(0, Answer(server, service, service, 0, 0))
    for queues, chosen in (([3, 1], 1), ([1, 1], 0), ([2, 1], 0)):  # 4^3 > 5 x 2^3 > 3^3
        seen.inside[:] = queues
        assert {seen.ask(0, k) for k in range(9)} == {chosen}


def test_c3_spreads_over_servers_it_has_not_heard_of() -> None:
    seen = Seen("c3", 8)
    for index in range(16):
        seen.inside[seen.ask(0, index)] += 1
    assert seen.inside.tolist() == [2] * 8


# --- what policies declare ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, p in policies().items() if p.samples])
def test_a_policy_looks_at_no_queues_but_those_it_promises(name: str) -> None:
    own, n, rng = policies()[name], 12, np.random.default_rng(1)
    choose = compile_policy(own.choose)
    table = own.table(np.arange(n), np.ones(n), 0, 1) if own.table else NONE
    for index in range(40):
        unit = Unit(index, index, int(rng.integers(2**32)), 0)
        d = 3 if own.samples < 0 else own.samples
        promised, shown = [coin(5, index, k) % n for k in range(d)], rng.integers(3, 7, d)
        chosen = set()
        for _ in range(3):
            queue = rng.integers(0, 9, n)
            queue[promised] = shown
            zeros = np.zeros(n, np.int64)
            view = View(
                n, 0, queue, memory_of(own, n), 5, int(queue.sum()), np.ones(n), table, no_order(),
                np.arange(n), 3, queue, queue, zeros,
            )  # fmt: skip
            chosen.add(int(choose(view, unit)))
        assert len(chosen) == 1


def test_every_policy_says_what_it_reads() -> None:
    reads = {name: p.reads for name, p in policies().items()}
    assert set(reads.values()) <= set(READS)
    assert reads["prequal"] == "probes"
    assert reads["peak_ewma"] == reads["c3"] == "answers"
    assert reads["power_of_two"] == "queue"
    assert reads["maglev"] == "hash"
    assert reads["adaptive_weighted_round_robin"] == "weights"


def test_declarations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="samples=-2"):
        policy(samples=-2)(lambda view, unit: 0)
    with pytest.raises(ValueError, match="reads='tea leaves'"):
        policy(reads="tea leaves")(lambda view, unit: 0)
