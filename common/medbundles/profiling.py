"""Where the time of a run goes: each transform, the network, and writing, as a table and as a trace.

The trace opens in any viewer of Chrome's format, such as ui.perfetto.dev or chrome://tracing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.transforms import Compose, apply_transform

from medbundles.io import atomic_path

TRACE = "profile.json"
MICROSECONDS = 1e6


class Profile:
    """Collects spans of time, from all threads.

    Args:
        enabled: without, nothing is collected and nothing costs time.
    """

    def __init__(self, enabled: bool = False) -> None:
        self.enabled = bool(enabled)
        self._spans: list[tuple[str, str, str, float, float, int]] = []
        self._start = time.perf_counter()

    @contextmanager
    def span(self, name: str, stage: str, case: str = "") -> Iterator[None]:
        """Times what happens inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self.enabled:
                taken = time.perf_counter() - started
                self._spans.append((name, stage, case, started, taken, threading.get_ident()))

    def run(self, transform: Callable | None, case: dict[str, Any], stage: str) -> Any:
        """What a transform makes of a case; the parts of a `Compose` are timed one by one."""
        if transform is None:
            return case
        if not self.enabled or type(transform) is not Compose:
            return transform(case)
        for part in transform.transforms:
            with self.span(type(part).__name__, stage, str(case.get("case", ""))):
                case = apply_transform(part, case, transform.map_items, transform.unpack_items)
        return case

    def table(self) -> list[str]:
        """Seconds per part of each stage, the longest first, as lines of text."""
        seconds: dict[tuple[str, str], float] = defaultdict(float)
        calls: dict[tuple[str, str], int] = defaultdict(int)
        for name, stage, _, _, taken, _ in self._spans:
            seconds[stage, name] += taken
            calls[stage, name] += 1
        total = sum(seconds.values()) or 1.0
        lines = [f"{'stage':<9} {'part':<28} {'calls':>5} {'seconds':>8} {'share':>6}"]
        for key in sorted(seconds, key=seconds.__getitem__, reverse=True):
            stage, name = key
            lines.append(
                f"{stage:<9} {name:<28} {calls[key]:>5} {seconds[key]:>8.3f} {seconds[key] / total:>6.1%}"
            )
        return lines

    def write(self, folder: Path) -> Path:
        """Writes the spans as `profile.json` to a folder and returns its path."""
        threads = {ident: number for number, ident in enumerate(dict.fromkeys(s[-1] for s in self._spans))}
        events = [
            {
                "name": name,
                "cat": stage,
                "ph": "X",
                "ts": (started - self._start) * MICROSECONDS,
                "dur": taken * MICROSECONDS,
                "pid": os.getpid(),
                "tid": threads[ident],
                "args": {"case": case},
            }
            for name, stage, case, started, taken, ident in self._spans
        ]
        path = folder / TRACE
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
        return path
