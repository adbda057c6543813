"""The images of the server: files of all our formats, and folders that are one case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from medbundles.errors import InputError
from medbundles.formats import SUFFIXES
from medbundles.io import find_cases
from medbundles.study_files import find_studies

# The longest first, as the server takes the last that fits.
PATTERNS = [f"*{suffix}" for suffix in sorted(SUFFIXES, key=len) if suffix != ".zip"]
OWN_FOLDER = "labels"


class StudiesDatastore(LocalDatastore):
    """A folder of images. A folder in it that holds one DICOM series, or one study, is an image, too."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder, extensions=PATTERNS, **options)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        files = super()._list_files(path, patterns)
        files = {name: file for name, file in files.items() if not name.startswith(".")}
        if Path(path).resolve() != Path(self._datastore.image_path()).resolve():
            return files
        return files | {folder.name: folder.name for folder in case_folders(Path(path))}


def case_folders(home: Path) -> list[Path]:
    """The folders directly in `home` that are one case each."""
    found = {Path(image) for image in _listed(lambda: find_cases(home, spatial_dims=3))}
    for folder in home.iterdir():
        if folder.is_dir() and folder.name != OWN_FOLDER and not folder.name.startswith("."):
            found |= {
                Path(image) for image in _listed(lambda f=folder: find_studies(f)) if image == str(folder)
            }
    return sorted(path for path in found if path.is_dir() and path.parent == home)


def _listed(find: Callable[[], list[dict[str, Any]]]) -> list[str]:
    try:
        return [case["image"] for case in find() if isinstance(case["image"], str)]
    except InputError:  # nothing there
        return []
