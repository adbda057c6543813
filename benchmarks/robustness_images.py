"""How medbundles answers to a file of an image, as `predict` does before any network sees it."""

from pathlib import Path

from robustness_samples import Content

from medbundles.io import read_image

SPEC = {
    "spatial_dims": [2, 3],
    "channels": 1,
    "calibration": "optional",
    "spacing_mm": [0.001, 1000],
    "size_px": [1, 4096],
    "colour": "grey_only",
}
UNCALIBRATED = "not calibrated"  # said of every picture: no warning of damage


def read(path: Path) -> tuple[Content, list[str]]:
    """Content and warnings of a file that passes a bundle's checks."""
    image = read_image(path)
    warnings = [text for text in image.check(SPEC) if not text.startswith(UNCALIBRATED)]
    return Content(image.array, image.affine), warnings
