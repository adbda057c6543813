"""The image as read from a file, and the geometry that all formats share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medbundles.checks import check_image
from medbundles.errors import GridError, SpacingError, bad_spacing, describe_spacing

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MIN_VOLUME = 1e-3  # a determinant of the direction cosines below this means that two axes coincide
CHANGED_SPACING = 0.05


@dataclass(frozen=True)
class Image:
    """One image: pixels and geometry.

    Attributes:
        array: channel-first pixels, (C, x, y) or (C, x, y, z), in the file's own type.
        affine: 4x4 matrix from voxel index to millimetres in RAS; see `medbundles.io.read_image` for 2D
            frames.
        calibrated: whether the spacing is known in millimetres; if not it is 1.
        calibration: where the spacing comes from, in words.
        modality: the DICOM modality, None when the file does not say.
        source: the file or folder that the user named.
        warnings: what was odd about the file but could be read.
        coloured: fraction of coloured pixels that were reduced to grey.
        series: SeriesInstanceUID, if `source` holds several DICOM series and one was chosen.
    """

    array: np.ndarray
    affine: np.ndarray
    calibrated: bool
    calibration: str
    modality: str | None
    source: Path
    warnings: tuple[str, ...] = ()
    coloured: float = 0.0
    series: str = ""

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.array.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each spatial axis."""
        return self.array.shape[1:]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring pixels along each spatial axis."""
        return spacing_of(self.affine, self.ndim)

    def check(self, spec: dict) -> list[str]:
        """Checks this image against a bundle's `input` metadata and returns all its warnings."""
        found = check_image(
            self.array,
            spec=spec,
            calibrated=self.calibrated,
            spacing=self.spacing,
            modality=self.modality,
            source=self.source,
            coloured=self.coloured,
        )
        return [*self.warnings, *found]


def spacing_of(affine: np.ndarray, ndim: int) -> tuple[float, ...]:
    """Returns the lengths of the first `ndim` columns of an affine."""
    return tuple(float(s) for s in np.linalg.norm(np.asarray(affine, float)[:3, :ndim], axis=0))


def upright_affine(spacing: Sequence[float]) -> np.ndarray:
    """Returns the RAS affine of an upright frame: x to the patient's left, y to the back, z upwards."""
    steps = (*spacing, 1.0)[:3]
    return np.diag([-steps[0], -steps[1], steps[2], 1.0])


def affine_from_lps(directions: np.ndarray, spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    """Returns the 4x4 RAS affine of an LPS geometry of two or three dimensions (direction columns)."""
    n = len(spacing)
    lps = np.eye(4)
    lps[:n, :n] = np.asarray(directions, float) * np.asarray(spacing, float)
    lps[:n, 3] = origin
    return RAS_FROM_LPS @ lps


def frame_axes(affine: np.ndarray) -> np.ndarray:
    """Returns the 2x2 matrix of a frame's pixel axes on the screen (x right, y down), in millimetres.

    The screen is the plane nearest to the frame, seen as radiologists do: axial (left, back), coronal
    (left, feet) or sagittal (back, feet). For an axial or planeless frame this is the LPS upper-left block
    of the affine, so an upright frame gives diag(sx, sy).
    """
    axes = (RAS_FROM_LPS @ np.asarray(affine, float))[:3, :2]
    normal = int(np.argmax(np.abs(np.cross(axes[:, 0], axes[:, 1]))))
    rows = {2: [(0, 1), (1, 1)], 1: [(0, 1), (2, -1)], 0: [(1, 1), (2, -1)]}[normal]
    return np.stack([sign * axes[row] for row, sign in rows])


def without_geometry(affine: np.ndarray, ndim: int) -> bool:
    """Whether a spacing of one is only a format's default: it then says nothing about millimetres.

    A plane with unit spacing never has pixels of exactly one millimetre. A volume may (brain atlases), so
    there it takes the untouched default: no rotation and no origin either.
    """
    if not np.allclose(spacing_of(affine, ndim), 1.0, atol=1e-6):
        return False
    return ndim == 2 or (
        np.allclose(np.abs(affine[:3, :3]), np.eye(3), atol=1e-6) and np.allclose(affine[:3, 3], 0)
    )


def with_pixel_size(image: Image, pixel_mm: float | Sequence[float] | None) -> Image:
    """Replaces the spacing by the user's, keeps the directions, and checks the geometry that results.

    Raises:
        SpacingError: the user's or the header's spacing is not positive and finite.
        GridError: two axes coincide.
    """
    if pixel_mm is not None:
        image = _rescaled(image, _pixel_size(pixel_mm, image))
    if not all(np.isfinite(s) and s > 0 for s in image.spacing):
        raise bad_spacing(image.spacing, image.source)
    check_directions(image.affine, image.source)
    return image


def check_directions(affine: np.ndarray, source: str | Path) -> None:
    """Raises GridError unless the axes of an affine span space."""
    axes = np.asarray(affine, float)[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(axes / np.linalg.norm(axes, axis=0))) < MIN_VOLUME:
        raise GridError(
            "a header whose image axes coincide or are not numbers",
            expected="three independent directions",
            source=source,
            advice="export the image again from the original data",
        )


def _pixel_size(pixel_mm: float | Sequence[float], image: Image) -> tuple[float, ...]:
    try:
        values = np.atleast_1d(np.asarray(pixel_mm, dtype=float))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    sizes = tuple(float(v) for v in np.ravel(values)) * (image.ndim if values.size == 1 else 1)
    if len(sizes) != image.ndim or not all(np.isfinite(s) and s > 0 for s in sizes):
        raise SpacingError(
            f"--pixel_mm {pixel_mm}",
            expected=f"a positive number of millimetres, or {image.ndim} of them",
            source=image.source,
            advice="write for example --pixel_mm 0.2",
        )
    return sizes


def _rescaled(image: Image, sizes: tuple[float, ...]) -> Image:
    affine, upright = image.affine.copy(), upright_affine((1.0, 1.0, 1.0))
    for axis, size in enumerate(sizes):
        column = affine[:3, axis]
        length = np.linalg.norm(column)
        usable = np.isfinite(length) and length > 0
        affine[:3, axis] = size * (column / length if usable else upright[:3, axis])
    warnings = image.warnings
    if image.calibrated and not np.allclose(sizes, image.spacing, rtol=CHANGED_SPACING):
        header = describe_spacing(image.spacing)
        warnings += (f"--pixel_mm {describe_spacing(sizes)} replaces {header} of the {image.calibration}",)
    return replace(image, affine=affine, calibrated=True, calibration="--pixel_mm", warnings=warnings)
