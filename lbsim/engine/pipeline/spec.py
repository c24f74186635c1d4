"""What the stages of a pipeline cost, in picoseconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


class Spec(NamedTuple):
    """The stages of a pipeline; times in ps. `spec_of` makes and checks it."""

    stages: int
    capacity: int  # packets the ring of a later stage holds, those in service included
    poll: int  # of each batch of a later stage, apart from its packets
    fixed: Int64s  # [stages, classes] work on a packet; below 0: it leaves before that stage
    per_byte: Int64s  # [stages] the same per byte of its frame
    latency: Int64s  # [stages] from the end of a stage's batch until it is in the next ring; 0 for the last
    class_of: Int32s  # [flows]


def spec_of(
    *,
    capacity: int,
    poll: int,
    fixed: ArrayLike,
    per_byte: ArrayLike,
    latency: ArrayLike,
    class_of: ArrayLike,
) -> Spec:
    """Return a pipeline of len(fixed) stages; ValueError where it makes no sense.

    Work includes what handing over costs. The first stage's is each packet's own `service`: the first row of
    `fixed` and the first of `per_byte` are not read.
    """
    costs, bytewise = _whole("fixed", fixed), _whole("per_byte", per_byte)
    ways, classes = _whole("latency", latency), _whole("class_of", class_of).astype(np.int32)
    if costs.ndim != 2 or not len(costs):
        raise ValueError(f"fixed: shape {costs.shape} is not [stages, classes]; give a row for every stage")
    stages = len(costs)
    for name, column in (("per_byte", bytewise), ("latency", ways)):
        if column.shape != (stages,):
            raise ValueError(f"{name}: shape {column.shape} for {stages} stages; give one value for each")
        if (column < 0).any():
            raise ValueError(f"{name}: {column.min()} ps is below 0; give 0 or more")
    if ways[-1]:
        raise ValueError(f"latency: {ways[-1]} ps behind the last stage, where packets depart; give 0 there")
    if capacity < 1:
        raise ValueError(f"capacity: {capacity} packets; a ring holds at least 1")
    if poll < 0:
        raise ValueError(f"poll: {poll} ps is below 0; give 0 or more")
    if classes.min(initial=0) < 0 or classes.max(initial=-1) >= costs.shape[1]:
        raise ValueError(
            f"class_of: {classes.min()} .. {classes.max()}; there are classes 0 .. {costs.shape[1] - 1}"
        )
    return Spec(stages, capacity, poll, costs, bytewise, ways, classes)


def _whole(name: str, column: ArrayLike) -> Int64s:
    """Return a column of whole numbers, without copying where that is what it is."""
    numbers = np.asarray(column)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"{name}: {numbers.dtype} are not whole numbers; round them")
    return np.ascontiguousarray(numbers, np.int64)


def check(cores: int, table: Int64s, spec: Spec) -> None:
    """Raise ValueError unless the cores make whole lanes, and the table names first cores of them."""
    if cores % spec.stages:
        raise ValueError(f"cores: {cores} make no whole lanes of {spec.stages} stages; give a multiple")
    if (table % spec.stages).any() or table.min(initial=0) < 0 or table.max(initial=0) >= cores:
        raise ValueError(
            f"table: it names a core that is not the first of a lane; give multiples of {spec.stages}"
            f" below {cores}"
        )
