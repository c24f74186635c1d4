"""One self-contained HTML page: every figure with its claims, its scenario and where it came from.

Made from the results folder alone, without a network; readable on a phone, in light and in dark.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from lbsim.study.claims import Row, accepted, claims_of, scale_folder, scorecard, simulated, targets
from lbsim.study.store import write_whole

CSS = """
:root { color-scheme: light dark; --line: #8885; --good: #0a7a4b; --bad: #c43; }
@media (prefers-color-scheme: dark) { :root { --good: #5fd39b; --bad: #ff8a70; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pass { color: var(--good); } .fail { color: var(--bad); font-weight: 600; }
small { display: block; opacity: .75; }
pre { overflow-x: auto; font-size: .8rem; padding: .6rem; border: 1px solid var(--line); border-radius: 4px; }
"""


def write_report(results: Path) -> Path:
    """Write `results`/report.html from what the studies wrote there, and return its path.

    A figure is shown at full scale where that exists, else at quick scale; claims show both side by side.
    Raises ValueError when there is no figure to report or a file of one cannot be read.
    """
    folders = figure_folders(results)
    if not folders:
        raise ValueError(f"{results} holds no figure yet: run `lbsim figures` first")
    lines = scorecard(results)
    quick = {line["id"]: line for line in claims_of(results, "quick")}
    passed = sum(line["verdict"] == "pass" for line in lines)
    page = "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>lbsim: report</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{CSS}</style></head><body>",
            "<h1>lbsim: published figures, simulated</h1>",
            f"<p>{passed} of {len(lines)} claims lie within their accepted range.</p>",
            _claims(lines, quick),
            *(part for folder in folders for part in _section(folder, lines, quick)),
            "</body></html>",
        ]
    )
    path = results / "report.html"
    write_whole(path, page.encode())
    return path


def figure_folders(results: Path) -> list[Path]:
    """Return the folder of every figure, the full scale before the quick one, in the order of the targets."""
    found: dict[str, Path] = {}
    for scale in ("quick", "full"):
        for about in scale_folder(results, scale).glob("*/provenance.json"):
            found[about.parent.name] = about.parent
    order = {figure: i for i, figure in enumerate(dict.fromkeys(t.figure for t in targets().values()))}
    return sorted(found.values(), key=lambda folder: (order.get(folder.name, len(order)), folder.name))


def _section(folder: Path, lines: list[Row], quick: dict[str, Row]) -> Iterator[str]:
    about = _json(folder / "provenance.json")
    claimed = {row["id"] for row in _json(folder / "claims.json")}
    yield f'<h2 id="{escape(about["figure"])}">{escape(about["title"])}</h2>'
    yield f"<p>{escape(about['figure'])}, {about['scale']} scale, {about['points']} simulated points</p>"
    image = f"{about['figure']}.png"
    if image in about["files"]:
        yield _picture(folder / image, about["title"])
    again = scale_folder(folder.parent, "quick") / about["figure"] / image
    if about["scale"] == "full" and again.exists():
        yield f"<details><summary>At quick scale</summary>{_picture(again, about['title'])}</details>"
    yield _claims([line for line in lines if line["id"] in claimed], quick)
    for failed in about["failed_points"]:
        yield f'<p class="fail">failed point {escape(failed)}</p>'
    if "scenario.toml" in about["files"]:
        toml = escape((folder / "scenario.toml").read_text("utf-8"))
        yield f"<details><summary>Base scenario</summary><pre>{toml}</pre></details>"
    origin = escape(json.dumps(about, indent=1))
    yield f"<details><summary>Provenance</summary><pre>{origin}</pre></details>"


def _picture(path: Path, title: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'


def _claims(lines: list[Row], quick: dict[str, Row]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "claim",
            "quantity",
            "unit",
            "published",
            "accepted",
            "simulated",
            "at quick scale",
            "verdict",
        )
    )
    body = "".join(_claim(line, quick.get(line["id"])) for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _claim(line: Row, quick: Row | None) -> str:
    note = f"<small>{escape(line['note'])}</small>" if line["note"] else ""
    at_full = simulated(line) if line["scale"] == "full" else ""
    return (
        f"<tr><td>{escape(line['id'])}</td><td>{escape(line['quantity'])}{note}</td>"
        f'<td>{escape(line["unit"])}</td><td class="n">{line["published"]:g}</td>'
        f'<td class="n">{accepted(line)}</td><td class="n">{at_full}</td>'
        f'<td class="n">{simulated(quick) if quick else ""}</td>'
        f'<td class="{line["verdict"]}">{line["verdict"]}</td></tr>'
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}): run its figure again") from error
