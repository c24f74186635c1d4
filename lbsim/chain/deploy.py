"""What a service chain does to the packets of each flow: their fate, and what they cost every core.

The chain is turned into traffic classes, hardware takes over what it can of them, and what is left to
software is billed: all functions on one core, or a stage of them on each core of a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.chain.cost import Bill, goes_to_memory, one_by_one, synthesised
from lbsim.chain.hardware import Machine, device, devices, hardware_named
from lbsim.chain.offload import ON_SERVER, Device, Offload, plan
from lbsim.chain.synthesis import Synthesis, synthesise
from lbsim.scenario import Chain, Scenario
from lbsim.scenario.errors import none_of, refuse
from lbsim.workload.packets import FlowTable

Int8s = NDArray[np.int8]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

SERVED, FILTERED, OFFLOADED = range(3)
"""Fates of a flow's packets: served; served, then dropped by a rule; dropped or forwarded by hardware, so
that they never reach a server."""

NIC: Final = "connectx5"  # of a server whose hardware is not named


class Stages(NamedTuple):
    """What each core of a lane does with a packet; times in ps."""

    capacity: int  # packets that fit into the ring before a later core
    poll: int  # of each of its batches
    fixed: Int64s  # [stages, classes] on a packet; -1: it has left before
    per_byte: Int64s  # [stages] on every byte of its frame, of the class where that is most
    latency: Int64s  # [stages] of the way to the next core


@dataclass(frozen=True)
class Deployment:
    """A chain in place."""

    class_of: Int32s  # [flows] flows of a class are treated alike
    fate: Int8s  # [flows]
    fixed: Int64s  # [flows] ps of a packet on the core that gets it from the NIC
    per_byte: Int64s  # [flows] ps of every byte of its frame there
    stages: Stages | None  # of a lane of cores; None: one core does it all
    notices: tuple[str, ...] = ()


class Share(NamedTuple):
    """What one traffic class leaves to software."""

    visits: tuple[int, ...]  # functions that its packets enter
    acts: tuple[int, ...]  # those that do more than match, and are not done in hardware
    tagged: bool  # hardware has told the class


def deploy(scenario: Scenario, flows: FlowTable) -> Deployment:
    """Put the chain of a scenario in place for these flows.

    Raises ScenarioError without a chain's clock, for an unknown machine or switch, and for functions that go
    to a memory that no hardware describes.
    """
    chain, server = scenario.chain, scenario.server
    assert chain is not None
    machine = None if server.hardware is None else hardware_named("server.hardware", server.hardware)
    clock = server.clock if server.clock is not None or machine is None else machine.clock
    _check(chain, clock, machine)
    assert clock is not None
    synthesis = synthesise(chain.functions)
    offload = plan(synthesis, _device(chain, machine)) if chain.offload != "none" else None
    paths, class_of = _paths(synthesis, flows)
    shares = [[_share(chain, synthesis, offload, number) for number in path] for path in paths]
    fate = np.array([_fate(synthesis, offload, path) for path in paths], np.int8)
    bills = [[_bill(chain, stage, path, machine) for path in shares] for stage in chain.stages]
    stages = _stages(chain, bills, clock)
    per_byte = np.array([bill.byte_ps(clock) if bill else 0 for bill in bills[0]], np.int64)
    return Deployment(
        class_of=class_of,
        fate=fate[class_of],
        fixed=stages.fixed[0][class_of],
        per_byte=per_byte[class_of],
        stages=stages if len(bills) > 1 else None,
        notices=() if offload is None else _notices(chain, offload),
    )


def _check(chain: Chain, clock: float | None, machine: Machine | None) -> None:
    """Refuse a chain whose cost cannot be known."""
    problems = []
    if clock is None:
        fix = 'set it, e.g. "2.3GHz", or server.hardware'
        problems.append(f"server.clock: missing, and what the functions of a chain cost is cycles; {fix}")
    if machine is None:
        fix = 'name a machine in server.hardware, e.g. "packetmill"'
        problems += [
            f"chain.functions.{k}: its accesses take as long as a machine's memory; {fix}"
            for k, function in enumerate(chain.functions)
            if goes_to_memory(function)
        ]
    refuse(*problems)


def _device(chain: Chain, machine: Machine | None) -> Device:
    """Return the NIC or switch that a chain is offloaded to."""
    if chain.offload == "nic":
        return device(machine.nic if machine else NIC)
    known = [name for name in devices() if device(name).kind == "switch"]
    if chain.switch not in known:
        refuse(f"chain.switch: {none_of(chain.switch, known)}")
    return device(chain.switch)


def _notices(chain: Chain, offload: Offload) -> tuple[str, ...]:
    """Tell of hardware that takes nothing over."""
    if not offload.reason:
        return ()
    return (f"chain.offload: the {chain.offload} takes nothing over, software does it all: {offload.reason}",)


def _paths(synthesis: Synthesis, flows: FlowTable) -> tuple[list[list[int]], Int32s]:
    """Return the different ways of packets through traffic classes, and the number of each flow's way."""
    passes = synthesis.passes(flows)
    way_of = np.zeros(len(passes), np.int64)
    for column in passes.T:  # far quicker than np.unique of rows
        way_of = np.unique(way_of * (len(synthesis.classes) + 1) + column, return_inverse=True)[1]
    first = np.unique(way_of, return_index=True)[1]
    ways = [[number for number in way if number >= 0] for way in passes[first].tolist()]
    return ways, way_of.astype(np.int32)


def _share(chain: Chain, synthesis: Synthesis, offload: Offload | None, number: int) -> Share:
    """Return what a traffic class leaves to software.

    One by one, functions also act on packets that a later one drops; merged, they are spared it.
    """
    of, functions = synthesis.classes[number], synthesis.functions
    if not chain.synthesised:
        stateless = {k for k in of.visits if functions[k].look is None and k != of.dropped_by}
        return Share(of.visits, tuple(sorted({*of.acts, *stateless})), False)
    if offload is None or not offload.tagged or of.first:
        return Share(of.visits, of.acts, False)
    return Share(of.visits, tuple(k for k in of.acts if k in offload.software[number]), True)


def _fate(synthesis: Synthesis, offload: Offload | None, path: Sequence[int]) -> int:
    """Return what becomes of packets that go through these classes."""
    if offload is not None and offload.fates[path[0]] != ON_SERVER:
        return OFFLOADED
    return SERVED if synthesis.classes[path[-1]].dropped_by is None else FILTERED


def _bill(chain: Chain, stage: Sequence[int], path: Sequence[Share], machine: Machine | None) -> Bill | None:
    """Return what a core costs that runs the functions of a stage on a packet; None if none gets there."""
    bill = None
    for visits, acts, tagged in path:
        visited = [chain.functions[k] for k in stage if k in visits]
        acting = [chain.functions[k] for k in stage if k in acts]
        if not visited:
            continue
        if chain.synthesised:
            done = synthesised(visited, acting, machine, tagged=tagged)
        else:
            done = one_by_one(visited, acting, machine)
        bill = done if bill is None else bill + done
    return bill


def _stages(chain: Chain, bills: Sequence[Sequence[Bill | None]], clock: float) -> Stages:
    """Return what the cores of a lane cost, and what it costs to get from one to the next."""
    fixed = np.array(
        [[-1 if bill is None else bill.ps(clock) for bill in stage] for stage in bills], np.int64
    )
    per_byte = [max((bill.byte_ps(clock) for bill in stage if bill), default=0) for stage in bills]
    latency = np.zeros(len(bills), np.int64)
    boxes = [chain.functions[stage[0]].box for stage in chain.stages]
    for k in range(1, len(bills)):
        arrives = fixed[k] >= 0
        if "sriov" in boxes[k - 1 : k + 1]:
            latency[k - 1] = chain.hop
            fixed[k - 1 : k + 1, arrives] += chain.io.ps(clock)
        else:
            fixed[k, arrives] += chain.hand_over.ps(clock)
    return Stages(chain.queue, chain.poll.ps(clock), fixed, np.array(per_byte, np.int64), latency)
