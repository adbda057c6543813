"""What a results page lets a reader look through: volumes with their labels, and slices to compare."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medbundles.comparisons import LETTERS, chosen_slice, windowed
from medbundles.drawing import label_colour
from medbundles.images import RAS_FROM_LPS, spacing_of
from medbundles.page_volumes import (
    CoarseGrid,
    coarse_grid,
    coarse_image,
    coarse_labels,
    filled_box,
    nifti_bytes,
    quantised,
)
from medbundles.slices import slice_view, to_slices

VOLUME_BYTES = 2_500_000  # of a case's volumes in the page
PICTURE_BYTES = 1_200_000  # of its slices to compare
PROBE = 0.1  # voxels a byte for a first try, which tells how well an image compresses
MOST_SLICES = 15
LONGEST_SIDE = 768  # pixels of a slice to compare
QUALITY = 90
TAILS = (0.5, 99.5)  # percentiles between which grey values without a window are shown, as in previews


@dataclass(frozen=True)
class Layer:
    """One image of a case.

    Attributes:
        title: what it is called, for example a contrast.
        array: (x, y[, z]) values.
        synthetic: whether it was imputed.
    """

    title: str
    array: NDArray
    synthetic: bool = False


@dataclass(frozen=True)
class CaseImages:
    """The images of a case, all on one grid.

    Attributes:
        layers: what can be looked at; the first is shown first.
        affine: 4x4 RAS.
        labels: (x, y[, z]) label values.
        names: label value to name.
        colours: label value to colour, where it is not `medbundles.drawing.label_colour`.
        window: least and greatest grey value shown; None takes each layer's own.
        unit: of the grey values.
        oriented: whether the header says where the patient's sides are.
        compare: the two layers that are compared, by index; None for no comparison.
    """

    layers: Sequence[Layer]
    affine: NDArray
    labels: NDArray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)
    window: tuple[float, float] | None = None
    unit: str = ""
    oriented: bool = True
    compare: tuple[int, int] | None = None


def case_view(images: CaseImages) -> dict[str, Any]:
    """Returns what the page's scripts read, plain values only: `volume` and `compare`, or nothing."""
    view: dict[str, Any] = {}
    if images.layers[0].array.ndim == 3 and min(images.layers[0].array.shape) > 1:
        view["volume"] = volume_view(images)
    if images.compare is not None:
        view["compare"] = comparison_view(images)
    return view


def volume_view(images: CaseImages, *, budget: int = VOLUME_BYTES) -> dict[str, Any]:
    """Returns the layers and labels as NIfTI in base64, coarse enough to fit into the budget."""
    arrays = [layer.array for layer in images.layers]
    start, stop = filled_box(arrays)
    windows = [images.window or own_window(array) for array in arrays]
    voxels, size = PROBE * budget, 0
    while True:
        grid = coarse_grid(images.affine, start, stop, most_voxels=voxels)
        content = _encoded(images, windows, grid)
        before, size = size, sum(len(part) for part in content)
        if size <= budget and (before or not grid.is_coarser):
            break  # small enough, and not only the first, cautious try
        voxels = 0.9 * math.prod(grid.shape) * budget / size
    layers = [
        {"title": layer.title, "synthetic": layer.synthetic, "nifti": nifti, "window": list(window)}
        for layer, nifti, window in zip(images.layers, content, windows, strict=False)
    ]
    return {
        "layers": layers,
        "labels": None if images.labels is None else content[-1],
        "legend": _legend(images),
        "start": _first_point(images),
        "unit": images.unit,
        "oriented": images.oriented,
        "note": _note(images, grid),
    }


def own_window(image: NDArray) -> tuple[float, float]:
    """Returns between which values an image is shown that has no window: its tails without the padding."""
    filled = image[image > image.min()]
    low, high = np.percentile(filled, TAILS) if filled.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _encoded(images: CaseImages, windows: Sequence[tuple[float, float]], grid: CoarseGrid) -> list[str]:
    content = []
    for layer, (low, high) in zip(images.layers, windows, strict=True):
        image = coarse_image(layer.array, grid)
        margin = (high - low) / 2  # room to change the window
        bottom, top = max(low - margin, float(image.min())), min(high + margin, float(image.max()))
        content.append(_base64(nifti_bytes(*_with_affine(quantised(image, bottom, top), grid.affine))))
    if images.labels is not None:
        content.append(_base64(nifti_bytes(coarse_labels(images.labels, grid), grid.affine)))
    return content


def _with_affine(
    grey: tuple[NDArray[np.uint8], float, float], affine: NDArray
) -> tuple[NDArray[np.uint8], NDArray, float, float]:
    return grey[0], affine, grey[1], grey[2]


def _legend(images: CaseImages) -> list[list[Any]]:
    """Value, name and colour of every label that there is."""
    values = [] if images.labels is None else np.unique(images.labels[images.labels > 0]).tolist()
    return [
        [int(v), images.names.get(int(v), f"label {v}"), images.colours.get(int(v), label_colour(v))]
        for v in values
    ]


def _first_point(images: CaseImages) -> list[float]:
    """The place, in millimetres, where the planes cross that cut most of the labels; else the middle."""
    labels = images.labels
    if labels is None or not labels.any():
        voxel = [(n - 1) / 2 for n in images.layers[0].array.shape]
    else:
        voxel = [int(np.argmax((labels > 0).sum(tuple({0, 1, 2} - {axis})))) for axis in range(3)]
    return [float(v) for v in (np.asarray(images.affine, float) @ [*voxel, 1])[:3]]


def _note(images: CaseImages, grid: CoarseGrid) -> str:
    if not grid.is_coarser:
        return "every voxel, in 256 grey values"
    sizes = [spacing_of(affine, 3) for affine in (grid.affine, images.affine)]
    there, here = (" x ".join(f"{s:.2g}" for s in size) for size in sizes)
    unit = "mm" if images.oriented else "px"
    return f"a coarser copy: voxels of {there} {unit} instead of {here} {unit}, in 256 grey values"


def comparison_view(images: CaseImages, *, budget: int = PICTURE_BYTES) -> dict[str, Any]:
    """Returns slices of every layer as pictures of the same size, as radiologists see them."""
    affine, shape = np.asarray(images.affine, float), images.layers[0].array.shape
    order, flips = slice_view(affine, shape)
    stacks = [_stack(layer.array, order, flips) for layer in images.layers]
    count = stacks[0].shape[-1]
    marks = np.zeros(stacks[0].shape) if images.labels is None else _stack(images.labels, order, flips)
    best = chosen_slice(marks)
    size = _picture_size(stacks[0].shape[:2], np.array(spacing_of(affine, 3))[order[:2]])
    windows = [images.window or own_window(layer.array) for layer in images.layers]
    most = min(MOST_SLICES, count)
    while True:
        chosen = _spread(count, most, best)
        pictures = [
            [_picture(stack[..., i], window, size) for i in chosen]
            for stack, window in zip(stacks, windows, strict=True)
        ]
        if most == 1 or sum(len(p) for row in pictures for p in row) <= budget:
            break
        most = max(1, most // 2)
    normal = int(np.argmax(np.abs((RAS_FROM_LPS @ affine)[:3, order[2]])))
    return {
        "sets": [
            {"title": layer.title, "synthetic": layer.synthetic, "pictures": row}
            for layer, row in zip(images.layers, pictures, strict=True)
        ],
        "pair": list(images.compare or (0, 1)),
        "slices": [f"slice {i + 1} of {count}" if count > 1 else "" for i in chosen],
        "start": chosen.index(best),
        "letters": LETTERS[normal] if images.oriented else "",
        "size": list(size),
        "note": _window_text(images),
    }


def _stack(array: NDArray, order: Sequence[int], flips: Sequence[bool]) -> NDArray:
    return to_slices(torch.as_tensor(np.ascontiguousarray(array)[None]), order, flips)[0].numpy()


def _spread(count: int, most: int, best: int) -> list[int]:
    """Up to `most` slices at even distances, `best` among them."""
    step = max(1, math.ceil(count / most))
    return list(range(best % step, count, step))


def _picture_size(shape: Sequence[int], spacing: NDArray) -> tuple[int, int]:
    """Pixels of a picture with square pixels; coarse images are not blown up: the browser does that."""
    extent = np.array(shape) * spacing
    scale = min(1 / spacing.min(), LONGEST_SIDE / extent.max())
    return tuple(max(1, round(n)) for n in (extent * scale).tolist())


def _picture(plane: NDArray, window: tuple[float, float], size: tuple[int, int]) -> str:
    low, high = window
    grey = windowed(plane, (low + high) / 2, high - low)
    picture = Image.fromarray(np.ascontiguousarray(grey.T)).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{_base64(buffer.getvalue())}"


def _window_text(images: CaseImages) -> str:
    if images.window is None:
        return ""
    low, high = images.window
    return f"window {(low + high) / 2:g} / {high - low:g} {images.unit} (centre / width)"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
