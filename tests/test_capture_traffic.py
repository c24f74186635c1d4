"""A capture as traffic: played once, in loops, for ever."""

from __future__ import annotations

import captures as made
import numpy as np
import pytest
from capture_oracle import (
    FRAME,
    NOON,
    read,
)
from captures import A4, B4, Packet

from lbsim.units import MAX_TIME, SECOND
from lbsim.workload.capture import Capture, traffic

# --- as traffic


def three_packets(tmp_path) -> Capture:
    frames = [
        made.on_link(1, made.ipv4(made.UDP, made.udp(i, 9, bytes(i)), checksum))
        for i, checksum in enumerate((A4, B4, A4))
    ]
    times = [0, 10, 40]
    return read(
        tmp_path, made.pcap([Packet.whole(NOON + 1000 * t, f) for t, f in zip(times, frames, strict=True)])
    )


def test_traffic_plays_the_capture_once(tmp_path):
    capture = three_packets(tmp_path)
    played = traffic(capture)
    (chunk,) = played.chunks(True)
    assert chunk.flow.tolist() == capture.flow.tolist() == [0, 1, 2]
    assert chunk.frame.tolist() == [42, 43, 44]
    assert chunk.checksum.tolist() == [0x34] * 3
    assert chunk.recorded.tolist() == [0, 10_000_000, 40_000_000]
    assert played.length == 60_000_000  # 40 µs and a mean gap of 20 µs
    assert played.rate == pytest.approx(50_000)
    assert played.mean_frame == 43
    assert (played.name, played.flows) == ("capture", capture.flows)
    assert len(next(played.chunks(False)).checksum) == 0


@pytest.mark.parametrize("loops", [1, 2, 7, 10_922, 10_923, 30_000])
def test_loops_follow_each_other_by_the_captures_length(tmp_path, loops):
    capture = three_packets(tmp_path)
    played = traffic(capture, loops)
    chunks = list(played.chunks(True))
    assert max(len(chunk.flow) for chunk in chunks) <= 1 << 18
    flow, frame, checksum, recorded = (np.concatenate(column) for column in zip(*chunks, strict=True))
    passes = np.arange(loops)[:, np.newaxis]
    assert np.array_equal(recorded, (capture.time + 60_000_000 * passes).ravel())
    assert np.array_equal(flow, np.tile(capture.flow, loops))
    assert np.array_equal(frame, np.tile(capture.frame, loops))
    assert np.array_equal(checksum, np.tile(capture.checksum, loops))
    assert played.length == 60_000_000 * loops
    again = np.concatenate([chunk.recorded for chunk in played.chunks(False)])
    assert np.array_equal(again, recorded)


def test_endless_loops(tmp_path):
    played = traffic(three_packets(tmp_path), None)
    assert played.length is None
    last = -1
    for count, chunk in enumerate(played.chunks(False)):
        assert chunk.recorded[0] > last
        assert (np.diff(chunk.recorded) > 0).all()
        last = int(chunk.recorded[-1])
        if count == 20:
            break


def test_loops_that_cannot_be(tmp_path):
    capture = three_packets(tmp_path)
    with pytest.raises(ValueError, match="loops = 0: must be at least 1"):
        traffic(capture, 0)
    most = MAX_TIME // 60_000_000
    assert traffic(capture, most).length == most * 60_000_000
    with pytest.raises(ValueError, match=f"at most {most} passes"):
        traffic(capture, most + 1)
    one = read(tmp_path, made.pcap([Packet.whole(NOON, FRAME)]))
    assert np.isnan(traffic(one).rate)
    assert traffic(one).length == 0
    with pytest.raises(ValueError, match="cannot be looped"):
        traffic(one, None)


def test_long_captures_loop_until_the_clock_runs_out(tmp_path):
    day = 86400 * 10**9
    packets = [Packet.whole(NOON + days * day, FRAME) for days in (0, 8)]  # 16 days a pass
    played = traffic(read(tmp_path, made.pcap(packets)), None)
    chunks = played.chunks(False)
    recorded = next(chunks).recorded.tolist()
    assert recorded == [days * 86400 * SECOND for days in (0, 8, 16, 24, 32, 40)]
    with pytest.raises(ValueError, match="until the clock ran out"):
        next(chunks)
    packets = [Packet.whole(NOON + days * day, FRAME) for days in (0, 50)]
    once = traffic(read(tmp_path, made.pcap(packets)))
    assert next(once.chunks(False)).recorded.tolist() == [0, 50 * 86400 * SECOND]
    assert once.length == MAX_TIME  # and not 100 days
