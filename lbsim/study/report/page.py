"""The page as a whole: what is in it, in which order, and what it may do (nothing but show itself)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

from lbsim.study.claims import Row, claims_of, scale_folder, scorecard, targets
from lbsim.study.points.store import write_whole
from lbsim.study.report.figure import Figure, card, counted, read_figure, section
from lbsim.study.report.verdicts import claim_list

STYLES = ("page.css", "chart.css")
SCRIPTS = ("axis.js", "chart.js", "names.js", "scatter.js", "heat.js", "inspect.js", "page.js")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lbsim: report</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#contents">Skip to the figures</a>
<div class="top"><span><b>lbsim</b> report</span><button type="button" id="theme">Dark</button></div>
<main>
<header class="opening">
<p class="kicker">{kicker}</p>
<h1>{title}</h1>
<p class="lede">{lede}</p>
<p class="small">{reading}</p>
</header>
{failing}
<nav id="contents" aria-label="Figures">
<ol class="cards">
{cards}
</ol>
</nav>
{sections}
</main>
<footer class="small">{origin}</footer>
<script>
{script}</script>
</body>
</html>
"""


def write_report(results: Path) -> Path:
    """Write `results`/report.html from what the studies wrote there, and return its path.

    A figure is shown at full scale where that exists, else at quick scale, and the quick one beside the full.
    Equal results give equal bytes. Raises ValueError when there is no figure to report or a file of one
    cannot be read.
    """
    folders = figure_folders(results)
    if not folders:
        raise ValueError(f"{results} holds no figure yet: run `lbsim figures` first")
    lines = scorecard(results)
    quick = {line["id"]: line for line in claims_of(results, "quick")}
    figures = [read_figure(folder) for folder in folders]
    rehearsals = [_rehearsal(figure, results) for figure in figures]
    path = results / "report.html"
    write_whole(path, _page(figures, rehearsals, lines, quick).encode())
    return path


def figure_folders(results: Path) -> list[Path]:
    """Return the folder of every figure, the full scale before the quick one, in the order of the targets."""
    found: dict[str, Path] = {}
    for scale in ("quick", "full"):
        for about in scale_folder(results, scale).glob("*/provenance.json"):
            found[about.parent.name] = about.parent
    order = {figure: i for i, figure in enumerate(dict.fromkeys(t.figure for t in targets().values()))}
    return sorted(found.values(), key=lambda folder: (order.get(folder.name, len(order)), folder.name))


def _rehearsal(figure: Figure, results: Path) -> Figure | None:
    """Return the quick run of a figure that is shown at full scale, if there is one."""
    folder = scale_folder(results, "quick") / figure.name
    return read_figure(folder) if figure.scale == "full" and (folder / "provenance.json").exists() else None


def _page(
    figures: list[Figure], rehearsals: list[Figure | None], lines: list[Row], quick: dict[str, Row]
) -> str:
    shown = {figure.name: [line for line in lines if line["id"] in figure.claims] for figure in figures}
    script = "".join(_resource(name) for name in SCRIPTS).replace('"use strict";\n', "")
    script = f'"use strict";\n{script}'
    return PAGE.format(
        policy=_policy(f"\n{script}"),
        style="".join(_resource(name) for name in STYLES),
        kicker="Published figures, simulated" if lines else "Simulated",
        title=_title(figures, lines),
        lede=_lede(figures, lines),
        reading=_reading(figures, lines),
        failing=_failing(lines, quick),
        cards="\n".join(card(figure, shown[figure.name]) for figure in figures),
        sections="\n".join(
            section(figure, again, shown[figure.name], quick)
            for figure, again in zip(figures, rehearsals, strict=True)
        ),
        origin=_origin(figures),
        script=script,
    )


def _policy(script: str) -> str:
    """Return what the page may load: pictures it carries itself, and this one script; never a network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _title(figures: list[Figure], lines: list[Row]) -> str:
    if not lines:
        return counted(len(figures), "figure")
    passed = sum(line["verdict"] == "pass" for line in lines)
    if passed == len(lines):
        return "The claim holds" if passed == 1 else f"All {passed} claims hold"
    return f"{passed} of {counted(len(lines), 'claim')} {'holds' if len(lines) == 1 else 'hold'}"


def _lede(figures: list[Figure], lines: list[Row]) -> str:
    points = sum(figure.points for figure in figures)
    made = f"{counted(len(figures), 'figure')}, {counted(points, 'simulated point')}."
    how = "A claim holds when the simulated value lies within a range that was fixed beforehand."
    return f"{made} {how}" if lines else made


def _reading(figures: list[Figure], lines: list[Row]) -> str:
    """Return how to read the page: what is simulated, what is published, how to ask for values."""
    parts = []
    if any(s["published"] for f in figures for panel in f.chart for s in panel["series"]):
        parts.append("Filled markers are simulated; hollow ones are what was published.")
    if lines:
        parts.append("On the bar of a claim the shaded part is the accepted range.")
    if any(figure.chart for figure in figures):
        parts.append("Charts give their values to the pointer and, once focused, to the arrow keys.")
    return " ".join(parts)


def _failing(lines: list[Row], quick: dict[str, Row]) -> str:
    failing = [line for line in lines if line["verdict"] != "pass"]
    if not failing:
        return ""
    title = f"{counted(len(failing), 'claim')} outside the accepted range"
    body = claim_list(failing, quick, anchors=False)
    return f'<section aria-labelledby="failing"><h2 class="plain" id="failing">{title}</h2>\n{body}</section>'


def _origin(figures: list[Figure]) -> str:
    """Return what all figures have in common: version and commit, where they agree."""
    version = _common(str(figure.about.get("versions", {}).get("lbsim", "")) for figure in figures)
    commit = _common(str(figure.about.get("commit", "")) for figure in figures)
    text = f"Simulated by lbsim {version}".rstrip() + (f", commit <code>{commit}</code>" if commit else "")
    return f"{text}. This page is complete in itself: it loads nothing and sends nothing."


def _common(values: Iterable[str]) -> str:
    """Return, as HTML, the value that all are equal to; nothing where they differ."""
    first, *others = set(values)
    return "" if others else escape(first)
