"""Result folders as studies leave them, for tests of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbsim.scenario import Flows, Poisson, Rate, Scenario, Server, dump_toml

NASTY = 'A</script><b class="evil">B&"\''
CSV = (
    f'series,load,p95_us,note\nRSS,1,100,"a, ""b""\nand µ"\nRSS,2,900,\n{NASTY.replace(chr(34), "")},1,50,x\n'
)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360f8cfc000000301010018dd8db00000000049454e44ae426082"
)
SCENARIO = Scenario(
    name="reported",
    duration=10**12,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate=Rate(1e6, "pps")),
    server=Server(cores=3, cost={"work": {"kind": "fixed", "time": 1000}}),
)


def series(name: str, points: list[Any], published: Sequence[Any] = (), **look: Any) -> dict[str, Any]:
    """A series of chart.json."""
    usual = {"color": "#0072B2", "marker": "o", "dashes": []}
    return {"name": name, **usual, **look, "points": points, "published": list(published)}


def panel(**changes: Any) -> dict[str, Any]:
    """A panel of chart.json: two series over loads 1 to 4, the first also published, once alone."""
    rss = [[1, 100, 90, 110, 3], [2, 200, 200, 200, 3], [3, 900, 400, 2000, 3], [4, 8000, 8000, 8000, 3]]
    other = [[1, 50, 50, 50, 3], [2, 60, 60, 60, 3], [3, 70, 70, 70, 3], [4, 80, None, None, 1]]
    usual = {
        "x": "load",
        "y": "p95_us",
        "xlabel": "offered load (Gb/s)",
        "ylabel": "p95 latency (µs)",
        "log": True,
        "ylim": None,
        "xticks": None,
        "rule": 1000,
        "band": "p25 to p75",
        "series": [
            series("RSS", rss, [[1, 100, 95, 105], [3, 600, 500, 700], [3.5, 3000, None, None]]),
            series(NASTY, other, color="#000000", marker="s", dashes=[5, 1.5]),
        ],
    }
    return usual | changes


def claim(simulated: float | None = 8.5, **changes: Any) -> dict[str, Any]:
    """A line of claims.json: of targets.csv where it has the id, else with this target."""
    usual = {
        "id": "RS-02",
        "system": "mine",
        "figure": "rsspp-fig13",
        "quantity": "a claim <of> one's own",
        "unit": "ms",
        "source": "a guess",
        "published": 2,
        "low": 1,
        "high": 3,
        "simulated": simulated,
        "note": "beside & <it>",
    }
    return usual | changes


def write_figure(
    home: Path,
    name: str = "rsspp-fig13",
    *,
    chart: list[dict[str, Any]] | None = None,
    claims: list[dict[str, Any]] | None = None,
    csv: str = CSV,
    **about: Any,
) -> Path:
    """Write the folder of a figure under `home` and return it."""
    folder = home / name
    folder.mkdir(parents=True)
    files = {f"{name}.csv": csv.encode(), f"{name}.png": PIXEL, "scenario.toml": dump_toml(SCENARIO).encode()}
    if chart is not None:
        files["chart.json"] = json.dumps(chart).encode()
    if claims is not None:
        files["claims.json"] = json.dumps(claims).encode()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    usual = {
        "figure": name,
        "title": "RSS++ Fig. 13: p95 <latency> over load",
        "scale": "quick" if home.name == "quick" else "full",
        "command": f"lbsim figures {name}",
        "commit": "0123456789abcdef",
        "commit_date": None,
        "seeds": [1],
        "points": 4,
        "failed_points": [],
        "varies": {"arrivals.rate": ["1Gbps", "2Gbps"], "server.cores": [1, 2, 3]},
        "versions": {"python": "3.11.7", "lbsim": "0.1.0"},
    }
    whole = usual | about | {"files": dict.fromkeys(files, "0" * 64)}
    (folder / "provenance.json").write_text(json.dumps(whole))
    return folder
