"""Many cases shared out to the processes that `torchrun` starts, and their reports joined to one.

Each process keeps the report of its own cases in a folder of its own, so that none waits for another and a
lost one takes nothing with it. Whoever ends joins them all: the last one to end joins what all have done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from medbundles.reports import JSON_NAME, read_report, write_report

T = TypeVar("T")

FOLDER = "shards"
LONGEST = timedelta(days=7)  # that one process may work longer than another
SAME = ("bundle", "version", "weights_sha256", "options_sha256")  # of results that belong together


def rank_and_size() -> tuple[int, int]:
    """The number of this process and of all, as torchrun tells them; (0, 1) for a process of its own."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")), size) if size > 1 else (0, 1)


def shared_out(items: Sequence[T]) -> list[T]:
    """The items of this process: every one is some process's, and none is two's."""
    rank, size = rank_and_size()
    return list(items[rank::size])


def own_folder(output_dir: Path) -> Path:
    """Where this process keeps its report: the folder of the results, if it is alone."""
    rank, size = rank_and_size()
    return output_dir if size == 1 else output_dir / FOLDER / str(rank)


def joined_report(output_dir: Path) -> dict[str, Any]:
    """The report of a folder with those of all processes that ever worked on it; what is newer counts.

    Results of another bundle, version, weights or options than the newest ones are left out.
    """
    files = [output_dir / JSON_NAME, *(output_dir / FOLDER).glob(f"*/{JSON_NAME}")]
    files = sorted((file for file in files if file.is_file()), key=lambda file: file.stat().st_mtime)
    reports = [read_report(file.parent) for file in files]
    reports = [report for report in reports if report["cases"] or len(reports) == 1]
    if not reports:
        return {"cases": []}
    newest = reports[-1]
    cases: dict[str, Any] = {}
    for report in reports:
        if all(report.get(key) == newest.get(key) for key in SAME):
            cases |= {case["input"]: case for case in report["cases"]}
    return {**newest, "cases": list(cases.values())}


def join(output_dir: Path, order: Sequence[str] = ()) -> None:
    """Writes the joined report of all processes to the folder of the results.

    Args:
        output_dir: the folder.
        order: inputs in the order in which their cases come; others follow.
    """
    report = joined_report(output_dir)
    place = {name: number for number, name in enumerate(order)}
    cases = sorted(report.pop("cases"), key=lambda case: place.get(case["input"], len(place)))
    write_report(output_dir, cases, report)


def forget_shards(output_dir: Path) -> None:
    """Joins what processes left behind and removes their folders; for a process that is alone."""
    if (output_dir / FOLDER).is_dir():
        join(output_dir)
        shutil.rmtree(output_dir / FOLDER)


def wait_for_all() -> None:
    """Returns when all processes have come this far: torchrun ends all when one ends with an error."""
    if rank_and_size()[1] == 1 or "MASTER_ADDR" not in os.environ:
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=LONGEST)
    distributed.barrier()
    distributed.destroy_process_group()


def same_results(report: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    """Whether results of a report would come out the same with a header's bundle, weights and options."""
    return all(report.get(key) == header[key] for key in SAME)
