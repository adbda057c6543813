"""Frames on two processes of torchrun: each done once, one report, and a lost worker's on a rerun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medbundles.reports import read_report
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import find_bundle

BUNDLE = "fetal_us_biometry_segmentation"
FRAMES = 10
PROGRAM = str(Path(sys.executable).with_name("medbundles"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames, and one file that is none."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("frames")
    simulate(find_bundle(BUNDLE), made, 1, 0)
    (image,) = (made / "images").iterdir()
    for number in range(FRAMES):
        shutil.copy(image, folder / f"frame_{number}{''.join(image.suffixes)}")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def start(frames: Path, output: Path) -> subprocess.Popen:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "--no-python", PROGRAM, "predict", BUNDLE, str(frames), str(output)]
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def workers_of(launcher: int) -> list[int]:
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    fields = [(int(stat.split()[0]), stat.rpartition(")")[2].split()) for stat in stats]
    return [pid for pid, rest in fields if int(rest[1]) == launcher]


def recorded(output: Path) -> dict[str, list[str]]:
    """Inputs by status, over the reports of all processes."""
    found: dict[str, list[str]] = {"ok": [], "failed": [], "skipped": []}
    for path in output.glob("shards/*/report.json"):
        for case in read_report(path.parent)["cases"]:
            found[case["status"]].append(case["input"])
    return found


def test_two_processes_do_each_frame_once_and_write_one_report(frames: Path, tmp_path: Path) -> None:
    process = start(frames, tmp_path)
    text, _ = process.communicate(timeout=300)
    assert process.returncode != 0, "one file is broken"
    found = recorded(tmp_path)
    assert sorted(found["ok"] + found["failed"]) == sorted(map(str, frames.iterdir())), text.decode()[-3000:]
    report = read_report(tmp_path)
    assert [case["input"] for case in report["cases"]] == sorted(str(path) for path in frames.iterdir())
    assert Counter(case["status"] for case in report["cases"]) == {"ok": FRAMES, "failed": 1}
    assert len(list(tmp_path.glob("*_seg.*"))) == FRAMES
    assert {len(read_report(tmp_path / "shards" / rank)["cases"]) for rank in "01"} == {5, 6}


def test_what_a_lost_worker_left_is_done_by_a_rerun_and_nothing_is_done_twice(
    frames: Path, tmp_path: Path
) -> None:
    process = start(frames, tmp_path)
    until(lambda: len(recorded(tmp_path)["ok"]) >= 2)
    os.kill(workers_of(process.pid)[-1], signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode != 0
    finished = recorded(tmp_path)["ok"]
    assert 2 <= len(finished) < FRAMES
    start(frames, tmp_path).communicate(timeout=300)
    assert sorted(recorded(tmp_path)["skipped"]) == sorted(finished)
    cases = read_report(tmp_path)["cases"]
    assert len({case["input"] for case in cases}) == len(cases) == FRAMES + 1
    assert Counter(case["status"] == "failed" for case in cases) == {False: FRAMES, True: 1}
    assert len(list(tmp_path.glob("*_seg.*"))) == FRAMES
