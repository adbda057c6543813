"""Preview pictures as files: with the name of the case for people, without it for archives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

TITLE_ROWS = "title_rows"  # how many rows of the picture, from its top, are the title


def save_preview(picture: Image, path: Path) -> None:
    """Writes a picture as PNG; the height of its title goes along as text."""
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text(TITLE_ROWS, str(picture.info.get(TITLE_ROWS, 0)))
    picture.save(path, pnginfo=about)


def pixels_without_title(path: Path) -> np.ndarray:
    """Returns the picture (rows, columns, 3) below its title, which may hold what a file was called."""
    from PIL import Image as Pillow

    with Pillow.open(path) as opened:
        return np.asarray(opened.convert("RGB"))[int(opened.info.get(TITLE_ROWS, 0)) :]
