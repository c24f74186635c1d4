"""What must hold between a service chain and the other parts of a scenario; see `lbsim.scenario.sense`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lbsim.scenario.chain import Chain
from lbsim.scenario.dispatch import Rss
from lbsim.scenario.fields import Work
from lbsim.scenario.functions import Dpi, WorkPackage
from lbsim.scenario.machine import Server
from lbsim.scenario.nic import Nic
from lbsim.scenario.traffic import Closed
from lbsim.scenario.work import LONGEST_WORK


def chain_problems(chain: Chain, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a chain cannot be, and what keeps packets that come in this way from passing it."""
    if chain.synthesised:
        yield from _cannot_be_merged(chain)
    elif chain.offload != "none":
        yield (
            f"chain.offload: {chain.offload}, but only what is merged is taken over; write "
            'synthesised = true, or offload = "none"'
        )
    arrivals = parts.get("arrivals")
    if isinstance(arrivals, Closed):
        yield (
            "chain: given, but packets of a closed loop cost what server.cost says; leave it out, or write "
            "another kind of arrivals"
        )
    elif getattr(arrivals, "load", None) is not None:
        yield (
            "arrivals.load: what a chain costs is known only to a run, so load is not; write arrivals.rate, "
            'e.g. "8Mpps"'
        )
    if len(chain.stages) > 1 and parts.get("cluster") is not None:
        yield (
            f"chain: it takes {len(chain.stages)} cores, one after another, which is simulated for one "
            f"server alone; leave cluster out, or write {_on_one_core(chain)}"
        )


def nic_of_chain_problems(nic: Nic, chain: Chain) -> Iterator[str]:
    """Yield what keeps the NIC from choosing the first core of a pipeline."""
    if len(chain.stages) == 1:
        return
    other = f"or {_on_one_core(chain)}"
    match nic.dispatch:
        case Rss(grow=None, fill="turn"):
            return
        case Rss(grow=None):
            yield f'nic.dispatch.fill: random, but pipelines are dealt in turn; write "turn", {other}'
        case Rss():
            yield f"nic.dispatch.grow: given, but the cores of a pipeline all serve; leave it out, {other}"
        case dispatch:
            yield (f"nic.dispatch.kind: {dispatch.kind}, but pipelines stay as they are; write rss, {other}")


def server_of_chain_problems(server: Server, chain: Chain) -> Iterator[str]:
    """Yield what keeps the cores from running a chain."""
    works = {name: work for name, work in chain if isinstance(work, Work)}
    for name, work in works.items():
        if server.clock is None and server.hardware is None and work.unit == "cycles":
            yield f'chain.{name}: {work} need a clock; set server.clock, e.g. "3.7GHz", or write a time'
        elif work.unit == "ps" and work.amount > LONGEST_WORK:
            yield f"chain.{name}: {work} is above 2.5 hours; write less"
    stages = len(chain.stages)
    if stages == 1:
        return
    if server.cores % stages:
        least = max(1, server.cores // stages) * stages
        yield (
            f"server.cores: {server.cores}, but this chain takes {stages} cores a lane; write a multiple of "
            f"{stages}, e.g. {least}"
        )
    if server.state is not None:
        yield (
            f"server.state: {server.state.kind}, but is not simulated in a pipeline of cores; leave it out, "
            f"or write {_on_one_core(chain)}"
        )


def _cannot_be_merged(chain: Chain) -> Iterator[str]:
    if chain.execution == "pipeline":
        yield (
            "chain.execution: pipeline, but synthesised functions are merged into one; write "
            '"together", or synthesised = false'
        )
    for k, function in enumerate(chain.functions):
        if function.box != "inline" and not isinstance(function, Dpi | WorkPackage):
            yield (
                f"chain.functions.{k}.box: {function.box}, but a {function.kind} in a process of its own "
                'cannot be merged with others; write "inline", or synthesised = false'
            )


def _on_one_core(chain: Chain) -> str:
    """Return what to write so that one core runs it all."""
    boxes = any(function.box != "inline" for function in chain.functions)
    words = ['execution = "together"'] * (chain.execution == "pipeline")
    return " and ".join(["chain." + word for word in words] + ['box = "inline" everywhere'] * boxes)
