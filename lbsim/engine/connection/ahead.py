"""Telling the processor which memory is needed soon, so that it is in the cache by then.

Connections are all over the memory: with millions of them every event would wait, several times. The agenda
knows what ends soon, in order, and the source what begins soon, so each event fetches a little of that.
These are hints only: they may be out of date, and results do not depend on them.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lbsim.balancer.cheetah import conntable
from lbsim.balancer.consistency import CONNTABLE, FLOW_TABLE, Keeper
from lbsim.balancer.policies import View
from lbsim.balancer.tables import cuckoo
from lbsim.engine.connection.agenda import DONE, SHIFT, SORTED, Agenda, Rows, int64
from lbsim.engine.connection.plane import Attempts
from lbsim.engine.connection.state import SOON, State
from lbsim.jit import lean, step

DISTANCE: Final = 8  # attempts, or ends; their records: twice that

tools: Any = cgutils

HALF: Final = cuckoo.WIDTH // 2  # entries in a line of the cache


@intrinsic
def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Fetch the line of `array[index]`, to be read and written; the index must be within the array."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = target.make_array(signature.args[0])(target, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), tools.voidptr_t)
        number = ir.IntType(32)
        declared = ir.FunctionType(ir.VoidType(), [tools.voidptr_t, number, number, number])
        fetch = tools.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
        builder.call(fetch, [address, number(1), number(3), number(1)])  # to write; to keep; data
        return target.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = _prefetch


@step
def fetch_ending(a: Agenda, servers: Rows, keeper: Keeper) -> None:
    """Fetch the record of an end soon to come, and what the end of a sooner one will touch."""
    at, size = a.mark[DONE] + DISTANCE, a.mark[SORTED]
    if at + DISTANCE < size:
        prefetch(a.records, a.sorted[at + DISTANCE].slot)
    if at < size:
        record = a.records[a.sorted[at].slot]
        prefetch(servers, max(record.server, 0))
        digest = int64(record.hash)
        if keeper.kind == CONNTABLE:
            block = conntable.block_of(keeper.conntable, digest)
            prefetch(keeper.entries, block * keeper.conntable.size + max(record.handle, 0))
        elif keeper.kind == FLOW_TABLE:
            fetch_bucket(keeper.flows, digest & (len(keeper.flows) // cuckoo.WIDTH - 1))


@step
def fetch_beginning(a: Agenda, keeper: Keeper, attempts: Attempts, at: int) -> None:
    """Fetch what an attempt soon to come will touch."""
    at += DISTANCE
    if at < len(attempts.length):
        end = attempts.time[at] + attempts.length[at]
        prefetch(a.blocks, a.ends[(end >> a.mark[SHIFT]) & (len(a.ends) - 1)] + 1)
    if keeper.kind == FLOW_TABLE and at < len(attempts.hash):
        digest, mask = attempts.hash[at], len(keeper.flows) // cuckoo.WIDTH - 1
        bucket = digest & mask
        fetch_bucket(keeper.flows, bucket)
        fetch_bucket(keeper.flows, cuckoo.other_bucket(bucket, cuckoo.signature_of(digest), mask))


@step
def fetch_server(s: State, view: View, at: int) -> None:
    """Fetch the servers that were decided on for attempts soon to come, if they are servers."""
    last = view.n - 1
    prefetch(view.active, min(max(s.soon[at & (SOON - 1)], 0), last))
    position = min(max(s.soon[(at + SOON // 2) & (SOON - 1)], 0), last)
    prefetch(s.servers, view.active[position])


@lean
def fetch_bucket(flows: Rows, bucket: int) -> None:
    """Fetch both lines of a bucket of the cuckoo table."""
    prefetch(flows, bucket * cuckoo.WIDTH)
    prefetch(flows, bucket * cuckoo.WIDTH + HALF)
