import functools
import importlib
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType

import cloudpickle
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import balancer
from lbsim.balancer import Policy
from lbsim.balancer.meaning import from_lbsim, meaning
from lbsim.jit import kernel_sources
from lbsim.scenario import override
from lbsim.study.points import keys
from lbsim.study.points.cell import Cell
from lbsim.study.points.keys import fingerprint, point_key, policy_digest, policy_source
from results import BASE

HERE = Path(__file__).parent


@pytest.fixture
def registered(monkeypatch):
    """A function that registers a policy for this test alone."""
    registry = dict(balancer.policies())
    monkeypatch.setattr(keys, "policies", lambda: registry)

    def register(choose, state=0):
        registry["mine"] = Policy("mine", choose, state, "")
        return override(BASE, {"nic.dispatch": {"kind": "policy", "policy": "mine"}})

    return register


def written(source, filename="<cell>", **known):
    """The function `choose` of a source text, as a notebook cell would make it."""
    space = {"__name__": "a_notebook", "np": np, "numba": numba, **known}
    exec(compile(textwrap.dedent(source), filename, "exec"), space)
    return space["choose"]


def digest(choose, state=0):
    return policy_digest(Policy("mine", choose, state, ""))


# --- the sources ---


def test_the_fingerprint_covers_what_defines_a_run(tmp_path, monkeypatch):
    harmless = ("study/plot.py", "cli/app.py", "__init__.py", "metrics/intervals.py", "py.typed")
    meaningful = ("engine/run.py", "engine/__init__.py", "workload/data/sizes.csv", "metrics/result.py")
    ignored = "engine/__pycache__/run.pyc"
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)

    def after(name, content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        return fingerprint.__wrapped__()

    for name in (*harmless, *meaningful, ignored):
        first = after(name, b"1")
    for name in (*harmless, ignored):
        assert after(name, b"2") == first, name
    seen = [first, *(after(name, b"2") for name in (*meaningful, "engine/new.py", "study.py"))]
    assert len(set(seen)) == 7
    (tmp_path / "engine/new.py").unlink()
    before = fingerprint.__wrapped__()
    assert before not in seen
    monkeypatch.setattr(np, "__version__", "0")
    assert fingerprint.__wrapped__() != before


def test_a_run_does_without_the_sources_that_are_not_covered():
    code = """
        import sys
        from types import ModuleType
        from lbsim.study.points.keys import NOT_SEMANTIC

        class Absent(ModuleType):
            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return lambda *given: sys.exit(f"a run uses {self.__name__}.{name}")

        for name in [name for name in sys.modules if name.startswith("lbsim.")]:
            del sys.modules[name]
        for path in NOT_SEMANTIC:
            name = "lbsim." + path.removesuffix(".py").replace("/", ".")
            sys.modules[name] = Absent(name)
        from lbsim.engine.run import run
        from results import BASE
        print(run(BASE).laws() and run(BASE, engine="reference").laws() and len(sys.modules))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=HERE, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) > 100


def test_every_kernel_is_covered():
    names = [path.relative_to(keys.PACKAGE) for path in kernel_sources()]
    assert not [n for n in names if any(map(n.is_relative_to, keys.NOT_SEMANTIC)) and n.parts[0] != "bench"]


# --- the scenario ---


def test_a_key_is_32_hex_digits_that_every_field_but_the_name_decides():
    changes = (
        *({"seed": 2}, {"replication": 1}, {"warmup": "1us"}, {"server.cores": 3}, {"traffic.flows": 17}),
        *({"nic.dispatch.kind": "sprayer"}, {"measure.interval": "1us"}, {"arrivals.rate": "2Mpps"}),
    )
    names = [point_key(BASE), *(point_key(override(BASE, change)) for change in changes)]
    assert len(set(names)) == 1 + len(changes)
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
    assert point_key(override(BASE, {"name": "another title"})) == point_key(BASE)


def test_a_key_depends_on_the_fingerprint(monkeypatch):
    before = point_key(BASE)
    monkeypatch.setattr(keys, "fingerprint", lambda: "other sources")
    assert point_key(BASE) != before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("traffic", lambda path: {"kind": "capture", "file": str(path)}),
        ("server.cost.work", lambda path: {"kind": "table", "table": str(path), "mean": "1us"}),
    ],
)
def test_files_count_by_their_content_wherever_they_lie(tmp_path, field, value):
    def key(name):
        return point_key(override(BASE, {field: value(tmp_path / name)}))

    (tmp_path / "a.csv").write_bytes(b"one")
    (tmp_path / "b.csv").write_bytes(b"one")
    (tmp_path / "c.csv").write_bytes(b"two")
    first = key("a.csv")
    assert key("b.csv") == first
    assert key("c.csv") != first
    (tmp_path / "c.csv").replace(tmp_path / "a.csv")  # same path and size, perhaps the same instant
    assert key("a.csv") != first
    (tmp_path / "b.csv").write_bytes(b"two")  # in place, of the same size
    os.utime(tmp_path / "b.csv", (1, 1))
    assert key("b.csv") == key("a.csv")
    with pytest.raises(FileNotFoundError, match=r"gone\.csv"):
        key("gone.csv")


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "capture.pcap"
    path.write_bytes(b"content")
    first = keys.file_digest(path)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert keys.file_digest(path) == first


# --- policies ---

CHOOSE = """
    LIMIT = 3
    WEIGHTS = np.array([1, 2])
    def deeper(x):
        return x + LIMIT
    def helper(x):
        return deeper(x)
    @numba.njit
    def compiled(x):
        return x * 2
    def choose(view, unit, more=7):
        inner = [q for q in view.queue if q in {"a", "b", "c"}]
        return (helper(unit.index) + compiled(1) + WEIGHTS[0] + more) % view.n
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("% view.n", "// view.n"),
        ("% view.n", "% view.m"),
        ("compiled(1)", "compiled(2)"),
        ("compiled(1)", "compiled(True)"),
        ("more=7", "more=8"),
        ("more=7", "*, more=7"),
        ('"c"}', '"d"}'),
        ("view.queue if q in", "view.queue if q not in"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("[1, 2]", "[1, 3]"),
        ("[1, 2]", "[1, 2], np.int32"),
        ("x + LIMIT", "x - LIMIT"),
        ("x * 2", "x * 3"),
        ("@numba.njit", "@numba.njit(fastmath=True)"),
        ("    @numba.njit\n", ""),
        ("return deeper(x)", "return 1 + deeper(x)"),
    ],
)
def test_a_policy_that_does_something_else_has_another_digest(old, new):
    assert CHOOSE.count(old) == 1
    assert digest(written(CHOOSE)) != digest(written(CHOOSE.replace(old, new)))


def test_how_a_policy_is_written_does_not_matter():
    first = digest(written(CHOOSE))
    elsewhere = written("\n\n# a comment\n" + textwrap.dedent(CHOOSE) + "\nUNUSED = 5\n", filename="other.py")
    assert digest(elsewhere) == first
    documented = CHOOSE.replace(
        "x):\n        return deeper", 'x):\n        "Documented."\n        return deeper'
    )
    assert digest(written(documented)) == first or sys.version_info >= (3, 13)  # there a flag says so


def test_a_docstring_is_not_meaning_but_the_same_constant_in_use_is():
    one, two = ('return [("one") for _ in view.queue]', 'return [("two") for _ in view.queue]')
    made = [written(f"def choose(view, unit): {body}") for body in (one, two)]
    assert digest(made[0]) != digest(made[1])


def test_running_a_policy_does_not_change_its_digest():
    choose = written("def choose(view, unit): return (view + unit) * 2")
    before = digest(choose)
    for k in range(2000):  # enough for the interpreter to specialize it
        choose(k, 1.5)
    assert digest(choose) == before


def test_name_and_state_count():
    choose = written("def choose(view, unit): return 0")
    both = [Policy("mine", choose, 1, ""), Policy("yours", choose, 0, "")]
    assert len({digest(choose), *map(policy_digest, both)}) == 3
    assert policy_digest(Policy("mine", choose, 0, "another word about it")) == digest(choose)


def test_how_a_policy_may_be_called_counts():
    kinds = ("view, unit, more", "view, unit, *, more", "view, /, unit, more", "view, unit, *more")
    assert len({digest(written(f"def choose({given}): return more")) for given in kinds}) == 4


def test_what_hangs_on_a_helper_counts():
    def choose(number):
        made = written("def helper(): pass\ndef choose(view, unit): return helper.number")
        made.__globals__["helper"].number = number
        return digest(made)

    assert choose(1) == choose(1) != choose(2)


def test_a_function_that_an_installed_package_made_counts_with_what_it_closed_over():
    def choose(value):
        return digest(written("def choose(view, unit): return made()", made=as_numpy_would(value)))

    def as_numpy_would(value):
        made = closed_over(value)
        return type(made)(made.__code__, np.__dict__, "made", None, made.__closure__)  # as if NumPy had

    assert choose(1) == choose(1) != choose(2)


def test_what_is_installed_counts_by_name_and_version(monkeypatch):
    choose = written("def choose(view, unit): return argmin(view.queue)", argmin=np.argmin)
    before = digest(choose)
    assert "function numpy._core.fromnumeric " in meaning(np.argmin)
    monkeypatch.setattr(np, "__version__", "0")
    assert digest(choose) != before


def closed_over(value):
    def choose(view, unit):
        return value

    return choose


def test_closures_count():
    assert digest(closed_over(1)) == digest(closed_over(1))
    assert len({digest(closed_over(value)) for value in (1, 2, 1.0, True, "1", None, (1,), [1])}) == 8


def test_functions_that_call_each_other_have_a_digest():
    source = """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        def choose(view, unit): return choose(view, unit) if even(unit.index) else 0
    """
    assert digest(written(source)) == digest(written(source))
    assert digest(written(source)) != digest(written(source.replace("n == 0 or", "n == 1 or")))


def test_a_helper_defined_later_counts():
    choose = written("def choose(view, unit): return later(1)")
    before = digest(choose)
    choose.__globals__["later"] = written("def choose(view): return 2")
    assert digest(choose) != before


def test_what_a_policy_takes_from_a_users_module_counts(monkeypatch):
    def module(number, other=0):
        made = ModuleType("users_helpers")
        exec(f"def pick(n): return n + {number}\ndef unused(n): return {other}\nLIMIT = {number}", vars(made))
        monkeypatch.setitem(sys.modules, "users_helpers", made)
        return digest(written("def choose(view, unit): return users.pick(view.n)", users=made))

    assert module(1) == module(1) == module(1, other=5)
    assert module(1) != module(2)


def test_classes_and_objects_a_policy_uses_count():
    source = """
        from dataclasses import dataclass
        from enum import Enum
        from typing import NamedTuple
        class Mode(Enum):
            SLOW = 1
            FAST = 2
        class Pair(NamedTuple):
            a: int
            b: int = 4
        @dataclass
        class Settings:
            limit: int = 5
            def twice(self):
                return self.limit * 2
        SETTINGS = Settings()
        COINS = np.random.default_rng(6)
        def choose(view, unit):
            return Pair(1).b + SETTINGS.twice() + Mode.FAST.value + COINS.integers(5)
    """
    made = [written(source)]
    changes = (("FAST = 2", "FAST = 3"), ("b: int = 4", "b: int = 9"), ("limit * 2", "limit * 3"))
    for old, new in (*changes, ("Settings()", "Settings(6)"), ("default_rng(6)", "default_rng(7)")):
        made.append(written(source.replace(old, new)))
    assert len({digest(choose) for choose in made}) == 6
    assert digest(written(source)) == digest(made[0])


def test_a_digest_survives_the_way_to_a_worker():
    choose = written(CHOOSE)
    assert digest(cloudpickle.loads(cloudpickle.dumps(choose))) == digest(choose)
    assert digest(cloudpickle.loads(cloudpickle.dumps(closed_over(3)))) == digest(closed_over(3))
    code = "import sys, cloudpickle, test_keys; print(test_keys.digest(cloudpickle.load(sys.stdin.buffer)))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE,
        input=cloudpickle.dumps(choose),
        capture_output=True,
        check=True,
    )
    assert other.stdout.decode().strip() == digest(choose)


def test_a_file_edited_after_its_import_does_not_change_what_runs(tmp_path, monkeypatch):
    path = tmp_path / "edited_policy.py"
    path.write_text("def choose(view, unit):\n    return 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    choose = importlib.import_module("edited_policy").choose
    monkeypatch.delitem(sys.modules, "edited_policy")
    before = digest(choose)
    path.write_text("def choose(view, unit):\n    return 1\n")
    assert digest(choose) == before
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    assert digest(written(path.read_text())) != before


def test_lbsims_own_policies_are_told_by_name_and_a_users_wrapper_of_one_is_not():
    own = balancer.policies()["power_of_two"].choose

    @functools.wraps(own)
    def wrapper(view, unit):
        return own(view, unit)

    assert from_lbsim(own)
    assert not from_lbsim(wrapper)
    assert meaning(own) == "function lbsim.balancer.policies.power_of_two"
    assert digest(wrapper) != digest(own)


def test_a_key_follows_the_policy(registered):
    scenario = registered(written("def choose(view, unit): return 0"))
    first = point_key(scenario)
    assert point_key(registered(written("def choose(view, unit): return 0"))) == first
    assert point_key(registered(written("def choose(view, unit): return 1"))) != first
    assert point_key(registered(written("def choose(view, unit): return 0"), state=1)) != first


def test_a_policy_whose_meaning_cannot_be_told_is_refused(registered):
    scenario = registered(written("def choose(view, unit): return lock", lock=threading.Lock()))
    with pytest.raises(ValueError, match=r"policy 'mine'.*a lock, whose content cannot be told"):
        point_key(scenario)
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="holds itself"):
        point_key(registered(written("def choose(view, unit): return endless", endless=endless)))


def test_the_text_of_a_policy_is_told_where_there_is_one():
    assert policy_source(Policy("mine", closed_over(1), 0, "")) == (
        "    def choose(view, unit):\n        return value\n"
    )
    assert policy_source(Policy("mine", written("def choose(view, unit): return 0"), 0, "")) is None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 1.0])
    | st.text("a,'[", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=1), inner)
    ),
    max_leaves=6,
)


@given(PLAIN, PLAIN)
def test_values_have_the_same_meaning_when_they_are_written_the_same(a, b):
    assert (meaning(a) == meaning(b)) == (repr(a) == repr(b))


@given(st.lists(st.integers(-2, 2), max_size=4), st.sampled_from(["i8", "i4", "f8", "O"]))
def test_arrays_count_by_value_type_and_shape(values, kind):
    array = np.array(values, kind)
    assert meaning(array) == meaning(array.copy())
    changed = [np.append(array, [0]).astype(kind), array[np.newaxis], list(values)]
    assert len({meaning(array), *map(meaning, changed)}) == 4
    kinds = [np.zeros(2, kind) for kind in ("i8", "u8", "f8", "O", ">i8")]
    assert len(set(map(meaning, kinds))) == len(kinds)


def area(point):
    return {"area": FACTOR * point[0]}


FACTOR = 2


def test_a_cell_is_named_by_its_function_and_parameters(monkeypatch):
    name = point_key(Cell(area, (1, 2)))
    assert point_key(Cell(area, (1, 2), size=5.0)) == name
    others = [point_key(Cell(area, point)) for point in ((1, 3), (1.0, 2), [1, 2], ("1", 2))]
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert len({name, *others, point_key(Cell(area, (1, 2)))}) == 6
