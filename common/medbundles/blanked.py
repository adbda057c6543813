"""Boxes that were painted over a frame, as on frames without names: no echo was seen there.

A box is a rectangle of the darkest value with two straight edges that echoes end in: one along a row, one
along a column. Fluid, however dark, has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BOXES = "blanked_boxes"  # in the meta information, as text: it is batched whatever the number of boxes
LEAST_WIDTH, LEAST_HEIGHT = 0.06, 0.03  # of the frame
LEAST_LIT = 0.7  # share of a box's side that has echoes beside it
GAP = 5  # pixels; echoes above an edge may be black here and there

Box = tuple[int, int, int, int]
Mask = NDArray[np.bool_]


def blanked_boxes(grey: NDArray[Any]) -> list[Box]:
    """Returns the boxes (x0, y0, x1, y1) in a frame (X, Y) whose first row is the upper one."""
    dark = grey <= grey.min()
    rows = dark.shape[1]
    below = _below_edges(dark)
    above = [(x0, rows - y1, x1, rows - y0) for x0, y0, x1, y1 in _below_edges(dark[:, ::-1])]
    return sorted({*below, *above})


def _below_edges(dark: Mask) -> list[Box]:
    """Boxes that have echoes above them and on one side."""
    least_width, least_height = (
        round(s * n) for s, n in zip((LEAST_WIDTH, LEAST_HEIGHT), dark.shape, strict=True)
    )
    found = []
    for row in range(1, dark.shape[1]):
        edge = dark[:, row] & ~dark[:, row - 1]
        if edge.sum() < least_width * 3 // 4:
            continue
        wide = np.pad(edge, GAP, mode="edge")  # else the closing eats what reaches the side
        edge = ndimage.binary_closing(wide, np.ones(GAP))[GAP:-GAP] & dark[:, row]
        for (part,) in ndimage.find_objects(ndimage.label(edge)[0]):
            lit = ~dark[part, row:].all(axis=0)
            height = int(lit.argmax()) if lit.any() else lit.size
            if part.stop - part.start >= least_width and height >= least_height:
                found.append((part.start, row, part.stop, row + height))
    return [box for box in found if _has_a_side(dark, box)]


def _has_a_side(dark: Mask, box: Box) -> bool:
    x0, y0, x1, y1 = box
    sides = [dark[x, y0:y1] for x in (x0 - 1, x1) if 0 <= x < len(dark)]
    return any(np.mean(~side) >= LEAST_LIT for side in sides)


def noted(grey: NDArray[Any]) -> dict[str, str]:
    """Returns the boxes of a stored frame (X, Y) for its meta information."""
    return {BOXES: json.dumps(blanked_boxes(grey))}


def blanked(shape: Sequence[int], meta: Mapping[str, Any]) -> Mask:
    """Returns the pixels (X, Y) of a stored frame that lie in one of its boxes, from its meta information."""
    mask = np.zeros(tuple(shape), bool)
    for x0, y0, x1, y1 in json.loads(meta.get(BOXES, "[]")):
        mask[x0:x1, y0:y1] = True
    return mask
