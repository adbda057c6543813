"""The types of file that a result can be asked for as, and which bundle can give which."""

from __future__ import annotations

import difflib

import numpy as np

from medbundles.errors import OverrideError
from medbundles.formats import SEGMENTATION
from medbundles.metadata import BundleInfo

AUTO = "auto"
EXTENSIONS = (AUTO, ".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".dcm", SEGMENTATION)


def known_extension(name: str, info: BundleInfo, dtype: np.dtype) -> str:
    """Returns the name of a type of file, before anything is computed.

    Args:
        name: an entry of `EXTENSIONS`.
        info: the bundle whose result it is to hold.
        dtype: of the result's values.

    Raises:
        OverrideError: there is no such type, or it cannot hold what the bundle gives.
    """
    if name not in EXTENSIONS:
        near = difflib.get_close_matches(str(name), EXTENSIONS, n=1)
        raise _refused(f"output_ext '{name}'", f"write --output_ext {near[0] if near else AUTO}")
    if name == SEGMENTATION and info.output.get("kind") != "labels":
        found = f"output_ext '{name}' for {info.name}, whose result is an image, not a segmentation"
        raise _refused(found, "use --output_ext .nrrd: 3D Slicer opens it as a volume")
    if name == ".png" and (dtype != np.uint8 or info.input.get("spatial_dims") == 3):
        found = f"output_ext '{name}' for {info.name}, whose results are no 8-bit pictures"
        raise _refused(found, "use --output_ext .nii.gz; a preview is written as PNG anyway")
    return name


def image_extension(name: str) -> str:
    """Returns the type of file for an image that a bundle of label maps writes beside them."""
    return ".nrrd" if name == SEGMENTATION else name


def _refused(found: str, advice: str) -> OverrideError:
    expected = ", ".join(EXTENSIONS)
    return OverrideError(found, expected=expected, source="option output_ext", advice=advice)
