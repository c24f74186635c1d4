"""The hash of RSS on the connections whose hashes Microsoft published, IPv4 and IPv6."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pandas as pd

from lbsim.nic.toeplitz import MICROSOFT_KEY, Vector, published_vectors, toeplitz, vectors_match
from lbsim.study import Claim, Study


def compute() -> pd.DataFrame:
    """Return one row a published connection: its hashes as published and as computed."""
    return pd.DataFrame([_row(vector) for vector in published_vectors()])


def _row(vector: Vector) -> dict[str, object]:
    addresses = ip_address(vector.src).packed + ip_address(vector.dst).packed
    ports = vector.sport.to_bytes(2, "big") + vector.dport.to_bytes(2, "big")
    return {
        **vector._asdict(),
        "addresses": f"{vector.addresses:08x}",
        "addresses_computed": _hash(addresses),
        "ports": f"{vector.ports:08x}",
        "ports_computed": _hash(addresses + ports),
    }


def _hash(data: bytes) -> str:
    return f"{toeplitz(MICROSOFT_KEY, np.frombuffer(data, np.uint8)[None])[0]:08x}"


STUDY = Study(
    name="toeplitz",
    title="Toeplitz hash: published test vectors",
    compute=compute,
    claims=(Claim("RS-01", lambda tables: float(vectors_match())),),
)
