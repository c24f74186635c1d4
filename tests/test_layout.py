"""The plan of the house: imports go one way."""

import ast
from pathlib import Path

import lbsim

# A room may import from the rooms to its right, and from itself.
ORDER = [
    "__main__",
    "cli",
    "bench",
    "study",
    "engine",
    "chain",
    "workload",
    "balancer",
    "scenario",
    "nic",
    "metrics",
    "rng",
    "units",
    "jit",
]
PACKAGE = Path(lbsim.__file__).parent


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_one_way() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if room(path) == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = node.module == "lbsim"
                modules = [f"lbsim.{a.name}" for a in node.names] if whole else [node.module]
            for module in modules:
                target = module.split(".")[1] if module.startswith("lbsim.") else ""
                if target in ORDER and ORDER.index(target) < ORDER.index(room(path)):
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not wrong


def test_every_room_is_in_the_plan() -> None:
    assert {room(p) for p in PACKAGE.rglob("*.py")} - {"__init__"} <= set(ORDER)
