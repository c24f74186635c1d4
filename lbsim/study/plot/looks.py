"""One style for every figure.

Colours are those of Okabe and Ito (distinct for colour-blind readers); every series also has its own marker
and dashes, so figures work in grey. The same data gives the same bytes: no dates, no random ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Look(NamedTuple):
    """How a series is drawn."""

    color: str
    marker: str
    dashes: Any


LOOKS = (
    Look("#0072B2", "o", "-"),  # blue
    Look("#D55E00", "s", (0, (5, 1.5))),  # vermillion
    Look("#009E73", "^", (0, (1.2, 1.2))),  # green
    Look("#CC79A7", "D", (0, (5, 1.2, 1.2, 1.2))),  # purple
    Look("#E69F00", "v", (0, (8, 2))),  # orange
    Look("#56B4E9", "P", (0, (3, 1, 1, 1, 1, 1))),  # sky
    Look("#000000", "X", (0, (2, 1))),  # black
    Look("#8A8000", "h", (0, (6, 1, 2, 1))),  # yellow of the palette, darkened to be seen on white
    Look("#7F7F7F", "*", (0, (4, 1, 1, 1))),  # grey
    Look("#7B2D26", "<", (0, (10, 1, 2, 1, 2, 1))),  # brown
)

HEAT = (
    "#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838",
)  # fmt: skip
"""The colours of a heat map, from its least value to its most: nine of cividis.

It gets evenly lighter, so it works in grey, and looks nearly the same to every kind of colour vision.
"""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "svg.hashsalt": "lbsim",
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; the settings of the caller come back after."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield
