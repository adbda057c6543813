"""Overlap, surface distance and agreement of measurements, as plain functions on numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Figures:
    """A few numbers with names."""

    def as_dict(self) -> dict[str, float]:
        """Returns the numbers by name, without those that are undefined."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Summary(Figures):
    """Mean, spread, median and extremes of n values; a single value has no spread."""

    n: int
    mean: float
    sd: float | None
    median: float
    min: float
    max: float


@dataclass(frozen=True)
class BlandAltman(Figures):
    """Bias of n differences, their spread, and their 95 % limits of agreement."""

    n: int
    bias: float
    sd: float
    lower: float
    upper: float


def dice(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Returns the Dice overlap of two masks; NaN when both are empty, because nothing was there to find."""
    first, second = _pair(prediction, truth)
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else float("nan")


def surface_distances(
    prediction: ArrayLike, truth: ArrayLike, *, spacing: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the distances from each surface to the other, prediction first; empty masks are refused."""
    from scipy import ndimage

    first, second = _pair(prediction, truth)
    if not first.any() or not second.any():
        raise ValueError("A surface distance needs two masks that are not empty.")
    first, second = _surface(first), _surface(second)
    to_second = ndimage.distance_transform_edt(~second, sampling=spacing)[first]
    to_first = ndimage.distance_transform_edt(~first, sampling=spacing)[second]
    return to_second, to_first


def hausdorff(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    spacing: Sequence[float] | None = None,
    percentile: float = 100.0,
) -> float:
    """Returns the Hausdorff distance, the larger of the two directed ones; `percentile` 95 gives HD95."""
    return max(
        float(np.percentile(d, percentile)) for d in surface_distances(prediction, truth, spacing=spacing)
    )


def assd(prediction: ArrayLike, truth: ArrayLike, *, spacing: Sequence[float] | None = None) -> float:
    """Returns the average symmetric surface distance over the points of both surfaces."""
    return float(np.concatenate(surface_distances(prediction, truth, spacing=spacing)).mean())


def relative_error(measured: float, reference: float) -> float:
    """Returns (measured - reference) / reference, signed."""
    if reference == 0:
        raise ValueError("A relative error needs a reference that is not zero.")
    return (measured - reference) / reference


def bland_altman(measured: ArrayLike, reference: ArrayLike) -> BlandAltman:
    """Returns bias and limits of agreement (bias -+ 1.96 sd) of measured - reference; needs two pairs."""
    difference = _finite(np.asarray(measured, dtype=float) - np.asarray(reference, dtype=float), least=2)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return BlandAltman(len(difference), bias, sd, lower=bias - 1.96 * sd, upper=bias + 1.96 * sd)


def summary(values: ArrayLike) -> Summary:
    """Returns the summary of finite values."""
    array = _finite(np.asarray(values, dtype=float), least=1)
    return Summary(
        n=len(array),
        mean=float(array.mean()),
        sd=float(array.std(ddof=1)) if len(array) > 1 else None,
        median=float(np.median(array)),
        min=float(array.min()),
        max=float(array.max()),
    )


def _pair(prediction: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"The masks have different shapes, {first.shape} and {second.shape}.")
    return first, second


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels of a mask that have a side neighbour outside; beyond the array is outside."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def _finite(values: NDArray[np.float64], *, least: int) -> NDArray[np.float64]:
    array = values.ravel()
    if len(array) < least or not np.all(np.isfinite(array)):
        raise ValueError(f"This needs at least {least} finite values, got {array.tolist()[:10]}.")
    return array
