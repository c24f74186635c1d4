"""A sweep survives SIGKILL at any instant; results/kills holds the logs of more than ten times as many."""

import re
from pathlib import Path

import pytest
from kills import VICTIMS, Kill, campaign

LOGS = Path(__file__).parent.parent / "results" / "kills"


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_repeat_nothing(tmp_path):
    events = list(campaign(50, seed=3, home=tmp_path))
    kills = [event for event in events if isinstance(event, Kill)]
    ends = [event for event in events if not isinstance(event, Kill)]
    assert len(kills) == 50
    assert {kill.victim for kill in kills} == set(VICTIMS)
    assert len({kill.stored for kill in kills}) > 20  # all over the sweep
    assert [k for k in kills if k.damaged or k.changed or k.orphans] == []
    assert ends
    assert set(ends) == {"equal"}


def test_the_long_runs_are_on_record():
    """Nothing lost; what is not equal ended as a sweep may: a point failed twice, exit code 3."""
    number = 0
    for log in LOGS.glob("*.csv"):
        lines = log.read_text().splitlines()
        commit, summary, *unequal = [line for line in lines if line.startswith("#")]
        head, *rows = [line for line in lines if not line.startswith("#")]
        assert commit.startswith("# commit ")
        assert head.split(",") == list(Kill._fields)
        kills = [dict(zip(Kill._fields, row.split(","), strict=True)) for row in rows]
        assert all(kill["damaged"] == kill["changed"] == kill["orphans"] == "0" for kill in kills)
        assert f", {len(unequal)} not equal" in summary
        assert "; 0 points lost" in summary
        assert all(re.match("# exit code 3; .*failures recorded", end) for end in unequal)
        number += len(kills)
    assert number >= 500
