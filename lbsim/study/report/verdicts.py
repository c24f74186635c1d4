"""Claims as a list: the sentence, the accepted range with both values on it, the verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from html import escape

from lbsim.study.claims import Row

BARE = ("ratio", "share", "bool")  # units that a sentence makes clear by itself
MARGIN = 15  # % of a bar on either side, room for the numbers at the ends of its range


def claim_list(lines: Iterable[Row], quick: dict[str, Row], *, anchors: bool) -> str:
    """Return claims as HTML; `quick` holds the lines of the quick scale by id.

    With `anchors` every claim can be linked to and sources are given; without, it links to the one that can.
    A remark that several claims share stands once, below them.
    """
    every = list(lines)
    remarks = [_parts(line["quantity"])[1] for line in every]
    shared = [remark for remark, times in Counter(remarks).items() if remark and times > 1]
    items = "\n".join(_claim(line, quick.get(line["id"]), anchors, shared) for line in every)
    notes = [f"<sup>{mark}</sup> {escape(remark)}" for mark, remark in enumerate(shared, 1)]
    sources = "; ".join(dict.fromkeys(line["source"] for line in every if line.get("source")))
    notes += [f"Sources: {escape(sources)}"] if sources and anchors else []
    below = "".join(f'<p class="small remark">{note}</p>' for note in notes)
    return f'<ol class="claims">\n{items}\n</ol>{below}'


def number(value: float) -> str:
    """Return a number for people: four significant digits, whole thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _claim(line: Row, quick: Row | None, anchors: bool, shared: list[str]) -> str:
    verdict = "✓ pass" if line["verdict"] == "pass" else "✗ fail"
    id_ = escape(line["id"])
    name = f'<a href="#{id_}">{id_}</a>'
    own = f' id="{id_}"' if anchors else ""
    return (
        f'<li class="claim {escape(line["verdict"])}"{own}>'
        f'<div class="id"><span class="verdict">{verdict}</span>{name}</div>'
        f'<div class="what">{_sentence(line["quantity"], shared)}{_small(line["note"])}</div>'
        f'<div class="figures">{range_bar(line)}{_values(line, quick)}</div></li>'
    )


def _parts(quantity: str) -> tuple[str, str]:
    """Return a claim's sentence, and the long remark in brackets at its end if there is one."""
    said, bracket, remark = quantity.partition(" (")
    return (said, remark[:-1]) if bracket and remark.endswith(")") and len(remark) > 40 else (quantity, "")


def _sentence(quantity: str, shared: list[str]) -> str:
    said, remark = _parts(quantity)
    if remark in shared:
        return f"<p>{escape(said)} <sup>{shared.index(remark) + 1}</sup></p>"
    return f"<p>{escape(said)}</p>{_small(remark)}"


def _small(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>' if text else ""


def _values(line: Row, quick: Row | None) -> str:
    simulated = line["simulated"]
    pairs = [
        ("simulated", "not computed" if simulated is None else _with_unit(simulated, line["unit"])),
        ("published", _with_unit(line["published"], line["unit"])),
    ]
    if quick is not None and line["scale"] == "full" and quick["simulated"] is not None:
        pairs.append(("at quick scale", number(quick["simulated"])))
    items = "".join(f'<div class="{k.split()[-1]}"><dt>{k}</dt><dd>{escape(v)}</dd></div>' for k, v in pairs)
    return f'<dl class="values">{items}</dl>'


def _with_unit(value: float, unit: str) -> str:
    return number(value) if unit in BARE else f"{number(value)} {unit}"


def range_bar(line: Row) -> str:
    """Return a bar of the accepted range with the published value as a ring and the simulated one as a dot.

    Logarithmic where the values span more than a factor of six.
    """
    low, high, published, simulated = (line[k] for k in ("low", "high", "published", "simulated"))
    values = [v for v in (low, high, published, simulated) if v is not None]
    place = _places(values)
    accepted = f"accepted {_range(low, high)}"
    said = "not computed" if simulated is None else f"simulated {number(simulated)}"
    label = escape(f"{said}, {accepted}, published {number(published)}")
    left, right = place(low), place(high)
    parts = ['<line class="base" x1="0" x2="100%" y1="17" y2="17"/>']
    if low == high:
        parts.append(
            f'<rect class="accepted" x="{left:.2f}%" y="8" width="20" height="18" rx="3"'
            ' transform="translate(-10)"/>'
            f'<text x="{left:.2f}%" y="35" text-anchor="middle">{number(low)}</text>'
        )
    else:
        ends = ("middle", "middle") if right - left > MARGIN else ("end", "start")
        parts.append(
            f'<rect class="accepted" x="{left:.2f}%" y="10" width="{right - left:.2f}%" height="14" rx="3"/>'
            f'<text x="{left:.2f}%" y="35" text-anchor="{ends[0]}">{number(low)}</text>'
            f'<text x="{right:.2f}%" y="35" text-anchor="{ends[1]}">{number(high)}</text>'
        )
    parts.append(f'<circle class="published" cx="{place(published):.2f}%" cy="17" r="6.5"/>')
    if simulated is not None:
        parts.append(_dot(place(simulated), line["verdict"] == "pass"))
    return f'<svg class="range" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _range(low: float, high: float) -> str:
    return f"exactly {number(low)}" if low == high else f"{number(low)} to {number(high)}"


def _dot(place: float, passed: bool) -> str:
    """Return the simulated value: a dot within the range, a diamond outside; grey tells them apart."""
    if passed:
        return f'<circle class="dot" cx="{place:.2f}%" cy="17" r="4"/>'
    diamond = '<path class="dot" d="M0,-6.5L6.5,0L0,6.5L-6.5,0Z"/>'
    return f'<svg x="{place:.2f}%" y="17" overflow="visible">{diamond}</svg>'


def _places(values: list[float]) -> Callable[[float], float]:
    """Return a function from a value to its place on the bar in %."""
    least, most = min(values), max(values)
    scale: Callable[[float], float] = math.log if least > 0 and most / least > 6 else float
    start, span = scale(least), scale(most) - scale(least)
    return lambda value: 50.0 if span == 0 else MARGIN + (100 - 2 * MARGIN) * (scale(value) - start) / span
