"""A small brain with fluid, two tissues and vessels, as four contrasts show it."""

from pathlib import Path

import numpy as np

from medbundles import io
from medbundles.contrasts import CONTRASTS
from medbundles.images import upright_affine

SHAPE, SPACING = (44, 52, 40), (4.0, 4.0, 4.0)
# Grey and white matter, fluid, vessels, as each contrast shows them; flesh and bone around them last.
SHADES = {
    "t1": (500, 700, 200, 450, 900),
    "t1gd": (520, 700, 210, 1600, 900),
    "t2": (500, 350, 1400, 250, 500),
    "flair": (600, 480, 150, 300, 700),
}
FILES = {"t1": "t1n", "t1gd": "t1c", "t2": "t2w", "flair": "t2f"}


def brain(contrast: str, *, head: bool = False, seed: int = 0) -> np.ndarray:
    """Returns a contrast, (x, y, z) int16, zero around the brain; with `head`, air, skin and bone too."""
    x, y, z = ((np.indices(SHAPE)[k] - SHAPE[k] / 2) * SPACING[k] for k in range(3))
    radius = np.sqrt((x / 66) ** 2 + (y / 80) ** 2 + (z / 62) ** 2)
    tissue = np.select([radius < 0.25, radius < 0.75, radius < 0.93, radius < 1], [3, 2, 1, 3], 0)
    spots = np.random.default_rng(7).random(SHAPE) < 0.01
    tissue[spots & (tissue > 0)] = 4
    if head:
        tissue[(radius >= 1.04) & (radius < 1.2)] = 5
    rng = np.random.default_rng(seed + CONTRASTS.index(contrast))
    clean = np.array([0, *SHADES[contrast]], float)[tissue]
    noisy = clean + rng.normal(0, 12, SHAPE) * ((tissue > 0) | head)
    return np.where((tissue > 0) | head, np.maximum(np.rint(noisy), 1), 0).astype(np.int16)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Writes a volume (x, y, z), or (4, x, y, z)."""
    affine = upright_affine(SPACING) if affine is None else affine
    io.write_image(array if array.ndim == 4 else array[None], path, affine=affine)
    return path


def write_study(folder: Path, *contrasts: str, name: str = "case", head: bool = False) -> Path:
    """Writes files of contrasts, of all four unless given, named as BraTS 2023 does."""
    for contrast in contrasts or CONTRASTS:
        write(folder / f"{name}-{FILES[contrast]}.nii.gz", brain(contrast, head=head))
    return folder
