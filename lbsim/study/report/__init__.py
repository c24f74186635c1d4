"""One self-contained HTML page: every figure with its claims, its scenario and where it came from.

Made from the results folder alone, without a network; readable on a phone, in light and in dark, on paper.
The charts are drawn by the page itself (axis.js to page.js) from the chart.json that a
study wrote; without JavaScript its PNG stands there.
"""

from lbsim.study.report.page import figure_folders, write_report

__all__ = ["figure_folders", "write_report"]
