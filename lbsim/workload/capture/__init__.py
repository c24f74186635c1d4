"""Captures: pcap and pcapng files as traffic that happened.

Along the way of a byte: `source` (plain or gzip) -> `containers`, `walks` (packet records) -> `layers`,
`flows` (5-tuples) -> `read` (columns) -> `traffic`.
"""

from lbsim.workload.capture.read import Capture, read_capture
from lbsim.workload.capture.source import CaptureError
from lbsim.workload.capture.traffic import traffic

__all__ = ["Capture", "CaptureError", "read_capture", "traffic"]
