"""From label probabilities to outlines, circumferences and diameters, and how standard the plane is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fetal_biometry.labels import ABDOMEN_PARTS, HEAD, LABELS
from medbundles.contours import closure, largest_component, outer_contour, touches_border
from medbundles.ellipse import Ellipse, EllipseFitError, fit_ellipse_robust

SMALLEST_OUTLINE = 0.01  # of the frame's area
SMALLEST_STRUCTURE = {
    2: 0.006,
    3: 0.0015,
    4: 0.003,
}  # of the abdomen's area: stomach bubble, umbilical vein, spine
INLIER_DISTANCE = 0.03  # of the outline's extent
CLEAR_AGREEMENT = 0.93  # overlap of outline and ellipse above which an abdomen counts as elliptic


@dataclass(frozen=True)
class Outline:
    """The ellipse around a region, in pixels and in millimetres (or pixels again without calibration).

    Attributes:
        closed: share of the directions from the centre in which the outline was seen inside the frame.
        agreement: intersection over union of the region and the ellipse.
        cut: whether the region runs out of the frame.
    """

    pixels: Ellipse
    scaled: Ellipse
    closed: float
    agreement: float
    cut: bool


def find_outline(probability: NDArray[np.floating], spacing: tuple[float, float]) -> Outline | None:
    """The robust ellipse around the region (X, Y) with probability above a half; None if there is none.

    Contour points on the border of the frame show where the frame ends, not the body: they are left out.
    """
    region = largest_component(probability > 0.5)
    if region.mean() < SMALLEST_OUTLINE:
        return None
    contour = outer_contour(probability)
    border = touches_border(contour, probability.shape)
    points = contour[~border] * spacing
    if len(points) < 20:
        return None
    points = points[:: max(1, len(points) // 600)]
    try:
        scaled, inliers = fit_ellipse_robust(
            points, threshold=INLIER_DISTANCE * float(np.ptp(points, axis=0).max())
        )
    except EllipseFitError:
        return None
    pixels = scaled.scaled((1 / spacing[0], 1 / spacing[1]))
    mask = pixels.mask(probability.shape)
    return Outline(
        pixels,
        scaled,
        closed=closure(points[inliers], scaled.centre),
        agreement=float((mask & region).sum() / max(1, (mask | region).sum())),
        cut=bool(border.mean() > 0.02),
    )


def label_map(
    probabilities: NDArray[np.floating], abdomen: Outline | None, head: Outline | None
) -> NDArray[np.uint8]:
    """Labels (X, Y) of probabilities (6, X, Y): ellipses filled, structures only inside the abdomen's."""
    shape = probabilities.shape[1:]
    labels = np.zeros(shape, np.uint8)
    if head is not None:
        labels[head.pixels.mask(shape)] = HEAD
    if abdomen is not None:
        inside = abdomen.pixels.mask(shape)
        labels[inside] = ABDOMEN_PARTS[0]
        strongest = 1 + probabilities[1:].argmax(axis=0)
        area = inside.sum()
        for structure, share in SMALLEST_STRUCTURE.items():
            labels[_without_specks((strongest == structure) & inside, share * area)] = structure
    return labels


def _without_specks(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    components, count = ndimage.label(mask)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= smallest)[components]


def spine_direction(
    labels: NDArray[np.uint8], outline: Outline, spacing: tuple[float, float]
) -> NDArray | None:
    """The direction (x, y) from the centre of the abdomen to its spine; None when the spine was not found."""
    where = np.argwhere(labels == 4)
    if len(where) == 0:
        return None
    offset = where.mean(axis=0) * spacing - np.asarray(outline.scaled.centre)
    # A "spine" near the centre gives no direction worth measuring along.
    return offset if np.linalg.norm(offset) > 0.3 * outline.scaled.axes[1] else None


def plane_score(labels: NDArray[np.uint8], outline: Outline) -> tuple[float, str]:
    """How far a frame is the standard plane of the abdomen, 0 to 1, and why in words.

    Six tenths for the three structures that define the plane, two for an outline seen all around, two for an
    outline that is an ellipse: a closed ellipse alone may be any cross-section of the trunk.
    """
    found = [label for label in SMALLEST_STRUCTURE if (labels == label).any()]
    ellipticity = np.clip((outline.agreement - 0.8) / (CLEAR_AGREEMENT - 0.8), 0, 1)
    score = 0.2 * len(found) + 0.2 * outline.closed + 0.2 * float(ellipticity)
    reasons = [f"{LABELS[label]} {'seen' if label in found else 'not seen'}" for label in SMALLEST_STRUCTURE]
    reasons.append(f"outline seen over {100 * outline.closed:.0f} % of its length")
    reasons.append(f"ellipse and outline overlap by {100 * outline.agreement:.0f} %")
    if outline.cut:
        reasons.append("the abdomen runs out of the frame")
    return score, "; ".join(reasons)
