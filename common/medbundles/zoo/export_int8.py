"""ONNX in int8: written only where a bundle's own scores on simulated cases stay what they are in float32."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medbundles.errors import ExportError, PackageError
from medbundles.zoo.export import Exported, one, reason_of
from medbundles.zoo.export_formats import FORMATS, read_onnx
from medbundles.zoo.export_networks import Exportable
from medbundles.zoo.quantise import RECIPES, Inputs, annotate, layers, prepared
from medbundles.zoo.stand_ins import Plan, Record, Scores, StandIn, evaluated, plan_of, simulated

INT8_TOLERANCE = 0.005  # of a score's mean in float32, or of 1 where that is less
SEEDS = {"calibration": 90001, "cases": 90002}  # of simulated patients that neither training nor cards have
SUFFIX = ".int8.onnx"


@dataclass(frozen=True)
class Compared:
    """A score in int8 beside float32.

    Attributes:
        score: its name.
        n: how many cases have it.
        float32: mean over the cases.
        int8: the same.
        difference: of the means, as a share of the one in float32 where that is above 1.
        sd: of the difference from case to case, as that share.
    """

    score: str
    n: int
    float32: float
    int8: float
    difference: float
    sd: float

    @property
    def holds(self) -> bool:
        """Whether int8 is as good."""
        return abs(self.difference) <= INT8_TOLERANCE

    def __str__(self) -> str:
        return f"{self.score} {self.int8:.4f} instead of {self.float32:.4f} on {self.n} cases"


def compare(float32: Scores, int8: Scores) -> list[Compared]:
    """Each score of the one beside the other, case by case; a case that lost its score counts as 0."""
    rows = []
    for score, values in float32.items():
        cases = sorted(set(values) | set(int8[score]))
        before = np.array([values.get(case, 0.0) for case in cases])
        after = np.array([int8[score].get(case, 0.0) for case in cases])
        scale = max(1.0, abs(float(before.mean())))
        apart = (after - before) / scale
        sd = float(apart.std(ddof=1)) if len(cases) > 1 else 0.0
        means = float(before.mean()), float(after.mean())
        rows.append(Compared(score, len(cases), *means, float(apart.mean()), sd))
    return rows


class Quantiser:
    """Writes the networks of one bundle in int8, each judged with those before it in int8, too.

    Args:
        folder: the bundle.
        items: its networks.
        place: where files go.
        work: an empty folder for what is needed meanwhile.
    """

    def __init__(self, folder: Path, items: Sequence[Exportable], place: Path, work: Path) -> None:
        self.folder, self.place, self.work = folder, place, work
        self.plan: Plan = plan_of(folder)
        self.records = {item.name: Record(item.names) for item in items if item.network is not None}
        self.accepted: dict[str, Path] = {}
        self._count = 0
        cases = {
            name: simulated(folder, work / name, getattr(self.plan, name), seed, self.plan)
            for name, seed in SEEDS.items()
        }
        self.cases = cases["cases"]
        self._evaluated(cases["calibration"], self.records)
        self.float32 = self._evaluated(self.cases, {})

    def quantised(self, item: Exportable, metadata: Mapping[str, Any]) -> Exported:
        """What became of a network."""
        result = one(item, self.folder, metadata, FORMATS["onnx"], self.work)
        if not result.file:
            return result
        inputs, reasons = self.records[item.name].kept, []
        if not inputs:
            return _refused(result, "the evaluation never asks it, so that nothing judges it")
        source, target = self.work / f"{item.name}.onnx", self.place / f"{item.file_stem}{SUFFIX}"
        prepared(self.work / result.file, source)
        for recipe in RECIPES:
            try:
                recipe.write(source, target, inputs)
                rows = self._judged(item, target)
            except PackageError:
                raise
            except Exception as error:  # quantisers raise whatever they like; the reason goes into the record
                target.unlink(missing_ok=True)
                reasons.append(f"{recipe.name}: {reason_of(error)}")
                continue
            self.accepted[item.name] = target
            return self._noted(result, target, recipe.name, rows, inputs)
        return _refused(result, "; ".join(reasons))

    def _judged(self, item: Exportable, target: Path) -> list[Compared]:
        if not layers(target):
            raise ExportError("there is no layer that it can quantise")
        files = {**self.accepted, item.name: target}
        found = self._evaluated(self.cases, {name: StandIn(read_onnx(path)) for name, path in files.items()})
        rows = compare(self.float32, found)
        if worse := [row for row in rows if not row.holds]:
            raise ExportError(
                f"{max(worse, key=lambda row: abs(row.difference))}, more than {INT8_TOLERANCE} apart"
            )
        return rows

    def _evaluated(self, cases: Path, others: Mapping[str, Record | StandIn]) -> Scores:
        self._count += 1
        return evaluated(self.folder, cases, self.work / f"evaluation{self._count}", self.plan, others)

    def _noted(
        self, result: Exported, target: Path, recipe: str, rows: Sequence[Compared], inputs: Sequence[Inputs]
    ) -> Exported:
        """The file with a note of how it was judged, and the same for the record."""
        float_bytes = (self.work / result.file).stat().st_size
        note = {
            **{"recipe": recipe, "layers": layers(target), "tolerance": INT8_TOLERANCE},
            "calibration": {"cases": self.plan.calibration, "inputs": len(inputs)},
            "together_with": [name for name in self.accepted if name != result.name],
            "scores": [asdict(row) for row in rows],
        }
        annotate(target, "int8", json.dumps(note))
        note |= {"bytes": target.stat().st_size, "bytes_float32": float_bytes}
        sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
        return replace(
            result, file=target.name, how=f"int8, {recipe}", sha256=sha256, difference=None, int8=note
        )


def export_int8(
    folder: Path, items: Sequence[Exportable], metadata: Mapping[str, Any], place: Path
) -> list[Exported]:
    """Writes networks in int8 to a folder; one that is not as good as in float32 is not written.

    Raises:
        BundleError: the metadata do not say by which scores to judge.
    """
    with TemporaryDirectory(prefix="int8-") as work:
        quantiser = Quantiser(folder, items, place, Path(work))
        return [quantiser.quantised(item, metadata) for item in items]


def _refused(result: Exported, reason: str) -> Exported:
    return Exported(result.name, inputs=result.inputs, reason=f"in int8: {reason}")
