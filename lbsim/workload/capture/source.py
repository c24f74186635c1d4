"""The bytes of a capture file, plain or gzip, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final

PIECE: Final = 1 << 22
GZIP: Final = b"\x1f\x8b"
_INPUT: Final = 1 << 16


class CaptureError(ValueError):
    """A capture that cannot be read: which file, at which byte, and why.

    `offset` counts the bytes of the capture itself: for a gzip file, of what it unpacks to.
    """

    def __init__(self, path: str | PathLike[str], offset: int, reason: str) -> None:
        super().__init__(path, offset, reason)  # as given, so that workers can send it to one another
        self.path = Path(path)
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.offset}: {self.reason}"


def pieces(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked if it is gzip by content, in pieces of at most `PIECE` bytes.

    Memory stays bounded whatever the file unpacks to. Raises CaptureError, after everything readable was
    yielded, when the file cannot be opened, the gzip data are damaged or end early, or the bytes exceed
    `max_bytes`.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            packed = file.peek(2).startswith(GZIP)
            for piece in _unpack(file) if packed else iter(lambda: file.read(PIECE), b""):
                if offset + len(piece) > max_bytes:
                    yield piece[: max_bytes - offset]
                    reason = f"the capture is longer than max_bytes = {max_bytes}: raise it if this is meant"
                    raise CaptureError(path, max_bytes, reason)
                offset += len(piece)
                yield piece
    except OSError as error:
        raise CaptureError(path, offset, f"the file cannot be read: {error.strerror}") from error
    except (EOFError, zlib.error) as error:
        raise CaptureError(path, offset, f"the gzip data are damaged: {error}") from error


def _unpack(file: BinaryIO) -> Iterator[bytes]:
    """Yield the unpacked bytes of all gzip members; zeros may follow the last (tapes pad with them)."""
    gathered = bytearray()
    rest = file.read(_INPUT)
    try:
        while rest:
            member = zlib.decompressobj(wbits=31)  # 16 + 15: gzip, with its checksum
            while not member.eof:
                before = member.copy()
                try:
                    gathered += member.decompress(rest, PIECE - len(gathered))
                except zlib.error:
                    gathered += _until_damage(before, rest)
                    raise
                rest = member.unused_data if member.eof else member.unconsumed_tail
                if len(gathered) == PIECE:
                    yield bytes(gathered)
                    gathered.clear()
                rest = rest or file.read(_INPUT)
                if not (rest or member.eof):
                    raise EOFError("the file ends inside a gzip member")
            while rest and not (rest := rest.lstrip(b"\0")):
                rest = file.read(_INPUT)
    except (EOFError, zlib.error):
        if gathered:
            yield bytes(gathered)
        raise
    if gathered:
        yield bytes(gathered)


def _until_damage(member: zlib._Decompress, data: bytes) -> bytes:
    """Return what `data` unpack to before the damage in them: zlib keeps nothing of a call that fails."""
    gathered = bytearray()
    try:
        for at in range(len(data)):
            gathered += member.decompress(data[at : at + 1])
    except zlib.error:
        return bytes(gathered)
    return bytes(gathered)
