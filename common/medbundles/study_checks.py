"""What can be wrong between the contrasts of one study: grids, copies, a head around the brain, the order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medbundles.contrasts import TITLES
from medbundles.errors import GridError, InputError, describe_shape, describe_spacing
from medbundles.images import Image, spacing_of

GRID_TOLERANCE = 0.1  # of a voxel, at the corners
COPY_CORRELATION = 0.9985  # native and enhanced T1 of real cases reach 0.89
COARSE = 2  # every n-th voxel is enough to judge by
LARGEST_BRAIN_ML = 2200.0
LEAST_AIR = 0.2  # share of voxels that hold exactly the value of the background
BRIGHT_RIM = 1.1
LEAST_OVERLAP = 0.8  # of the foregrounds of two contrasts, as Dice
BRIGHT = 0.97
FLUID = -0.35  # of a contrast's spread below its median, where another is brightest: at least 0.5 in real T2
TAIL = 0.001
SWAPPED_TAILS = 1.5
SWAPPED_RANKS = 0.2
MIN_VOXELS = 200

Images = Mapping[str, Image]
Volume = NDArray[np.float32]


def same_grid(first: Image, second: Image) -> bool:
    """Whether two volumes have voxels at the same places, within a tenth of a voxel."""
    return first.shape == second.shape and _apart(first, second) <= GRID_TOLERANCE


def check_grids(images: Images, source: str | Path) -> None:
    """Raises GridError unless all contrasts have one grid."""
    (first, reference), *others = images.items()
    for name, image in others:
        if not same_grid(reference, image):
            raise GridError(
                f"{TITLES[name]} has another grid than {TITLES[first]}: {_difference(reference, image)}",
                expected="contrasts of one grid, registered to each other",
                source=source,
                advice='register and resample them to one grid, or let resample="to first" do the latter '
                "(it trusts the positions in the headers)",
            )


def check_copies(images: Images, source: str | Path) -> None:
    """Raises InputError if two contrasts are one and the same image, bit for bit or but for its scale."""
    volumes = {name: coarse(image) for name, image in images.items()}
    tissue = {name: foreground(volume) for name, volume in volumes.items()}
    for first, second in combinations(images, 2):
        if _is_copy(volumes[first], volumes[second], tissue[first] | tissue[second]):
            raise InputError(
                f"{TITLES[first]} and {TITLES[second]} are the same image",
                expected="a different image for every contrast",
                source=source,
                advice=f"check {Path(images[first].source).name} and "
                f"{Path(images[second].source).name}; leave out the contrast that was not acquired",
            )


def doubts(images: Images) -> list[str]:
    """Returns what is odd about a study whose grids agree: warnings in words."""
    volumes = {name: coarse(image) for name, image in images.items()}
    return [*_whole_heads(volumes, images), *_apart_brains(volumes), *order_doubts(volumes)]


def order_doubts(volumes: Mapping[str, Volume]) -> list[str]:
    """Returns warnings if the grey values speak against the names of the contrasts.

    Fluid is bright in T2 and dark in the others; enhanced vessels are bright in T1Gd and not in T1; T1Gd
    resembles T1 more than it resembles FLAIR.
    """
    brain = np.logical_and.reduce([foreground(volume) for volume in volumes.values()])
    if np.count_nonzero(brain) < MIN_VOXELS:
        return []
    values = {name: _standardised(volume[brain]) for name, volume in volumes.items()}
    return [*_fluid_doubts(values), *_agent_doubts(values)]


def coarse(image: Image) -> Volume:
    """Returns every second voxel of the first channel."""
    return image.array[0, ::COARSE, ::COARSE, ::COARSE].astype(np.float32)


def foreground(volume: Volume) -> NDArray[np.bool_]:
    """Returns where a volume differs from its background, which is the value of most of its faces."""
    value = background(volume)
    return np.abs(volume - value) > 0.02 * max(float(np.quantile(volume, 0.98)) - value, 1e-6)


def background(volume: Volume) -> float:
    """Returns the median of the outermost voxels."""
    faces = [volume[[0, -1]], volume[:, [0, -1]], volume[:, :, [0, -1]]]
    return float(np.median(np.concatenate([face.ravel() for face in faces])))


def _apart(first: Image, second: Image) -> float:
    """Largest distance of corresponding corners, in voxels."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in first.shape], indexing="ij"), -1).reshape(-1, 3)
    offsets = np.c_[corners, np.ones(len(corners))] @ (first.affine - second.affine).T
    return float(np.linalg.norm(offsets[:, :3], axis=1).max()) / min(spacing_of(first.affine, 3))


def _difference(first: Image, second: Image) -> str:
    if first.shape != second.shape:
        return f"{describe_shape(second.shape)} voxels, not {describe_shape(first.shape)}"
    if not np.allclose(first.spacing, second.spacing, rtol=1e-3):
        return f"voxels of {describe_spacing(second.spacing)}, not {describe_spacing(first.spacing)}"
    return f"its corners lie up to {_apart(first, second):.3g} voxels away"


def _is_copy(first: Volume, second: Volume, inside: NDArray[np.bool_]) -> bool:
    if np.count_nonzero(inside) < MIN_VOXELS:
        return bool(np.array_equal(first, second))
    one, other = first[inside], second[inside]
    if not np.ptp(one) or not np.ptp(other):
        return False
    return float(np.corrcoef(one, other)[0, 1]) > COPY_CORRELATION


def _whole_heads(volumes: Mapping[str, Volume], images: Images) -> list[str]:
    found = {name: reason for name in volumes if (reason := _head_sign(name, volumes[name], images[name]))}
    if not found:
        return []
    listed = ", ".join(TITLES[name] for name in found)
    return [
        f"{listed}: this looks like a whole head ({next(iter(found.values()))}), not like a brain without "
        "its skull; do not trust the results before the skull has been removed"
    ]


def _head_sign(name: str, volume: Volume, image: Image) -> str:
    """What says that skin and bone are still there, in words, or nothing."""
    inside = foreground(volume)
    voxel = abs(float(np.linalg.det(image.affine[:3, :3]))) * COARSE**3 / 1000
    if image.calibrated and (size := float(np.count_nonzero(inside)) * voxel) > LARGEST_BRAIN_ML:
        return f"{size:.0f} mL of tissue"
    air = float(np.mean(volume == background(volume)))
    if air < LEAST_AIR:
        return f"only {100 * air:.0f} % of the voxels are empty"
    if name != "t2" and (rim := _rim_brightness(volume, inside)) > BRIGHT_RIM:
        return f"a bright rim, {rim:.1f} times the middle"
    return ""


def _rim_brightness(volume: Volume, inside: NDArray[np.bool_]) -> float:
    """Mean of the outermost layers over the median within: scalp fat is bright, and in T2 fluid is too."""
    from scipy import ndimage

    core = ndimage.binary_erosion(inside, iterations=3)
    rim = inside & ~core
    if np.count_nonzero(core) < MIN_VOXELS or np.count_nonzero(rim) < MIN_VOXELS:
        return 0.0
    low = background(volume)
    middle = float(np.median(volume[core])) - low
    return (float(np.mean(volume[rim])) - low) / middle if middle > 0 else 0.0


def _apart_brains(volumes: Mapping[str, Volume]) -> list[str]:
    masks = {name: foreground(volume) for name, volume in volumes.items()}
    (first, reference), *others = masks.items()
    found = []
    for name, mask in others:
        total = np.count_nonzero(mask) + np.count_nonzero(reference)
        overlap = 2 * np.count_nonzero(mask & reference) / max(total, 1)
        if overlap < LEAST_OVERLAP:
            found.append(
                f"{TITLES[name]} and {TITLES[first]} cover different voxels (overlap {overlap:.2f}): "
                "are they registered to each other?"
            )
    return found


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float64]:
    values = values.astype(np.float64)
    spread = float(np.subtract(*np.quantile(values, [0.9, 0.1]))) or 1.0
    return (values - np.median(values)) / spread


def _fluid_doubts(values: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Each contrast's brightest voxels, as the others show them: fluid makes those of T2 dark elsewhere."""
    if len(values) < 3 and "t2" not in values:
        return []
    shown = {}
    for name, own in values.items():
        bright = own > np.quantile(own, BRIGHT)
        shown[name] = max(float(np.median(other[bright])) for key, other in values.items() if key != name)
    likely = min(shown, key=lambda name: shown[name])
    if likely == "t2" or shown[likely] > FLUID or shown.get("t2", 0.0) < FLUID:
        return []
    also = f", and what is called {TITLES['t2']} does not" if "t2" in values else ""
    return [f"what is called {TITLES[likely]} looks like T2 (bright fluid){also}: check names and order"]


def _agent_doubts(values: Mapping[str, NDArray[np.float64]]) -> list[str]:
    if "t1" not in values or "t1gd" not in values:
        return []
    gain = values["t1gd"] - values["t1"]
    low, high = np.quantile(gain, [TAIL, 1 - TAIL])
    found = []
    if -low > SWAPPED_TAILS * high:
        found.append("T1 has brighter vessels and spots than T1Gd: are the two swapped?")
    if "flair" in values:
        ranks = {name: values[name].argsort().argsort() for name in ("t1", "t1gd", "flair")}
        native, other = (float(np.corrcoef(ranks[n], ranks["t1gd"])[0, 1]) for n in ("t1", "flair"))
        if other > native + SWAPPED_RANKS:
            found.append("T1Gd resembles FLAIR more than T1: are T1 and FLAIR swapped?")
    return found
