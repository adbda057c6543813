"""Cases shared out to processes: each is done once, and the reports of all become one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medbundles.case_data import CaseDataset
from medbundles.reports import read_report, write_report
from medbundles.shards import (
    FOLDER,
    forget_shards,
    join,
    joined_report,
    own_folder,
    rank_and_size,
    shared_out,
)

HEADER = {"bundle": "b", "version": "1", "weights_sha256": "w", "options_sha256": "o"}


def case(name: str, status: str = "ok") -> dict:
    empty = {"outputs": {}, "measurements": [], "warnings": [], "synthetic_inputs": []}
    return {"input": name, "status": status, "error": None, **empty}


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
def test_every_case_is_exactly_one_processs(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    shares = []
    for rank in range(size):
        as_rank(monkeypatch, rank, size)
        shares.append(shared_out([f"case {number}" for number in range(7)]))
    assert sorted(case for share in shares for case in share) == [f"case {number}" for number in range(7)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert rank_and_size() == (0, 1)
    assert own_folder(tmp_path) == tmp_path


def test_names_of_result_files_are_unique_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [{"image": f"/data/{folder}/scan.nii.gz"} for folder in ("a", "b", "c")]
    names = []
    for rank in range(2):
        as_rank(monkeypatch, rank, 2)
        dataset = CaseDataset(cases, shard=True)
        names += dataset.names
        assert len(dataset.names) == len(dataset.data)
    alone = CaseDataset(cases)  # as an evaluation, it is not shared out
    assert sorted(names) == sorted(alone.names)
    assert len(set(names)) == len(alone.data) == 3


def test_reports_are_joined_in_the_order_of_the_cases_and_newer_ones_count(tmp_path: Path) -> None:
    write_report(tmp_path, [case("a", "failed"), case("c")], HEADER)
    write_report(tmp_path / FOLDER / "1", [case("b")], HEADER)
    write_report(tmp_path / FOLDER / "0", [case("a")], HEADER)
    for number, folder in enumerate((tmp_path, tmp_path / FOLDER / "1", tmp_path / FOLDER / "0")):
        os.utime(folder / "report.json", (1000 + number, 1000 + number))
    join(tmp_path, ["a", "b", "c"])
    cases = read_report(tmp_path)["cases"]
    assert [(c["input"], c["status"]) for c in cases] == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    assert json.loads((tmp_path / "report.json").read_text())["bundle"] == "b"


def test_results_of_other_weights_are_not_joined(tmp_path: Path) -> None:
    write_report(tmp_path / FOLDER / "0", [case("a")], HEADER | {"weights_sha256": "old"})
    os.utime(tmp_path / FOLDER / "0" / "report.json", (1000, 1000))
    write_report(tmp_path / FOLDER / "1", [case("b")], HEADER)
    assert [c["input"] for c in joined_report(tmp_path)["cases"]] == ["b"]


def test_a_process_that_is_alone_keeps_what_others_did_and_removes_their_folders(tmp_path: Path) -> None:
    write_report(tmp_path / FOLDER / "0", [case("a")], HEADER)
    forget_shards(tmp_path)
    assert not (tmp_path / FOLDER).exists()
    assert [c["input"] for c in read_report(tmp_path)["cases"]] == ["a"]
    forget_shards(tmp_path / "new")  # nothing there, nothing made
    assert not (tmp_path / "new").exists()
