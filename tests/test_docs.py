"""What the documents say, runs."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import lbsim

ROOT = Path(__file__).parent.parent
MODULES = [
    "lbsim",
    "lbsim.units",
    "lbsim.metrics.histogram",
    "lbsim.balancer.policies",
    "lbsim.study.claims",
    "lbsim.study.sweeps.plan",
    "lbsim.study.sweeps.table",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:7]] == [
        *("rss", "rss++", "rssrr", "sprayer", "classes", "software", "compiled:")
    ]
    assert sum("two_choices" in line for line in printed[5:]) == 2


def test_the_scenario_of_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "readme.toml").write_text(text, "utf-8")
    assert lbsim.load_scenario(tmp_path / "readme.toml").server.cores == 8


def test_files_the_documents_name_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        for name in re.findall(
            r"(?:lbsim|experiments|tests|examples)/[\w/.-]+\.\w+", (ROOT / document).read_text("utf-8")
        ):
            assert (ROOT / name).exists() or "NAME" in name, f"{document} names {name}"


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed
