"""Which case of a bundle an image belongs to: the image itself, or the study of which it is one contrast."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbundles.study_files import contrast_files, studies_of_files

STUDIES = "find_studies"  # the lister of bundles that work on several contrasts at once


def case_of(config: Mapping[str, Any], image: Path) -> Any:
    """Returns what the workflow of this config reads as `image` of a case.

    Args:
        config: the inference workflow.
        image: what the user looks at: a file, or a folder.
    """
    lister = config.get("dataset", {}).get("data", {})
    whole = takes_studies(lister) and image.is_file() and not _is_upload(image)
    return study_with(image) if whole else str(image)


def takes_studies(lister: Any) -> bool:
    """Whether a bundle whose cases are listed so works on studies of several contrasts."""
    return isinstance(lister, Mapping) and str(lister.get("_target_", "")).endswith(f".{STUDIES}")


def study_with(image: Path) -> Any:
    """Returns the study that a file belongs to, as paths by contrast; the file itself if to none."""
    for study in studies_of_files(image.parent):
        files = _files(study)
        if len(files) > 1 and image in _flat(files):
            return files
    return str(image)


def _files(study: Any) -> dict[str, Any]:
    """The file of each contrast; several of one contrast stay a list, which reading the study refuses."""
    if isinstance(study, Mapping):
        return dict(study)
    found = contrast_files(Path(study)) if Path(study).is_dir() else {}
    return {name: str(paths[0]) if len(paths) == 1 else [*map(str, paths)] for name, paths in found.items()}


def _flat(files: Mapping[str, Any]) -> set[Path]:
    lists = (value if isinstance(value, list) else [value] for value in files.values())
    return {Path(path) for paths in lists for path in paths}


def _is_upload(image: Path) -> bool:
    """A file sent with a request lies alone among the temporary files of other programs."""
    return image.parent == Path(tempfile.gettempdir())
