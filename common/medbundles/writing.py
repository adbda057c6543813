"""Writers of NIfTI, NRRD, MetaImage and PNG; `medbundles.io.write_image` is the way in."""

from pathlib import Path

import numpy as np

from medbundles.formats import NIFTI, suffix_of
from medbundles.images import RAS_FROM_LPS, spacing_of, without_geometry

DESCRIPTION_BYTES = 79
ORTHOGONAL = 1e-4


def write_array(array: np.ndarray, path: Path, affine: np.ndarray, description: str) -> None:
    """Writes a channel-first array in the format of the path's suffix."""
    if array.ndim not in (3, 4):
        raise ValueError(f"expected (C, x, y) or (C, x, y, z), got shape {array.shape}")
    array = _storable(array)
    suffix = suffix_of(path)
    if suffix in NIFTI:
        _write_nifti(array, path, affine, description)
    elif suffix == ".png":
        _write_png(array, path, description)
    else:
        _write_itk(array, path, affine, description)


def _storable(array: np.ndarray) -> np.ndarray:
    """The nearest type that every format stores; 64-bit integers only if the values fit into 32 bits."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype in (np.int64, np.uint64):
        small = array.astype(np.int32)
        if not np.array_equal(small, array):
            raise ValueError("values do not fit into 32-bit integers")
        return small
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _write_nifti(array: np.ndarray, path: Path, affine: np.ndarray, description: str) -> None:
    import nibabel

    ndim = array.ndim - 1
    if array.shape[0] == 1:
        stored = array[0]
    else:
        stored = np.moveaxis(array if ndim == 3 else array[..., None], 0, -1)
    image = nibabel.Nifti1Image(stored, affine, dtype=array.dtype)
    image.set_sform(affine, code=1)
    # A qform cannot hold shear, and two transforms that disagree are refused by careful readers, ours among
    # them.
    image.set_qform(affine, code=1 if _orthogonal(affine) else 0)
    image.header.set_xyzt_units("unknown" if without_geometry(affine, ndim) else "mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    nibabel.save(image, path)


def _orthogonal(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < ORTHOGONAL)


def _write_png(array: np.ndarray, path: Path, description: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if array.ndim != 3 or array.dtype != np.uint8 or array.shape[0] not in (1, 3):
        raise ValueError(f"PNG takes 8-bit 2D images, got {array.dtype} of shape {array.shape}")
    pixels = array[0].T if array.shape[0] == 1 else array.transpose(2, 1, 0)
    info = PngInfo()
    if description:
        info.add_itxt("Description", description)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, pnginfo=info)


def _write_itk(array: np.ndarray, path: Path, affine: np.ndarray, description: str) -> None:
    import itk

    if array.ndim == 3 and not _in_plane(affine):
        array = array[..., None]
    ndim, vector = array.ndim - 1, array.shape[0] > 1
    if array.dtype == np.int8:
        array = array.astype(np.int16)
    if vector and array.dtype in (np.int32, np.uint32):
        array = array.astype(np.float64)  # ITK's Python has no vector images of these
    stored = np.ascontiguousarray(array.T if vector else array[0].T)
    image = itk.image_from_array(stored, is_vector=vector)
    lps = RAS_FROM_LPS @ affine
    spacing = np.array(spacing_of(affine, ndim))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(v) for v in lps[:ndim, 3]])
    image.SetDirection(np.ascontiguousarray(lps[:ndim, :ndim] / spacing))
    if description:
        image["description"] = description
    itk.imwrite(image, str(path), compression=True)


def _in_plane(affine: np.ndarray) -> bool:
    """Whether two axes tell all there is: then the file can be truly 2D."""
    outside = np.r_[affine[2, [0, 1, 3]], affine[:2, 2]]
    return bool(np.allclose(outside, 0, atol=1e-6 * max(spacing_of(affine, 2))))
