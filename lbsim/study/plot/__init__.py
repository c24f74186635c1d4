"""Figures as data: panels, what they show of a table, and how Matplotlib draws them.

The report draws the same data itself. Simulated lines have bands, published points are hollow markers beside
them; nothing in a figure depends on when or where it is drawn.
"""

from lbsim.study.plot.draw import draw, render
from lbsim.study.plot.looks import LOOKS, STYLE, Look, style
from lbsim.study.plot.panel import Panel
from lbsim.study.plot.shown import chart_data, curves, published_points

__all__ = [
    "LOOKS",
    "STYLE",
    "Look",
    "Panel",
    "chart_data",
    "curves",
    "draw",
    "published_points",
    "render",
    "style",
]
