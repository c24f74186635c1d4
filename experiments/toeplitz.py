"""The hash of RSS on the connections whose hashes Microsoft published, IPv4 and IPv6."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np

from lbsim.nic.toeplitz import MICROSOFT_KEY, Vector, published_vectors, toeplitz, vectors_match
from lbsim.study import Claim, Study


def points(full: bool) -> tuple[Vector, ...]:
    """Return the published connections, at either scale."""
    return tuple(published_vectors())


def row(vector: Vector) -> dict[str, object]:
    """Return the hashes of a connection as published and as computed."""
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
    points=points,
    compute=row,
    claims=(Claim("RS-01", lambda tables: float(vectors_match())),),
)
