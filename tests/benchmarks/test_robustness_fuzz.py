"""The fuzz suite finds what it is there to find, and nothing in the readers as they are."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("name", ["nifti", "nrrd", "png", "dicom", "weights", "options"])
def test_no_reader_does_harm(tmp_path: Path, name: str) -> None:
    from robustness_fuzz import HARMFUL, _kind, _sample, judged

    kind, outcomes = _kind(name), set()
    kind.ready()
    for index in range(80):
        sample, damaged = _sample(name, index, seed=1)
        path = tmp_path / f"input{kind.suffix}"
        path.write_bytes(sample.data if damaged is None else damaged)
        outcome, detail = judged(kind, sample, damaged, path)
        assert outcome not in HARMFUL, (index, sample.what, detail)
        outcomes.add(outcome)
    assert {"read as the file says", "refused in words"} <= outcomes


@pytest.mark.parametrize("name", ["nifti", "nrrd", "png", "dicom"])
def test_our_own_reader_of_each_format_agrees_with_what_was_written(name: str) -> None:
    from robustness_fuzz import _kind
    from robustness_samples import DamagedError

    kind, judged = _kind(name), 0
    for seed in range(60):
        sample = kind.make(np.random.default_rng(seed))
        try:
            said = kind.judge(sample.data)
        except DamagedError:
            assert sample.truth is None
            continue
        if sample.truth is not None and said is not None:
            assert kind.same(said, sample.truth), sample.what
            judged += 1
    assert judged >= 10


def test_a_reader_that_answers_wrongly_slowly_or_with_a_traceback_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import robustness_fuzz
    from robustness_nifti import KIND

    monkeypatch.setattr(robustness_fuzz, "HANG_S", 0.2)
    sound = next(s for s in (KIND.make(np.random.default_rng(i)) for i in range(99)) if s.truth is not None)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(sound.data)

    def outcome(answer: object) -> str:
        kind = dataclasses.replace(KIND, answer=answer)
        return robustness_fuzz.judged(kind, sound, None, path)[0]

    mirrored = dataclasses.replace(sound.truth, array=sound.truth.array[:, ::-1])
    moved = dataclasses.replace(sound.truth, affine=sound.truth.affine + np.eye(4)[:, [3, 0, 1, 2]] * 5)
    assert outcome(lambda path: (sound.truth, [])) == "read as the file says"
    assert outcome(lambda path: (mirrored, [])) == "wrong without a word"
    assert outcome(lambda path: (moved, [])) == "wrong without a word"
    assert outcome(lambda path: (mirrored, ["odd"])) == "wrong, but warned"
    assert outcome(lambda path: time.sleep(5)) == "hang"
    assert outcome(lambda path: 1 / 0) == "traceback"


def test_a_reader_that_kills_its_process_is_counted_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import robustness_fuzz

    place = tmp_path / "robustness_deadly.py"
    place.write_text(
        "import os, signal\n"
        "from robustness_samples import Kind, Sample\n"
        "def answer(path):\n"
        "    if path.read_bytes() == b'7':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return path.read_bytes(), []\n"
        "def make(rng):\n"
        "    data = str(int(rng.integers(10))).encode()\n"
        "    return Sample(data, data, 'digit')\n"
        "KIND = Kind('.txt', make, answer, lambda data: data, lambda found, truth: found == truth)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(BENCHMARKS), *sys.path]))
    monkeypatch.setattr(robustness_fuzz, "KINDS", ("deadly",))
    monkeypatch.setattr(robustness_fuzz, "SHARE_MUTATED", 0.0)
    robustness_fuzz.fuzz(str(tmp_path / "work"), inputs=25, only="deadly", out=str(tmp_path))
    with (tmp_path / "robustness_fuzz.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert signal.SIGSEGV and int(row["crash"]) >= 1
    assert int(row["crash"]) + int(row["read as the file says"]) == 25
    assert len(list((tmp_path / "work" / "harmful").glob("*.txt"))) == int(row["crash"])
