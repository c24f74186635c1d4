"""What a function does, as text: equal for functions that behave alike, in any process.

A function is told by its bytecode and by the values it reaches: constants, defaults, closure cells, and the
globals it names, helper functions followed in turn. File names, line numbers and docstrings do not count.
What comes with Python, with lbsim or from an installed package is told by its name and version.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

import numpy as np
from numba.core.types import Type as NumbaType

PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
BOOKKEEPING: Final = {
    *("__annotations__", "__dict__", "__doc__", "__firstlineno__", "__module__"),
    *("__static_attributes__", "__weakref__", "__abstractmethods__", "_abc_impl"),
}
"""Attributes of a class that do nothing."""

Seen = dict[Any, tuple[int, Any]]
"""What was told already, by identity: its number, and the object itself so that it stays alive."""


def meaning(value: object) -> str:
    """Return the text that tells a value; raises ValueError where there is something it cannot tell."""
    try:
        return _tell(value, {})
    except RecursionError:
        raise ValueError("it holds itself, or is nested too deep; use plain lists and tables") from None


def from_lbsim(function: object) -> bool:
    """Whether a function, compiled or not, is defined in lbsim itself."""
    return _home(getattr(function, "py_func", function)).partition(".")[0] == "lbsim"


def _tell(value: Any, seen: Seen) -> str:
    """Return the text of any value."""
    if type(value) in PLAIN:
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, np.ndarray | np.generic):
        return _array(value, seen)
    if type(value) in (tuple, list):
        return f"{type(value).__name__} [{', '.join(_tell(item, seen) for item in value)}]"
    if type(value) in (dict, MappingProxyType):
        return f"dict {{{', '.join(f'{_tell(k, seen)}: {_tell(v, seen)}' for k, v in value.items())}}}"
    if type(value) in (set, frozenset):  # their order differs from process to process
        return f"{type(value).__name__} {{{', '.join(sorted(_tell(item, seen) for item in value))}}}"
    if isinstance(value, ModuleType):
        return f"module {_name(value.__name__)}"
    if isinstance(value, NumbaType | np.ufunc):
        return f"{type(value).__name__} {value}"
    if id(value) in seen:
        return f"as number {seen[id(value)][0]}"
    seen[id(value)] = (len(seen), value)
    return _tell_object(value, seen)


def _array(value: Any, seen: Seen) -> str:
    array = np.asarray(value)
    kind = f"{type(value).__name__} {array.dtype} {array.shape}"
    if array.dtype.hasobject:
        return f"{kind} {_tell(array.tolist(), seen)}"
    return f"{kind} {hashlib.sha256(array.tobytes()).hexdigest()}"


def _tell_object(value: Any, seen: Seen) -> str:
    """Return the text of what may hold itself: functions, classes and other objects."""
    if hasattr(value, "py_func"):  # compiled by Numba
        return f"compiled {_tell([value.py_func, dict(value.targetoptions)], seen)}"
    if isinstance(value, FunctionType):
        home = _home(value)
        by_name = _named(home) and not value.__closure__
        return f"function {_name(home)}.{value.__qualname__}" if by_name else _function(value, seen)
    if isinstance(value, CodeType):
        return _code(value, seen)
    if isinstance(value, type):
        return _class(value, seen)
    if isinstance(value, staticmethod | classmethod):
        return f"{type(value).__name__} {_tell(value.__func__, seen)}"
    if isinstance(value, property):
        return f"property {_tell([value.fget, value.fset], seen)}"
    if hasattr(value, "__wrapped__"):  # e.g. functools.cache: its content is no part of what it does
        return f"{_tell(type(value), seen)} around {_tell(value.__wrapped__, seen)}"
    return _parts(value, seen)


def _parts(value: Any, seen: Seen) -> str:
    """Return the text of an object by what `copy` would make it from again."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        made = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception as error:
        raise ValueError(
            f"it uses a {type(value).__qualname__}, whose content cannot be told ({error}); "
            "use numbers, text, arrays and functions"
        ) from error
    if isinstance(made, str):
        return f"{type(value).__qualname__} {_name(getattr(value, '__module__', None) or '')}.{made}"
    return f"object {_tell([list(part) if isinstance(part, Iterator) else part for part in made], seen)}"


def _class(value: type, seen: Seen) -> str:
    name = f"class {value.__module__}.{value.__qualname__}"
    if _named(value.__module__):
        return f"{name} {_name(value.__module__)}"
    inside = {
        k: v
        for k, v in sorted(vars(value).items())
        if k not in BOOKKEEPING and type(v).__name__ not in ("getset_descriptor", "member_descriptor")
    }
    return f"class {_tell([list(value.__bases__), inside], seen)}"


def _function(function: FunctionType, seen: Seen) -> str:
    codes = list(_codes(function.__code__))
    names = frozenset(name for code in codes for name in code.co_names)
    known = function.__globals__
    reached = {name: known[name] for name in sorted(_globals(codes)) if name in known}
    cells = [_content(cell) for cell in function.__closure__ or ()]
    texts = [
        _code(function.__code__, seen),
        _tell([function.__defaults__, function.__kwdefaults__, *_attributes(function)], seen),
        *(_reached(value, names, seen) for value in cells),
        *(f"{name} = {_reached(value, names, seen)}" for name, value in reached.items()),
    ]
    return f"function {{{'; '.join(texts)}}}"


def _attributes(function: FunctionType) -> list[Any]:
    return [item for item in sorted(vars(function).items()) if item[0] != "__wrapped__"]  # a cell holds that


def _reached(value: Any, names: frozenset[str], seen: Seen) -> str:
    """Return the text of a value a function reaches; of a user's module, that of the attributes it names."""
    if not isinstance(value, ModuleType) or _named(value.__name__):
        return _tell(value, seen)
    mark = (id(value), names)
    if mark in seen:
        return f"as number {seen[mark][0]}"
    seen[mark] = (len(seen), value)
    inside = [f"{k} = {_reached(v, names, seen)}" for k, v in sorted(vars(value).items()) if k in names]
    return f"module {{{'; '.join(inside)}}}"


def _code(code: CodeType, seen: Seen) -> str:
    """Return the text of bytecode with the constants it loads (a docstring is none of them)."""
    loaded = sorted({i.arg or 0 for i in dis.get_instructions(code) if i.opcode in dis.hasconst})
    constants = {k: code.co_consts[k] for k in loaded}
    names = [list(n) for n in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)]
    counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    return f"code {_tell([code.co_code, code.co_exceptiontable, *counts, *names, constants], seen)}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals(codes: list[CodeType]) -> set[str]:
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    return {str(i.argval) for code in codes for i in dis.get_instructions(code) if i.opname in loads}


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return NotImplemented


def _home(function: Any) -> str:
    """Return the module a function was written in, also where a decorator renamed it."""
    known = getattr(function, "__globals__", None)
    return str(known.get("__name__") if known is not None else getattr(function, "__module__", None))


def _named(module: str) -> bool:
    """Whether what a module holds is told by name: that of Python, of lbsim and of installed packages."""
    top = module.partition(".")[0]
    if top == "lbsim" or module == "builtins":
        return True
    if top == "__main__" or top not in sys.modules:
        return False
    file = getattr(sys.modules[top], "__file__", None)
    if file is None:
        return top in sys.stdlib_module_names
    parts = Path(file).parts
    installed = "site-packages" in parts or "dist-packages" in parts
    return installed or Path(file).is_relative_to(sysconfig.get_path("stdlib"))


def _name(module: str) -> str:
    """Return a module's name with the version of its package, if it says one."""
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", "")
    return f"{module} {version}" if version and not module.startswith("lbsim") else module
