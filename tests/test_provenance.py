"""What a figure says of where it comes from."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lbsim.scenario import Scenario, dump_toml, load_scenario, override
from lbsim.study.provenance import varies

EXAMPLES = Path(__file__).parents[1] / "examples"
SCENARIOS = sorted(path for path in EXAMPLES.glob("*.toml") if path.stem != "load-sweep")


@pytest.fixture
def base() -> Scenario:
    return override(load_scenario(EXAMPLES / "rss.toml"), {"measure.interval": None})


def test_what_varies_is_told_with_all_its_values_in_order(base: Scenario) -> None:
    points = [
        override(base, {"server.cores": 4, "nic.dispatch.kind": "sprayer"}),
        override(base, {"server.cores": 2, "measure.interval": "1ms", "name": "a mere title"}),
        override(base, {"server.cores": 4}),
    ]
    assert varies(base, points) == {
        "nic.dispatch.kind": ["sprayer", "rss"],
        "server.cores": [4, 2],
        "measure.interval": ["1ms"],  # the others have none
    }
    assert varies(base, [base]) == {}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_fields_are_told_as_a_file_writes_them(base: Scenario, path: Path) -> None:
    scenario = load_scenario(path)
    written = _leaves(tomllib.loads(dump_toml(scenario)))
    told = varies(base, [scenario])
    assert told
    assert {field: [written[field]] for field in told} == told


def _leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    leaves = {}
    for name, value in tree.items():
        leaves |= _leaves(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return leaves
