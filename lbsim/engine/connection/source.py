"""The connections of a scenario, ready for a data plane: clients x law of lengths x hash.

Begins, lengths, hashes and what clients ask for come from named streams of their own, so two scenarios that
differ only in the balancer see the same connections.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lbsim.engine.connection.plane import Attempts, Clients, Int64s, Urls
from lbsim.engine.source import service_law
from lbsim.rng import coin, stream
from lbsim.scenario import ConnectionScenario, Open, ScenarioError
from lbsim.scenario import Urls as UrlClients
from lbsim.workload.connections import Launches, hasher, launches, poisson, url_table
from lbsim.workload.distributions import Distribution, published, read_table

NONE = np.empty(0, np.int64)


def clients_of(scenario: ConnectionScenario) -> Clients:
    """Return how the clients of a scenario behave; raises ScenarioError where a table cannot be read."""
    spec = scenario.clients
    seed = int(coin(scenario.seed, scenario.replication, 1))  # the policy's coins are of another
    if isinstance(spec, Open):
        retry = -1 if spec.retry is None else spec.retry
        return Clients(seed, scenario.warmup, retry, spec.notice, None)
    length, gap = _urls(scenario, spec)
    urls = Urls(spec.processes, length, gap, spec.again)
    return Clients(seed, scenario.warmup, -1, spec.notice, urls)


def attempts_of(scenario: ConnectionScenario) -> Iterator[Attempts]:
    """Yield chunks of connections that want to begin before the scenario's end."""
    spec = scenario.clients
    return _open(scenario, spec) if isinstance(spec, Open) else _by_url(scenario, spec)


def _open(scenario: ConnectionScenario, spec: Open) -> Iterator[Attempts]:
    draws = _stream(scenario, "service")
    law = service_law(spec.length, None)
    hashes = hasher(spec.hash, spec.addresses, _stream(scenario, "flows"))
    for time in poisson(spec.rate(scenario.duration), _stream(scenario, "gaps"), scenario.duration):
        n = len(time)
        yield Attempts(time, hashes(n), law.draw(draws, n), np.full(n, spec.gap, np.int64), NONE, NONE)


def _by_url(scenario: ConnectionScenario, spec: UrlClients) -> Iterator[Attempts]:
    law = Launches(spec.low, spec.high, spec.start, spec.stop, spec.overhead)
    hashes = hasher(spec.hash, spec.addresses, _stream(scenario, "flows"))
    order = _stream(scenario, "order")
    for time, process in launches(law, spec.processes, _stream(scenario, "think"), scenario.duration):
        n = len(time)
        yield Attempts(time, hashes(n), NONE, NONE, process, order.integers(0, 2**63 - 1, n, dtype=np.int64))


def _urls(scenario: ConnectionScenario, spec: UrlClients) -> tuple[Int64s, Int64s]:
    deal = _stream(scenario, "sizes") if spec.pairing == "independent" else None
    tables = {}
    for field, name in (("lengths", spec.lengths), ("sizes", spec.sizes)):
        try:
            tables[field] = _table(name)
        except ValueError as error:
            raise ScenarioError([f"clients.{field}: {error}"]) from None
    try:
        return url_table(tables["lengths"], tables["sizes"], spec.urls, spec.levels, spec.segment, deal)
    except ValueError as error:
        raise ScenarioError([f"clients: {error}"]) from None


def _table(name: str) -> Distribution:
    return read_table(name) if name.endswith(".csv") else published(name)


def _stream(scenario: ConnectionScenario, name: str) -> np.random.Generator:
    return stream(scenario.seed, name, scenario.replication)
