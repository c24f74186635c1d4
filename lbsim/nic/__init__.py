"""Choose a core for a packet: hash, indirection table, and the RSS++ balancer that rewrites the table."""

from lbsim.nic.indirection import bucket_of, round_robin_table, sprayer_table
from lbsim.nic.rsspp import ROUGH_PERIOD, Moves, RssppParams, core_loads, next_tick, rebalance, rough_load
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
    "FlowColumns",
    "Moves",
    "RssppParams",
    "Vector",
    "bucket_of",
    "core_loads",
    "flow_hashes",
    "next_tick",
    "parse_key",
    "published_vectors",
    "rebalance",
    "rough_load",
    "round_robin_table",
    "sprayer_table",
    "symmetric_key",
    "vectors_match",
]
