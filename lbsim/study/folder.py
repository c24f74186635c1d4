"""The folder of a study or a sweep: tables, a figure, and provenance.json with the digest of every file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lbsim.study import plot
from lbsim.study.points import store


class Folder:
    """The folder of one study: every file is written whole and stands with its digest in provenance.json."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []

    def bytes(self, name: str, content: bytes) -> None:
        """Write a file."""
        store.write_whole(self.path / name, content)
        self.names.append(name)

    def text(self, name: str, content: str) -> None:
        """Write text as UTF-8."""
        self.bytes(name, content.encode())

    def json(self, name: str, content: Any) -> None:
        """Write data as JSON."""
        self.bytes(name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def table(self, name: str, made: pd.DataFrame) -> pd.DataFrame:
        """Write a table as CSV and return it as its readers will see it."""
        self.text(f"{name}.csv", made.to_csv(index=False, float_format="%.9g"))
        return pd.read_csv(self.path / f"{name}.csv") if len(made) else made

    def figure(
        self, name: str, panels: Sequence[plot.Panel], table: pd.DataFrame, published: pd.DataFrame
    ) -> None:
        """Draw the panels for paper and screen, and write what the report draws of them."""
        if not panels or table.empty:
            return
        self.json("chart.json", plot.chart_data(panels, table, published))
        with plot.style():
            made = plot.draw(panels, table, published)
        for form in ("png", "pdf", "svg"):
            self.bytes(f"{name}.{form}", plot.render(made, form))

    def close(self, about: dict[str, Any]) -> None:
        """Write provenance.json: where it all comes from, and the digest of every file."""
        self.json("provenance.json", {**about, "files": store.digests(self.path, self.names)})
