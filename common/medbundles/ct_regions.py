"""The patient and the tissues in a CT slice, found by their Hounsfield units; (x, y), volumes (x, y, z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medbundles.contours import largest_component

Mask = NDArray[np.bool_]

_BODY_HU = -500.0
# Tissue by the HU of the smoothed truth. Fat and everything between two entries belongs to none.
_TISSUE_HU = {"lung": (-950.0, -600.0), "water": (-20.0, 90.0), "contrast": (130.0, 600.0)}
_BONE_HU, _DENSE_HU, _CORTEX_HU = 250.0, 130.0, 400.0
# The median slope in HU per pixel inside enhanced blood and organs is 1 to 9, inside bone 10 to 80.
_EVEN_HU = 9.5


def body_mask(hu: ArrayLike, *, opening_px: int = 4) -> Mask:
    """Returns the patient without the table: the largest part above -500 HU of each slice, holes filled.

    Args:
        hu: a slice or volume.
        opening_px: what is thinner than about twice this, in pixels, is no body: table top, sheets, cables.
    """
    values = np.asarray(hu, dtype=np.float32)
    if values.ndim == 3:
        slices = np.moveaxis(values, -1, 0)
        return np.stack([body_mask(one, opening_px=opening_px) for one in slices], axis=-1)
    if values.ndim != 2:
        raise ValueError(f"A body mask needs a slice or a volume, got {values.ndim} dimensions.")
    return _body_of_slice(values, opening_px)


def tissue_regions(truth: ArrayLike, *, margin_px: int = 2) -> dict[str, Mask]:
    """Returns the interior of lung, water-like tissue, contrast-filled vessels and bone of a true slice.

    Limits are set on the smoothed truth and edges are left out, so that neither the noise left in the truth
    nor partial volume decides what belongs to a region. Enhanced blood and spongy bone have the same HU, but
    blood is even.

    Args:
        truth: a slice in HU (x, y).
        margin_px: how far from the next tissue a pixel must be.
    """
    from scipy import ndimage

    values = np.asarray(truth, dtype=np.float64)
    body = ndimage.binary_erosion(body_mask(values), iterations=2 * margin_px)
    smooth = ndimage.gaussian_filter(values, 2.0)
    regions = {name: (smooth > low) & (smooth < high) for name, (low, high) in _TISSUE_HU.items()}
    bone = _bone(values)
    regions["water"] &= ~bone
    regions["contrast"] &= ~bone
    regions["bone"] = bone & (smooth > _BONE_HU)
    margin = np.ones((2 * margin_px + 1,) * 2, dtype=bool)
    return {name: ndimage.binary_erosion(mask, margin) & body for name, mask in regions.items()}


def _bone(values: NDArray[np.float64]) -> Mask:
    """Returns the dense parts that are uneven inside, and very dense ones too thin to have an inside."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(values, 1.0)
    parts, count = ndimage.label(ndimage.binary_opening(smooth > _DENSE_HU, iterations=2))
    if not count:
        return np.zeros(values.shape, dtype=bool)
    names = np.arange(1, count + 1)
    core = np.where(ndimage.distance_transform_edt(parts > 0) > 4, parts, 0)
    slope = ndimage.median(ndimage.gaussian_gradient_magnitude(values, 1.5), core, names)
    dense = ndimage.maximum(smooth, parts, names) > _CORTEX_HU
    bony = np.where(np.isin(names, core), np.nan_to_num(slope) > _EVEN_HU, dense)
    filled = ndimage.binary_closing(np.isin(parts, names[bony]), iterations=3)
    return ndimage.binary_dilation(filled, iterations=2)


def _body_of_slice(values: NDArray[np.float32], opening_px: int) -> Mask:
    from scipy import ndimage

    # A little smoothing, or the noise of a low dose frays the skin.
    dense = ndimage.gaussian_filter(values, 1.0) > _BODY_HU
    depth = ndimage.distance_transform_edt(np.pad(dense, 1, mode="edge"))[1:-1, 1:-1]
    core = largest_component(depth > opening_px)
    if not core.any():
        return largest_component(dense)
    reach = ndimage.distance_transform_edt(~core) <= opening_px + 0.5
    return largest_component(dense & reach | core)
