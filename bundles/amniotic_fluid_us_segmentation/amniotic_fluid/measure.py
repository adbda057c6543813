"""Turns a network's answer into labels, the deepest pocket of a frame and its drawing."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from torch import Tensor

from amniotic_fluid.pockets import (
    FLUID,
    NO_FLUID,
    PARTS,
    REVERBERATION,
    TOO_NARROW,
    Geometry,
    Mask,
    find_pockets,
    wet,
)
from amniotic_fluid.preview import caliper
from medbundles.blanked import blanked
from medbundles.images import frame_axes, spacing_of
from medbundles.measure import Calibration, measurement
from medbundles.sector_beam import sector_mask

DEEPEST, WIDTH, COUNT, AREA = "deepest pocket", "pocket width", "pockets", "fluid area"
SMALLEST_POCKET = 0.001  # of the frame's area; less is noise
# Mean probability of fluid over all that hangs together; the card says how often less of it means an error.
LEAST_SURE = 0.85
# Shadow along one edge of a sector makes it look turned; only more than that is taken for a turned sector.
SMALLEST_TILT = math.radians(6)
STRAIGHT = math.radians(1.5)  # parts of an outline whose directions differ by less are one straight edge
# Half the opening angle of a sector. More is the angle between an edge and the chord of the probe's surface.
OPENINGS = (math.radians(20), math.radians(45))
UNCALIBRATED = "the frame is not calibrated: lengths are in pixels, and no pocket was asked to be 10 mm wide"
TURNED = "the sector is turned by {:.0f} degrees in the frame: depth is measured along its middle beam"
CUT = "the deepest pocket runs out of the frame: it may be deeper"
UNSURE = "it is uncertain that the deepest pocket is fluid, and where it ends: look at the frame"


class MeasureFluidd(MapTransform):
    """Replaces label probabilities (4, X, Y) on the frame's own grid by labels (1, X, Y), and measures.

    Adds `measurements`, `warnings` and `drawing` to the data. Lengths are in millimetres when the frame is
    calibrated and in pixels when it is not. A frame without fluid has 0 pockets and no deepest one.

    Args:
        keys: the probabilities.
        image_key: the frame, as the network saw it or as stored. Its header says whether it is calibrated.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        data = dict(data)
        for key in self.key_iterator(data):
            prediction, image = data[key], data[self.image_key]
            affine = np.asarray(prediction.affine, float)
            probabilities = prediction.as_subclass(Tensor).float().cpu().numpy()
            hidden = blanked(probabilities.shape[1:], image.meta)
            labels = label_map(probabilities, hidden)
            found = Fluid(labels, *find_geometry(image, affine), doubtful(labels, probabilities))
            data[key] = MetaTensor(torch.from_numpy(found.labels[None]), meta=dict(prediction.meta))
            data[key].affine = prediction.affine
            data["measurements"] = found.measurements()
            data["warnings"] = [*data.get("warnings", []), *found.warnings()]
            data["drawing"] = found.drawing()
        return data


class Fluid:
    """Everything measured on one frame.

    Args:
        labels: (X, Y) on the grid of the frame.
        geometry: where down is in the frame, and how large its pixels are.
        tilt: how far, in radians, the sector is turned from straight down in the frame.
        doubtful: fluid that the network is not sure of.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        geometry: Geometry,
        tilt: float = 0.0,
        doubtful: Mask | None = None,
    ) -> None:
        self.labels, self.geometry, self.tilt = labels, geometry, tilt
        self.unit = geometry.calibration.unit
        self.doubtful = np.zeros(labels.shape, bool) if doubtful is None else doubtful
        self.pockets = find_pockets(labels, geometry)
        self.deepest = self.pockets[0] if self.pockets else None

    def measurements(self) -> list[dict[str, Any]]:
        """Depth and width of the deepest pocket, the number of pockets, and the area of all fluid."""
        count = float(len(self.pockets))
        area = float(wet(self.labels).sum() * self.geometry.spacing.prod())
        note = self._reason() if self.deepest is None or self.unit == "px" else None
        depth, width = (self.deepest.depth, self.deepest.width) if self.deepest else (None, None)
        return [
            measurement(DEEPEST, depth, self.unit, note),
            measurement(WIDTH, width, self.unit, note),
            measurement(COUNT, count, "1", None if self.deepest else note),
            measurement(AREA, area, f"{self.unit}2"),
        ]

    def _reason(self) -> str:
        if self.deepest is not None:
            return UNCALIBRATED
        return TOO_NARROW if wet(self.labels).any() else NO_FLUID

    def warnings(self) -> list[str]:
        """What a reader should know before trusting the numbers."""
        notes = []
        if self.deepest is None:
            notes.append(self._reason())
        elif self._is_cut():
            notes.append(CUT)
        if self.deepest is not None and self._is_doubtful():
            notes.append(UNSURE)
        if self.tilt:
            notes.append(TURNED.format(math.degrees(abs(self.tilt))))
        return notes

    def _is_cut(self) -> bool:
        ends, last = np.asarray(self.deepest.ends), np.asarray(self.labels.shape) - 1
        return bool(((ends < 1) | (ends > last - 1)).any())

    def _is_doubtful(self) -> bool:
        return bool((self.doubtful & self.deepest.component).any())

    def drawing(self) -> list[dict[str, Any]]:
        """The caliper for the preview, in pixels of the frame."""
        return [] if self.deepest is None else caliper(self.deepest, self.unit)


def label_map(probabilities: NDArray[np.floating], hidden: Mask | None = None) -> NDArray[np.uint8]:
    """Returns labels (X, Y) of probabilities (4, X, Y), without specks of fluid.

    Clear and hazy fluid stand together against the rest before they are told from each other: where fluid
    passes into reverberation neither is the likeliest alone.

    Args:
        probabilities: on the grid of the stored frame.
        hidden: pixels that were painted over, which are as black as fluid; nothing is seen there.
    """
    nothing, clear, parts, hazy = (probabilities[value] for value in (0, FLUID, PARTS, REVERBERATION))
    fluid = (clear + hazy > nothing) & (clear + hazy > parts)
    seen = np.ones(fluid.shape, bool) if hidden is None else ~hidden
    fluid &= seen
    components, count = ndimage.label(fluid)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    fluid &= (sizes >= SMALLEST_POCKET * fluid.size)[components]
    labels = np.where((parts > nothing) & seen, PARTS, 0)
    labels[clear + hazy > np.maximum(nothing, parts)] = 0
    return np.where(fluid, np.where(hazy > clear, REVERBERATION, FLUID), labels).astype(np.uint8)


def doubtful(labels: NDArray[np.uint8], probabilities: NDArray[np.floating]) -> Mask:
    """Returns the fluid (X, Y) whose probability is low in the mean of its component.

    A head whose skull is not seen, or a limb, is about as dark as fluid: the network takes it for fluid, but
    with less certainty. Leaving it out of the measurement was tried: it loses as many pockets as it saves.
    """
    components, count = ndimage.label(wet(labels))
    fluid = probabilities[FLUID] + probabilities[REVERBERATION]
    sure = np.asarray(ndimage.mean(fluid, components, np.arange(count + 1))) >= LEAST_SURE
    return (components > 0) & ~sure[components]


def find_geometry(image: MetaTensor, affine: NDArray[np.floating]) -> tuple[Geometry, float]:
    """Returns where down is in the frame and how large its pixels are, and the tilt; see `find_vertical`."""
    calibrated = bool(image.meta.get("calibrated", False))
    vertical, tilt = find_vertical(image, affine)
    return Geometry(vertical, Calibration(spacing_of(affine, 2) if calibrated else None)), tilt


def find_vertical(image: MetaTensor, affine: NDArray[np.floating]) -> tuple[tuple[float, float], float]:
    """Returns the transducer's vertical in pixels of the frame (x, y), and its tilt in radians.

    Args:
        image: the frame (C, X, Y) as the network saw it, upright with square pixels, or as stored.
        affine: 4x4 RAS of the stored frame.
    """
    own = np.asarray(image.affine, float)
    grey = torch.as_tensor(image).as_subclass(Tensor)[0].float().cpu().numpy()
    axes = frame_axes(own)
    # Only an upright frame with square pixels shows the angles of its beams.
    upright = np.allclose(axes, axes[0, 0] * np.eye(2), atol=0.02 * abs(axes[0, 0])) and axes[0, 0] > 0
    tilt = sector_tilt(grey) if upright else 0.0
    down = np.linalg.solve(axes, (math.sin(tilt), math.cos(tilt)))
    to_frame = (np.linalg.inv(affine) @ own)[:2, :2] @ down
    x, y = to_frame / np.linalg.norm(to_frame)
    return (float(x), float(y)), tilt


def sector_tilt(grey: NDArray[np.floating]) -> float:
    """Returns the angle from straight down to the middle beam of an upright frame (X, Y).

    It is 0 unless both edges of the sector are seen and say clearly that it is turned; positive towards +x.
    """
    mask = sector_mask((grey - grey.min()) / max(float(np.ptp(grey)), 1e-6))
    outline = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    corners = outline[ConvexHull(outline).vertices].astype(float)
    sides = [_side_beam(corners, outline, mask.shape, side) for side in (-1, 1)]
    if sides[0] is None or sides[1] is None:
        return 0.0
    tilt, opening = (sides[0] + sides[1]) / 2, (sides[1] - sides[0]) / 2
    return tilt if abs(tilt) >= SMALLEST_TILT and OPENINGS[0] <= opening <= OPENINGS[1] else 0.0


def _side_beam(
    corners: NDArray[np.floating], outline: NDArray[np.integer], shape: tuple[int, ...], side: int
) -> float | None:
    """Returns the angle from straight down of the longest straight part of a hull that faces a side (-1, 1).

    Parts on the border of the frame, upright ones, where a picture was cut, and parts that only bridge a dark
    region are none.
    """
    ahead = np.roll(corners, -1, axis=0) - corners
    border = (corners <= 2) | (corners >= np.asarray(shape) - 3)
    cut = (border & np.roll(border, -1, axis=0)).any(axis=1) | (
        np.abs(ahead[:, 0]) < 0.02 * np.abs(ahead[:, 1])
    )
    facing = (side * ahead[:, 1] > 0) & ~cut
    # Corners run counterclockwise in (x, y): down the +x side and up the other.
    pieces, starts = side * ahead[facing], corners[facing]
    angles, lengths = np.arctan2(pieces[:, 0], pieces[:, 1]), np.linalg.norm(pieces, axis=1)
    alike = np.abs(angles[:, None] - angles) < STRAIGHT
    if not len(angles) or (total := alike @ lengths).max() < np.ptp(corners[:, 1]) / 4:
        return None
    chosen = alike[np.argmax(total)]
    beam = np.average(angles[chosen], weights=lengths[chosen])
    near = (outline - starts[chosen][0]) @ (math.cos(beam), -math.sin(beam))
    return float(beam) if (np.abs(near) < 2.5).sum() > 0.7 * total.max() else None
