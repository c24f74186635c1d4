"""The memory a run takes: its peak, seen from inside a fresh process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def measure(packets: int) -> tuple[float, float]:
    """Run the bench's server for `packets` packets in a new Python; return (peak MB, seconds of the run)."""
    command = [sys.executable, "-c", f"from lbsim.bench.memory import report; report({packets})"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, seconds = json.loads(answer.stdout)
    return peak, seconds


def report(packets: int) -> None:
    """Run, and print [peak MB, seconds] of this process as JSON."""
    from lbsim.bench.server import run_lbsim

    run_lbsim("compiled", 10_000, 0)  # loads or compiles the kernels, which is not what is timed
    start = time.perf_counter()
    run_lbsim("compiled", packets, 1)
    print(json.dumps([peak_mb(), time.perf_counter() - start]))


def peak_mb() -> float:
    """Return the peak resident memory of this process in MB (10**6 bytes).

    Linux hands the peak of the process that started this one down through `getrusage`, so there its own
    status file is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
