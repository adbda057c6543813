"""A profile names every part once and adds up what it took; without one nothing is collected."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from monai.transforms import Compose, Lambda

from medbundles.profiling import Profile


def slow(case: dict) -> dict:
    time.sleep(0.02)
    return {**case, "seen": True}


def test_each_transform_is_a_row_with_its_seconds() -> None:
    profile = Profile(True)
    for _ in range(2):
        assert profile.run(Compose([Lambda(slow)]), {"case": "a"}, "read")["seen"]
    with profile.span("network", "network"):
        time.sleep(0.001)
    header, first, second = profile.table()
    assert header.split() == ["stage", "part", "calls", "seconds", "share"]
    assert first.split()[:3] == ["read", "Lambda", "2"]
    assert 0.04 <= float(first.split()[3]) < 1
    assert second.split()[:3] == ["network", "network", "1"]


def test_switched_off_it_collects_nothing_and_changes_nothing(tmp_path: Path) -> None:
    profile = Profile()
    assert profile.run(Compose([Lambda(slow)]), {}, "read") == {"seen": True}
    assert profile.run(None, {"a": 1}, "finish") == {"a": 1}
    assert len(profile.table()) == 1


def test_the_trace_tells_threads_apart_and_is_valid(tmp_path: Path) -> None:
    profile = Profile(True)
    other = threading.Thread(target=lambda: profile.run(Compose([Lambda(slow)]), {"case": "b"}, "finish"))
    other.start()
    with profile.span("network", "network", "a"):
        other.join()
    events = json.loads(profile.write(tmp_path).read_text())["traceEvents"]
    assert {event["args"]["case"] for event in events} == {"a", "b"}
    assert len({event["tid"] for event in events}) == 2
    assert all(event["ph"] == "X" and event["dur"] > 0 for event in events)
