"""The one way to compile a kernel: Numba with an on-disk cache that notices every edit.

Numba keys its cache on the file that holds the decorated function, so a kernel that calls a helper in
another file may be served stale machine code after that helper changes. Here the cache folder's name is a
hash of every source file that defines kernels: any edit to any of them starts a fresh cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])

PACKAGE = Path(__file__).parent


def kernel_sources() -> list[Path]:
    """Return the source files that define kernels, in a fixed order."""
    mark = "from lbsim.jit import"
    return sorted(p for p in PACKAGE.rglob("*.py") if p == Path(__file__) or mark in p.read_text("utf-8"))


@cache
def cache_folder() -> str:
    """Return the folder of compiled kernels for exactly these sources and this Numba."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in kernel_sources():
        digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    beside = PACKAGE / "__pycache__"
    try:
        beside.mkdir(exist_ok=True)
        writable = os.access(beside, os.W_OK)
    except OSError:
        writable = False
    root = beside if writable else Path.home() / ".cache" / "lbsim"
    return str(root / name)


def kernel(function: F) -> F:
    """Compile `function` with Numba: no Python objects, no fast-math, cached on disk.

    The plain function stays reachable as `.py_func`, so every kernel can also be read and tested as Python.
    """
    return _compile(function)


def lean(function: F) -> F:
    """Compile a kernel that makes no array of its own, without reference counting.

    Counting references to the arrays a kernel is given costs three times the packet's own work.
    """
    return _compile(function, _nrt=False)


def step(function: F) -> F:
    """Compile a step of a lean kernel into its callers' machine code.

    A call would pass seven words for each array of each tuple, which costs more than many a step's own work.
    """
    return _compile(function, _nrt=False, forceinline=True)


def inlined(function: F) -> F:
    """Compile a small step of a kernel into its callers."""
    return _compile(function, inline="always")


def transient(function: F) -> F:
    """Compile a user's function: for this process only, and free to make arrays and lists."""
    # Without _nrt it inherits the setting of the lean kernel that calls it.
    options: Any = {"_nrt": True, "forceinline": True}
    return cast(F, numba.njit(function, **options))


def _compile(function: F, **options: Any) -> F:
    settings: Any = config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = cache_folder()
    try:
        compiled: Any = numba.njit(cache=True, fastmath=False, nogil=True, **options)(function)
    finally:
        settings.CACHE_DIR = before
    return cast(F, compiled)
