"""Inference over many cases: one bad case is reported and the rest go on; finished cases are not repeated."""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from torch.utils.data import DataLoader
from tqdm import tqdm

from medbundles.case_data import CaseDataset, CaseLoader, failure_text, input_name
from medbundles.devices import choose_device, describe_device
from medbundles.fingerprints import options_hash, weights_hash
from medbundles.finished import RUN, fingerprints, stands, state_of_input
from medbundles.inferers import AutocastInferer
from medbundles.io import remove
from medbundles.logs import ABOUT
from medbundles.metadata import bundle_info
from medbundles.outputs import claim, give_up, make_folder
from medbundles.packed import warn_of_foreign_modules
from medbundles.pipeline import Behind
from medbundles.profiling import Profile
from medbundles.reports import case_result, write_report
from medbundles.shards import forget_shards, join, joined_report, own_folder, wait_for_all

__all__ = ["CaseDataset", "CaseEvaluator", "CaseLoader", "exit_status"]

logger = logging.getLogger(__name__)

FINDINGS = "findings"  # in the meta of an inferer's answer: per case, what else there is to say of it


class CaseEvaluator(SupervisedEvaluator):
    """Runs a network over cases and writes report.json and report.csv, anew after each case.

    A case that the folder's report lists as done is skipped, if its files are there, and it was made from the
    same input with the same bundle version, weights and options of all transforms.

    Args:
        device: a `torch.device` or a name, `auto` among them.
        val_data_loader: a `CaseLoader`.
        network: moved to the device.
        output_dir: the folder of the report; the paths in it are relative to this folder.
        metadata: path or content of metadata.json.
        overwrite: compute again what is there.
        progress: show a progress bar over the cases, on a terminal.
        amp: bfloat16 where the device can.
        write_behind: finish and write a case while the network works on the next; handlers then get no
            output of an iteration, only the report.
        profile: time every part of the work; the run ends with a table and writes `profile.json`.
        kwargs: as for MONAI's `SupervisedEvaluator`: `inferer`, `postprocessing`, `val_handlers`, ...

    Attributes:
        cases: the results of this run, in the form of `medbundles.reports.case_result`.
        failed: the number of cases that failed.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: DataLoader,
        network: torch.nn.Module,
        *,
        output_dir: str | os.PathLike,
        metadata: str | os.PathLike | Mapping[str, Any],
        overwrite: bool = False,
        progress: bool = True,
        postprocessing: Callable | None = None,
        amp: bool = False,
        write_behind: bool = False,
        profile: bool = False,
        **kwargs: Any,
    ) -> None:
        device = choose_device(device)
        kwargs["inferer"] = AutocastInferer(kwargs.get("inferer"), amp=amp)
        super().__init__(device, val_data_loader, network.to(device), decollate=False, **kwargs)
        self.postprocessing = postprocessing
        self.output_dir = Path(output_dir)
        self.overwrite, self.progress = overwrite, progress
        info = bundle_info(metadata)
        warn_of_foreign_modules(metadata)
        self.run_info = {"bundle": info.name, "version": info.version, "device": str(device)}
        self.cases: list[dict[str, Any]] = []
        self.profile = Profile(profile)
        self._behind = Behind() if write_behind else None
        self.add_event_handler(Events.STARTED, self._begin)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._complete)
        self.add_event_handler(Events.COMPLETED, self._end)

    @property
    def failed(self) -> int:
        """Number of cases that failed in this run."""
        return self._count("failed")

    def _count(self, status: str) -> int:
        return sum(case["status"] == status for case in self.cases)

    def run(self, global_epoch: int = 1) -> None:
        """Runs over all cases, with the folder of the results for itself.

        Raises:
            OutputError: the folder cannot be written to.
            BusyOutputError: another process writes into it.
        """
        make_folder(self.output_dir)
        claim(self.output_dir, shared=getattr(self.data_loader.dataset, "shard", False))
        try:
            super().run(global_epoch)
        finally:
            give_up(self.output_dir)

    def _begin(self, engine: Engine) -> None:
        self.cases = []
        self._header = {
            **self.run_info,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "weights_sha256": weights_hash(self.network),
            "options_sha256": self._options_hash(),
        }
        dataset = self.data_loader.dataset
        self._sharded = getattr(dataset, "shard", False)
        if not self._sharded:
            forget_shards(self.output_dir)
        report = joined_report(self.output_dir)
        self._earlier = {case["input"]: case for case in report["cases"]}
        self._images = {input_name(case): case["image"] for case in dataset.data}
        dataset.output_dir = self.output_dir
        earlier = {} if self.overwrite else self._earlier
        dataset.done = {name for name, case in earlier.items() if self._is_same(case) and self._stands(case)}
        dataset.profile = self.profile
        # disable=None: silent unless the output is a terminal
        self._bar = tqdm(total=len(dataset), unit="case", disable=None if self.progress else True)
        logger.info("%d cases on %s", len(dataset), describe_device(self.state.device))

    def _options_hash(self) -> str:
        reading = getattr(self.data_loader.dataset, "transform", None)
        return options_hash(reading, self.inferer, self.postprocessing)

    def _is_same(self, case: Mapping[str, Any]) -> bool:
        return case.get("fingerprints", {}).get(RUN) == fingerprints(None, self._header)[RUN]

    def _stands(self, case: Mapping[str, Any]) -> bool:
        image = self._images.get(case["input"], case["input"])
        return stands(case, state_of_input(image, self.output_dir), self.output_dir)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> list[dict[str, Any]]:
        """Computes one case and records it; returns its data dictionary, or nothing if there is none."""
        if "input" not in batchdata:
            raise TypeError("CaseEvaluator takes its cases from a CaseLoader over a CaseDataset")
        case = {**batchdata, "outputs": {}}
        done = None
        if case.get("done"):
            self._wait()
            self._record({**self._earlier[case["input"]], "status": "skipped"})
        elif "failure" in case:
            self._wait()
            self._fail(case, case["failure"])
        else:
            done = self._attempt(case)
        engine.state.batch = engine.state.output = [] if done is None else [done]
        return engine.state.output

    def _wait(self) -> None:
        """Returns when the last case is recorded, so that cases are recorded in their order."""
        if self._behind is not None:
            self._behind.wait()

    def _complete(self, engine: Engine) -> None:
        """Finishes the last case and the report, before handlers of the end of a run read it."""
        self._wait()
        if self._sharded:
            join(self.output_dir, self.data_loader.dataset.all_inputs)

    def _attempt(self, case: dict[str, Any]) -> dict[str, Any] | None:
        started = time.monotonic()
        try:
            with self.profile.span("network", "network", case["case"]):
                case = self._answered(case)
        except Exception as error:  # reported per case; the exit status tells that something failed
            self._wait()
            self._fail(case, failure_text(error, case["input"]), time.monotonic() - started)
            return None
        finish = partial(self._finish, case, time.monotonic() - started)
        return finish() if self._behind is None else self._behind.submit(finish)

    def _answered(self, case: dict[str, Any]) -> dict[str, Any]:
        """The case with the network's answer as `pred`, and what else there is to say of it."""
        batch = {key: case[key][None] for key in ("image", "label") if key in case}
        output = super()._iteration(self, batch)
        findings = getattr(output["pred"], "meta", {}).get(FINDINGS)
        prediction = output["pred"][0].cpu()  # so that postprocessing sees all of a case on one device
        image = case["image"]
        if isinstance(image, MetaTensor):
            prediction = MetaTensor(
                prediction.as_tensor() if isinstance(prediction, MetaTensor) else prediction,
                meta=deepcopy(image.meta),
                applied_operations=deepcopy(image.applied_operations),
            )
        return {**case, "pred": prediction} | ({FINDINGS: findings[0]} if findings else {})

    def _finish(self, case: dict[str, Any], spent: float) -> dict[str, Any] | None:
        """Measures and writes a case and records it; `spent` seconds went before, beside reading."""
        started = time.monotonic()
        try:
            self._forget(case)
            with getattr(self.data_loader, "lock", nullcontext()):
                done = self.profile.run(self.postprocessing, case, "finish")
            done = {**done, "outputs": {k: self._relative(p) for k, p in done["outputs"].items()}}
            done["fingerprints"] = fingerprints(case["state"], self._header)
            seconds = case["read_seconds"] + spent + time.monotonic() - started
            self._record(case_result(done, status="ok", run=self.run_info, seconds=seconds))
            return done
        except Exception as error:  # as above
            self._fail(case, failure_text(error, case["input"]), spent + time.monotonic() - started)
            return None

    def _fail(self, case: dict[str, Any], message: str, spent: float = 0.0) -> None:
        for path in case["outputs"].values():  # a failed case leaves no half of its results behind
            remove(path)
        seconds = case.get("read_seconds", 0.0) + spent
        case = {**case, "outputs": {}, "measurements": []}
        self._record(case_result(case, status="failed", run=self.run_info, error=message, seconds=seconds))

    def _forget(self, case: Mapping[str, Any]) -> None:
        """Takes earlier results out of the report before their files are replaced.

        A kill in between would leave some of the new files to the old entry.
        """
        if any(self._is_at_risk(old, case) for old in self._all_cases()):
            self._write([old for old in self._all_cases() if not self._is_at_risk(old, case)])

    def _is_at_risk(self, old: Mapping[str, Any], case: Mapping[str, Any]) -> bool:
        if old["input"] == case["input"]:
            return bool(old["outputs"])
        return any(path.startswith(f"{case['case']}_") for path in old["outputs"].values())

    def _write(self, cases: list[dict[str, Any]]) -> None:
        if self._sharded:  # the others record theirs
            own = {input_name(case) for case in self.data_loader.dataset.data}
            cases = [case for case in cases if case["input"] in own]
        write_report(own_folder(self.output_dir) if self._sharded else self.output_dir, cases, self._header)

    def _record(self, result: dict[str, Any]) -> None:
        self.cases.append(result)
        self._write(self._all_cases())
        self._bar.clear()
        facts = {ABOUT: {"case": result["input"], "status": result["status"], "seconds": result["seconds"]}}
        if result["status"] == "failed":
            logger.error("%s: failed\n%s", result["input"], result["error"], extra=facts)
        else:
            logger.info("%s: %s (%.1f s)", result["input"], result["status"], result["seconds"], extra=facts)
        self._bar.update()

    def _all_cases(self) -> list[dict[str, Any]]:
        """Returns earlier cases whose results still stand, then those of this run."""
        now = {case["input"] for case in self.cases}
        written = {path for case in self.cases for path in case["outputs"].values()}
        to_come = {input_name(case) for case in self.data_loader.dataset.data} - now
        kept = [
            case
            for name, case in self._earlier.items()
            if name not in now
            and (name in to_come or self._stands(case))
            and written.isdisjoint(case["outputs"].values())
        ]
        return kept + self.cases

    def _relative(self, path: str) -> str:
        return Path(os.path.relpath(path, self.output_dir)).as_posix()

    def _end(self, engine: Engine) -> None:
        self._bar.close()
        counts = (len(self.cases), self._count("ok"), self._count("skipped"), self.failed)
        logger.info("%d cases: %d done, %d skipped (already there), %d failed", *counts)
        logger.info("report: %s", self.output_dir / "report.json")
        if self.profile.enabled:
            for line in self.profile.table():
                logger.info("%s", line)
            logger.info("profile: %s", self.profile.write(self.output_dir))


def exit_status(evaluator: CaseEvaluator) -> None:
    """Ends the program with exit status 1 if a case failed; the last step of `run`."""
    wait_for_all()
    if evaluator.failed:
        raise SystemExit(1)
