"""Which scenarios `lbsim run` is asked for: one, or several that differ in dispatch or policy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from lbsim.balancer import policies
from lbsim.engine.run import Engine
from lbsim.engine.source import open_source
from lbsim.scenario import (
    AnyScenario,
    Balancer,
    CaptureFile,
    Choosing,
    ConnectionScenario,
    Cost,
    Fixed,
    Nic,
    PolicyDispatch,
    Recorded,
    RequestScenario,
    Scenario,
    ScenarioError,
    Server,
    Software,
    Work,
    load_scenario,
    override,
)
from lbsim.units import MS, NS, SECOND, US

REPLAY_SERVER: Final = Server(
    cores=8, ring=4096, burst=32, cost=Cost(per_batch=Work(4 * US), work=Fixed(time=Work(1330 * NS)))
)
"""Where a capture without a scenario goes: the server of RSS++ Fig. 10, 1.455 µs a packet in full bursts."""

REPLAY_LOAD: Final = 0.8
REPLAY_LENGTH: Final = 2 * SECOND
"""A shorter capture is played over and over up to this: RSS++, acting ten times a second, needs a while."""

REPLAY_WARMUP: Final = 500 * MS


class Request(NamedTuple):
    """What `lbsim run` was asked for."""

    scenario: Path | None = None
    changes: tuple[str, ...] = ()  # "field=value"
    capture: Path | None = None
    partial: bool = False
    load: float | None = None
    against: tuple[str, ...] = ()  # names of dispatchers, also several with commas between them
    engine: Engine = "auto"
    replications: int = 1


def variants_of(request: Request) -> dict[str, AnyScenario]:
    """Return the scenarios to run by the label of their dispatch, the scenario's own first.

    A capture without `against` compares RSS with RSS++. Raises ScenarioError or CaptureError.
    """
    changes = _changes(request.changes)
    base = _base(request)
    if request.load is not None:
        clients = "clients" if isinstance(base, RequestScenario) else "arrivals"
        base = override(base, {f"{clients}.load": request.load})
    names = [name.strip() for several in request.against for name in several.split(",") if name.strip()]
    if request.capture is not None and not names:
        names = ["rss", "rss++"]
    tuning = {path for path in changes if path.startswith("nic.dispatch.") and path != "nic.dispatch.kind"}
    base = override(base, {path: changes[path] for path in changes if path not in tuning or not names})
    variants = {label_of(base): base}
    if names:
        asked = [_dispatched(base, name) for name in names]
        variants |= {label_of(scenario): scenario for scenario in asked}
        variants = _tuned(variants, {path: changes[path] for path in tuning})
    if request.capture is not None and request.scenario is None:
        variants = _long_enough(variants)
    return variants


def label_of(scenario: AnyScenario) -> str:
    """Return what tells a scenario from its variants: a dispatch, a balancer's policy, or "policy+scheme".

    Of a cluster it is balancer and dispatch: "crossrss+rss".
    """
    if isinstance(scenario, RequestScenario):
        return scenario.balancer.policy
    if isinstance(scenario, ConnectionScenario):
        return f"{scenario.balancer.policy}+{scenario.balancer.consistency.kind}"
    dispatch = scenario.nic.dispatch
    if scenario.cluster is not None:
        balancer = scenario.cluster.balancer
        return f"{balancer.policy if isinstance(balancer, Choosing) else balancer.kind}+{dispatch.kind}"
    if isinstance(dispatch, Software):
        return f"{dispatch.kind} {dispatch.queues}"
    return dispatch.policy if isinstance(dispatch, PolicyDispatch) else dispatch.kind


def dispatchers() -> dict[str, type[Any]]:
    """Return the kinds of dispatch a NIC knows, with their models."""
    return _kinds(Nic.model_fields["dispatch"].annotation)


def _kinds(union: Any) -> dict[str, type[Any]]:
    return {model.model_fields["kind"].default: model for model in get_args(union)}


def _changes(texts: Sequence[str]) -> dict[str, str]:
    changes = {}
    for text in texts:
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            raise ScenarioError([f"--set {text}: write FIELD=VALUE, e.g. --set server.cores=4"])
        changes[path.strip()] = value.strip()
    return changes


def _base(request: Request) -> AnyScenario:
    """Return the scenario of the file, its traffic and clock those of the capture if there is one."""
    if request.capture is None:
        if request.partial:
            raise ScenarioError(["--partial: there is no capture; use it with --capture FILE"])
        if request.scenario is None:
            raise ScenarioError(["nothing to run: name a SCENARIO.toml, or a capture with --capture FILE"])
        return load_scenario(request.scenario)
    capture = CaptureFile(file=str(request.capture), partial=request.partial)
    if request.scenario is None:
        arrivals = Recorded(load=REPLAY_LOAD)
        return Scenario(name="replay", traffic=capture, arrivals=arrivals, server=REPLAY_SERVER)
    given = load_scenario(request.scenario)
    if not isinstance(given, Scenario):
        raise ScenarioError(
            [f"--capture: packets, but the scenario is of grain {given.grain}; leave one out"]
        )
    if given.duration is not None:
        capture = CaptureFile(file=capture.file, partial=capture.partial, loops=None)
    return override(given, {"traffic": capture, "arrivals.kind": "recorded"})


def _dispatched(base: AnyScenario, name: str) -> AnyScenario:
    """Return the scenario under another dispatch: a kind of the NIC, with its queues, or a policy."""
    if name == label_of(base):
        return base
    if isinstance(base, ConnectionScenario):
        return _balanced(base, name)
    if isinstance(base, RequestScenario):
        if name not in policies():
            raise ScenarioError([f"--against {name}: unknown; choose from {', '.join(policies())}"])
        return override(base, {"balancer.policy": name})
    if base.cluster is not None:
        return _clustered(base, name)
    kinds = dispatchers()
    del kinds["policy"]
    queues = {f"software:{queue}": queue for queue in get_args(Software.model_fields["queues"].annotation)}
    if name in kinds:
        return override(base, {"nic.dispatch.kind": name})
    if name in queues:
        return override(base, {"nic.dispatch.kind": "software", "nic.dispatch.queues": queues[name]})
    if name in policies():
        return override(base, {"nic.dispatch": PolicyDispatch(policy=name)})
    known = ", ".join([*kinds, *queues, *policies()])
    raise ScenarioError([f"--against {name}: unknown; choose from {known}"])


def _clustered(base: Scenario, name: str) -> Scenario:
    """Return the scenario with another balancer of its cluster, another dispatch, or both."""
    kinds, known = dispatchers(), ("crossrss", *policies())
    balancer, plus, dispatch = ("", "+", name) if name in kinds else name.partition("+")
    if balancer not in ("", *known) or (plus and dispatch not in kinds):
        choice = f"a balancer ({', '.join(known)}), a dispatch ({', '.join(kinds)}), or balancer+dispatch"
        raise ScenarioError([f"--against {name}: unknown; choose {choice}"])
    changes: dict[str, object] = {"nic.dispatch.kind": dispatch} if dispatch else {}
    if balancer == "crossrss":
        changes["cluster.balancer.kind"] = balancer
    elif balancer:
        changes["cluster.balancer"] = Choosing(policy=balancer)
    return override(base, changes)


def _balanced(base: ConnectionScenario, name: str) -> ConnectionScenario:
    """Return the scenario with another policy, another consistency scheme, or both: "policy+scheme"."""
    schemes = _kinds(Balancer.model_fields["consistency"].annotation)
    known = policies()
    policy, plus, scheme = name.partition("+")
    if not plus and name in schemes:
        policy, scheme = base.balancer.policy, name
    scheme = scheme or base.balancer.consistency.kind
    if policy not in known or scheme not in schemes:
        choice = f"a policy ({', '.join(known)}), a scheme ({', '.join(schemes)}), or policy+scheme"
        raise ScenarioError([f"--against {name}: unknown; choose {choice}"])
    return override(base, {"balancer.policy": policy, "balancer.consistency.kind": scheme})


def _tuned(variants: Mapping[str, AnyScenario], changes: Mapping[str, str]) -> dict[str, AnyScenario]:
    """Apply each change of a dispatch's fields to the variants that have the field."""
    tuned = {}
    unused = set(changes)
    for label, scenario in variants.items():
        fields = type(scenario.nic.dispatch).model_fields if isinstance(scenario, Scenario) else ()
        own = {path: value for path, value in changes.items() if path.split(".")[2] in fields}
        unused -= set(own)
        tuned[label] = override(scenario, own)
    if unused:
        override(variants[label_of(next(iter(variants.values())))], dict(changes))  # says what is unknown
    return tuned


def _long_enough(variants: Mapping[str, AnyScenario]) -> dict[str, AnyScenario]:
    """Play a short capture over and over, and measure once the controllers have settled."""
    first = next(iter(variants.values()))
    if (
        not isinstance(first, Scenario)
        or first.duration is not None
        or not isinstance(first.traffic, CaptureFile)
        or first.traffic.loops != 1
    ):
        return dict(variants)
    once = open_source(first).end
    loops = -(-REPLAY_LENGTH // once)
    longer = {"traffic.loops": loops, "warmup": max(first.warmup, REPLAY_WARMUP)}
    return {label: override(scenario, longer) for label, scenario in variants.items()}
