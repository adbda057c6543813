"""The ways of finding and numbering teeth that are compared, and what each is measured by."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dental_direct import direct_labels
from dental_numbers import AtOnce, InOrder, Namer, number_row
from dental_variants import (
    BUNDLE,
    DETECTOR,
    DIRECT,
    FINDER,
    OUTLINER,
    POSITIONS,
    PRIOR,
    REGIONS,
    load_detector,
    load_direct,
    load_finder,
    load_outliner,
    load_segmenter,
)
from named_weights import SHIPPED
from numpy.typing import NDArray
from paired_tables import Row
from torch import Tensor, nn

from dental_teeth.frame import Array, NotDentalError  # found since dental_variants is
from dental_teeth.inferer import TeethInferer
from dental_teeth.network import ToothNetworks
from dental_teeth.patches import BOTH
from dental_teeth.reading import Answer
from dental_teeth.scores import LEAST_MM3, identification, tooth_scores
from dental_teeth.teeth import code_of, to_labels
from medbundles.images import spacing_of

logger = logging.getLogger(__name__)

IN_ORDER, AT_ONCE = "four kinds, in order", "eight positions at once"


@dataclass(frozen=True)
class Scan:
    """A scan (X, Y, Z), its RAS affine and the true FDI numbers on its grid."""

    volume: Tensor
    affine: Array
    codes: NDArray[np.uint8]


@dataclass(frozen=True)
class Method:
    """A way of doing it: its name in the tables, and a key that changes when its weights do."""

    name: str
    key: str
    rows: Callable[[Scan], list[Row]]


@dataclass(frozen=True)
class Tools:
    """What methods are run with: the bundle's inferer for each of `REGIONS`, how to ask a network, where."""

    inferers: Mapping[str, TeethInferer]
    answer: Answer
    least: float
    device: Any


def methods_of(run: str, work: Path, tools: Tools) -> list[Method]:
    """All that a run has weights for.

    Finder, detector and outliner are the bundle's own where the run has none.

    Args:
        run: a folder in `work`, or `shipped` for the bundle's own weights.
        work: the folder of the runs.
        tools: what to run them with.

    Raises:
        SystemExit: there is nothing to compare.
    """
    files = weights_of(run, work)
    if not set(files) & {*REGIONS, DIRECT, POSITIONS}:
        raise SystemExit(f"no weights to measure in {work / run}: train first")
    key = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}
    prior, found = " ".join(key[name] for name in PRIOR), []
    finder, outliner = load_finder(files[FINDER]), load_outliner(files[OUTLINER])

    def networks(segmenter: nn.Module, detector: str = DETECTOR) -> nn.Module:
        parts = finder, load_detector(files[detector]), outliner, segmenter
        return ToothNetworks(*parts).eval().to(tools.device)

    for regions in (regions for regions in REGIONS if regions in files):
        whole = networks(load_segmenter(files[regions]))
        found.append(Method(regions, f"{prior} {key[regions]}", _Segmenting(tools.inferers[regions], whole)))
    if DIRECT in files:
        direct = load_direct(files[DIRECT]).to(tools.device)
        found.append(Method(DIRECT, key[DIRECT], _Direct(direct, tools.answer)))
    asked = {"answer": tools.answer, "least": tools.least}
    found.append(Method(IN_ORDER, prior, _Numbering(InOrder(networks(nn.Identity()), **asked))))
    if POSITIONS in files:
        at_once = AtOnce(networks(nn.Identity(), POSITIONS), **asked)
        found.append(Method(AT_ONCE, f"{prior} {key[POSITIONS]}", _Numbering(at_once)))
    return found


def weights_of(run: str, work: Path) -> dict[str, Path]:
    """The weights files of a run, by variant; those of the bundle hold all of its networks."""
    shipped = BUNDLE / "models" / "model.pt"
    if run == SHIPPED:
        return dict.fromkeys((*PRIOR, BOTH), shipped)
    own = {path.parent.name: path for path in sorted((work / run).glob("*/model.pt"))}
    return dict.fromkeys(PRIOR, shipped) | own


@dataclass(frozen=True)
class _Segmenting:
    """The bundle, with what its inferer shows the segmenter."""

    inferer: TeethInferer
    networks: nn.Module

    def __call__(self, scan: Scan) -> list[Row]:
        try:
            labels, _ = self.inferer.label(scan.volume, scan.affine, self.networks)
        except NotDentalError as error:
            logger.warning("nothing found: %s", str(error).splitlines()[0])
            return segmentation_rows(np.zeros(scan.codes.shape, np.uint8), scan)
        return segmentation_rows(labels.cpu().numpy(), scan)


@dataclass(frozen=True)
class _Direct:
    """The network that needs no panorama."""

    network: nn.Module
    answer: Answer

    def __call__(self, scan: Scan) -> list[Row]:
        labels = direct_labels(scan.volume, scan.affine, self.network, answer=self.answer)
        return segmentation_rows(labels, scan)


@dataclass(frozen=True)
class _Numbering:
    """Numbers on the panoramas alone."""

    namer: Namer

    def __call__(self, scan: Scan) -> list[Row]:
        try:
            return [number_row(scan.volume, scan.affine, scan.codes, self.namer)]
        except NotDentalError as error:
            logger.warning("no panorama: %s", str(error).splitlines()[0])
            return [{"precision": 0.0, "recall": 0.0, "F1": 0.0, "found": 0.0}]


def segmentation_rows(labels: NDArray[np.uint8], scan: Scan) -> list[Row]:
    """A row for the scan, and one for each true tooth, named by its FDI number in `tooth`.

    The first holds precision, recall and F1 of identification, as `medbundles evaluate` computes them. Dice
    and distances of a tooth are against the tooth at its place whatever its number, and left out where there
    is none; `Dice by number` is against the label of its number, 0 where there is none.
    """
    truth, spacing = to_labels(scan.codes), spacing_of(scan.affine, 3)
    voxel = float(np.prod(spacing))
    scored = tooth_scores(labels, truth, spacing)
    at_place = {row["code"]: {k: v for k, v in row.items() if k != "code"} for row in scored}
    sizes, given = (np.bincount(array.ravel(), minlength=33) for array in (truth, labels))
    shared = np.bincount(truth[truth == labels], minlength=33)
    rows: list[Row] = [identification(labels, truth, scored, voxel)]
    for label in range(1, 33):
        if sizes[label] * voxel >= LEAST_MM3:
            overlap = 2 * int(shared[label]) / int(sizes[label] + given[label])
            code = code_of(label)
            rows.append({"tooth": code, "Dice by number": overlap} | at_place.get(code, {}))
    return rows
