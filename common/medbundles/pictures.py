"""Reads pictures (PNG, JPEG, BMP, TIFF) with Pillow."""

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medbundles.errors import DimensionError, InputError
from medbundles.formats import check_volume, to_grey, unreadable
from medbundles.images import Image, affine_from_lps

if TYPE_CHECKING:
    import PIL.Image

# Where a step along a stored row (x) and column (y) leads on the screen (right, down), by EXIF orientation.
EXIF_AXES = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, 1), (-1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, -1), (1, 0)),
}
EXIF_ORIENTATION = 0x0112
FORMATS = [
    "PNG",
    "JPEG",
    "BMP",
    "TIFF",
]  # the list keeps Pillow from its readers that start other programs (EPS)


def read_picture(path: Path, source: Path) -> Image:
    """Reads a PNG, JPEG, BMP or one-page TIFF: no millimetres, but EXIF may say that it is rotated."""
    from PIL import Image as Pillow

    errors = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, TypeError)
    try:
        with Pillow.open(path, formats=FORMATS) as picture:
            picture.verify()  # the sums of a PNG, which loading does not look at; the picture is used up then
        with Pillow.open(path, formats=FORMATS) as picture:
            check_volume(picture.size, source)
            # MPO is a JPEG that a camera wrote with its own thumbnail behind it.
            pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            if pages > 1:
                raise _several_pages(pages, source)
            picture.load()
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
            pixels = _pixels(picture)
    except InputError:
        raise
    except (Pillow.DecompressionBombError, *errors) as error:
        raise unreadable(source, "a picture", _without_path(error)) from error
    array, coloured, warnings = to_grey(pixels)
    axes = np.eye(3)
    axes[:2, :2] = np.array(EXIF_AXES.get(orientation, EXIF_AXES[1]), float).T
    affine = affine_from_lps(axes, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return Image(array, affine, False, "none", None, source, warnings, coloured)


def _without_path(error: BaseException) -> str:
    """Pillow repeats the path, which the message names anyway."""
    return "" if "cannot identify image file" in str(error) else str(error)


def _several_pages(pages: int, source: Path) -> DimensionError:
    return DimensionError(
        f"a picture file with {pages} pages or frames",
        expected="one single picture",
        source=source,
        advice="export the one frame to be analysed",
    )


def _pixels(picture: "PIL.Image.Image") -> np.ndarray:
    """Channel-first pixels (C, x, y); 16-bit and float grey stay as they are."""
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    elif picture.mode not in ("L", "LA", "I", "F", "RGB", "RGBA") and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return np.ascontiguousarray(np.swapaxes(pixels, 1, 2))
