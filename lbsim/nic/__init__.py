"""Choose a core for a packet: hash or prefix, table, and the balancers that rewrite the table."""

from lbsim.nic.bytesum import byte_sums
from lbsim.nic.classes import Classes, ClassParams, classes_of, dealt, rearrange, relative_loads
from lbsim.nic.indirection import bucket_of, random_table, round_robin_table, sprayer_table
from lbsim.nic.limit import taken
from lbsim.nic.load import ROUGH_PERIOD, core_loads, rough_load
from lbsim.nic.rsspp import Moves, RssppParams, next_tick, rebalance
from lbsim.nic.scaling import Wish, redistribute, wish
from lbsim.nic.toeplitz import (
    MICROSOFT_KEY,
    MLX5_KEY,
    FlowColumns,
    Vector,
    flow_hashes,
    parse_key,
    published_vectors,
    symmetric_key,
    vectors_match,
)

__all__ = [
    "MICROSOFT_KEY",
    "MLX5_KEY",
    "ROUGH_PERIOD",
    "ClassParams",
    "Classes",
    "FlowColumns",
    "Moves",
    "RssppParams",
    "Vector",
    "Wish",
    "bucket_of",
    "byte_sums",
    "classes_of",
    "core_loads",
    "dealt",
    "flow_hashes",
    "next_tick",
    "parse_key",
    "published_vectors",
    "random_table",
    "rearrange",
    "rebalance",
    "redistribute",
    "relative_loads",
    "rough_load",
    "round_robin_table",
    "sprayer_table",
    "symmetric_key",
    "taken",
    "vectors_match",
    "wish",
]
