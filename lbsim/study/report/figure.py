"""One figure: read from its folder, shown as a card in the contents and as a section of the page."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lbsim.study.claims import Row
from lbsim.study.report.listing import listing, spelled, variation
from lbsim.study.report.verdicts import claim_list


@dataclass(frozen=True)
class Figure:
    """What a study left in its folder."""

    name: str
    about: dict[str, Any]  # provenance.json
    claims: frozenset[str]  # their ids
    chart: list[dict[str, Any]]  # chart.json: one entry a panel
    tables: dict[str, str]  # CSV texts by file name, the table of the figure first
    scenario: str  # TOML; empty where nothing was simulated
    png: bytes

    @property
    def scale(self) -> str:
        """Return "full" or "quick"."""
        return str(self.about.get("scale", "full"))

    @property
    def points(self) -> int:
        """Return the number of simulated points."""
        return int(self.about.get("points", 0))

    @property
    def title(self) -> tuple[str, str]:
        """Return what stands before the colon of the title, if that is short, and the rest."""
        title = str(self.about.get("title") or self.name)
        before, colon, after = title.partition(": ")
        return (before, after) if colon and after and len(before) <= 28 else ("", title)


def read_figure(folder: Path) -> Figure:
    """Return the figure of a folder; raises ValueError when one of its files cannot be read."""
    about = _json(folder / "provenance.json")
    names = about.get("files", {}) if isinstance(about, dict) else None
    if not isinstance(names, dict):
        raise _unreadable(folder / "provenance.json", "it does not list its files")
    own = f"{folder.name}.csv"
    csvs = sorted((name for name in names if name.endswith(".csv")), key=lambda name: (name != own, name))
    try:
        return Figure(
            name=folder.name,
            about=about,
            claims=frozenset(row["id"] for row in _json(folder / "claims.json", [])),
            chart=_json(folder / "chart.json", []) if "chart.json" in names else [],
            tables={name: _text(folder / name) for name in csvs},
            scenario=_text(folder / "scenario.toml") if "scenario.toml" in names else "",
            png=(folder / f"{folder.name}.png").read_bytes() if f"{folder.name}.png" in names else b"",
        )
    except (OSError, KeyError, TypeError) as error:
        raise _unreadable(folder, str(error)) from error


def card(figure: Figure, lines: list[Row]) -> str:
    """Return the figure's entry in the contents."""
    kicker, title = figure.title
    above = f'<span class="kicker">{escape(kicker)}</span>' if kicker else ""
    thumbnail = (
        f'<svg class="thumbnail" data-of="{escape(figure.name)}" viewBox="0 0 240 110" aria-hidden="true">'
        "</svg>"
        if figure.chart
        else ""
    )
    below = tally(lines) or counted(figure.points, "simulated point")
    return (
        f'<li><a class="card" href="#{anchor(figure.name)}">{above}<strong>{escape(title)}</strong>'
        f'{thumbnail}<span class="tally">{below}</span></a></li>'
    )


def section(figure: Figure, again: Figure | None, lines: list[Row], quick: dict[str, Row]) -> str:
    """Return the figure's part of the page; `again` is its quick run beside a full one."""
    return "\n".join(_section(figure, again, lines, quick))


def tally(lines: list[Row]) -> str:
    """Return how many claims hold, as HTML; nothing where none was made."""
    if not lines:
        return ""
    passed = sum(line["verdict"] == "pass" for line in lines)
    failed = len(lines) - passed
    text = f"{passed} of {len(lines)} {'claim holds' if len(lines) == 1 else 'claims hold'}"
    return (
        f'{text}, <span class="fail">{failed} {"fails" if failed == 1 else "fail"}</span>' if failed else text
    )


def counted(number: int, noun: str) -> str:
    """Return "1 row" or "2,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def anchor(name: str) -> str:
    """Return a name as an id: without spaces or quotes."""
    return re.sub(r"[^\w.-]+", "-", name)


def _section(figure: Figure, again: Figure | None, lines: list[Row], quick: dict[str, Row]) -> Iterator[str]:
    kicker, title = figure.title
    id_ = anchor(figure.name)
    facts = [escape(figure.name)]
    facts += [f"{figure.scale} scale"] if figure.scale in ("full", "quick") else []
    facts += [counted(figure.points, "simulated point")] if figure.points else []
    facts += [tally(lines)] if lines else []
    yield f'<section class="figure" id="{id_}" aria-labelledby="{id_}-title">\n<header>'
    if kicker:
        yield f'<p class="kicker">{escape(kicker)}</p>'
    yield f'<h2 id="{id_}-title">{escape(title)}</h2>'
    yield f'<p class="meta">{" · ".join(facts)}</p>\n</header>'
    for kind, text in _alerts(figure.about):
        yield f'<p class="{kind}">{escape(text)}</p>'
    yield _picture(figure, title)
    if figure.tables:
        buttons = "".join(
            f'<button type="button" class="csv" data-file="{escape(name)}">Download {escape(name)}</button>'
            for name in figure.tables
        )
        yield f'<div class="downloads">{buttons}</div>'
    if lines:
        yield f"<h3>Claims</h3>\n{claim_list(lines, quick, anchors=True)}"
    if again is not None:
        yield f"<details><summary>The same at quick scale</summary>\n{_picture(again, title)}</details>"
    for name, text in figure.tables.items():
        yield _table(name, text)
    if figure.scenario:
        varies = figure.about.get("varies") or {}
        yield "<details><summary>Scenario<span>what is set, what varies</span></summary>"
        yield f"{variation(varies)}{listing(figure.scenario, varies)}</details>"
    yield f"<details><summary>Provenance</summary>\n{_provenance(figure.about)}</details>"
    yield '<p class="back"><a href="#contents">All figures</a></p>\n</section>'


def _alerts(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a reader must know before trusting the figure: how it is shown, and the text."""
    for point in about.get("failed_points") or ():
        yield "alert", f"Failed point: {point}"
    if left := about.get("points_left"):
        yield "alert", f"{counted(left, 'point')} not simulated yet: the same command goes on"
    for warning in about.get("warnings") or ():
        yield "alert warning", f"Warning: {warning}"


def _picture(figure: Figure, title: str) -> str:
    """Return the chart, with the PNG for those who run no scripts; or the PNG alone."""
    image = ""
    if figure.png:
        data = base64.b64encode(figure.png).decode()
        image = f'<img class="picture-only" alt="{escape(title)}" src="data:image/png;base64,{data}">'
    if not figure.chart:
        return image
    name = escape(figure.name)
    return (
        f'<div class="chart" data-figure="{name}" data-title="{escape(title)}">'
        f'<script type="application/json" class="chart-data">{embedded(figure.chart)}</script>'
        f"<noscript>{image}</noscript></div>"
    )


def _table(name: str, text: str) -> str:
    rows = max(0, sum(1 for row in csv.reader(io.StringIO(text)) if row) - 1)
    file = escape(name)
    return (
        f'<details class="table"><summary>Table<span>{file}, {counted(rows, "row")}</span></summary>\n'
        f'<script type="application/json" class="csv-data" data-file="{file}">{embedded(text)}</script>'
        f'<div class="scroll" role="region" aria-label="{file}" tabindex="0"></div></details>'
    )


def _provenance(about: dict[str, Any]) -> str:
    shown = {key: value for key, value in about.items() if key not in ("title", "varies", "warnings")}
    facts = "".join(
        f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{spelled(value)}</dd>" for key, value in shown.items()
    )
    return f'<dl class="facts">{facts}</dl>'


def embedded(value: Any) -> str:
    """Return JSON that may stand inside a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )


def _json(path: Path, absent: Any = None) -> Any:
    if absent is not None and not path.exists():
        return absent
    try:
        return json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except ValueError as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} cannot be read ({reason}): run its figure again")
