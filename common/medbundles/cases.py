"""Which files of a folder, zip or DICOM series are cases, and how their results are called."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medbundles.archives import members, split_archive
from medbundles.dicom_pixels import MAGIC, header_of, is_dicom, without_pydicom_messages
from medbundles.errors import DimensionError, EmptyInputError, InputError, MissingInputError
from medbundles.formats import DICOM, METAIMAGE, NRRD, PICTURES, SEGMENTATION, SUFFIXES, suffix_of

# Files that lie beside images and are not images; anything else in a folder is a case, and fails aloud if
# unreadable.
BESIDE = {
    ".csv",
    ".tsv",
    ".json",
    ".txt",
    ".md",
    ".log",
    ".html",
    ".xml",
    ".yaml",
    ".yml",
    ".pdf",
    ".ini",
    ".db",
}
BESIDE |= {".raw", ".zraw", ".py", ".sh", ".xlsx", ".docx", ".bval", ".bvec", ".tmp"}
UNSAFE_IN_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


def find_cases(path: str | Path, *, spatial_dims: int | Sequence[int]) -> list[dict[str, str]]:
    """Returns the cases of a folder, file or zip as `[{"image": path}, ...]`, sorted by name.

    A folder is not searched recursively. For a 3D bundle the DICOM files of a folder are one case, the
    folder, and a subfolder of DICOM files is a case too; for a 2D bundle every DICOM file is one. For a
    bundle that takes both, `[2, 3]`, a folder with hardly more files than series is a collection of slices.
    Hidden files and tables, texts or 3D Slicer's segmentations beside the images are passed over; every other
    file is a case, so that a broken one is reported. An image in a zip is named like `a.zip/inside/name.png`,
    which `read_image` understands.

    Raises:
        MissingInputError: there is no such path.
        EmptyInputError: there is no image.
    """
    path, collections = Path(path).expanduser(), not isinstance(spatial_dims, int) and 2 in spatial_dims
    spatial_dims = spatial_dims if isinstance(spatial_dims, int) else max(spatial_dims)
    if (inside := split_archive(path)) is not None:
        cases = _cases_in_zip(*inside, spatial_dims=spatial_dims)
    elif existing(path).is_dir():
        cases = _cases(path, spatial_dims)
        if collections and path in cases and _is_collection(path):
            cases = sorted({*cases, *_cases(path, 2)} - {path})
        if spatial_dims == 3:
            folders = [p for p in sorted(path.iterdir()) if p.is_dir() and not _hidden(p.name)]
            cases += [p for p in folders if _cases(p, 3) == [p]]
    else:
        cases = [path]
    if not cases:
        raise _nothing_found(path)
    return [{"image": str(case)} for case in cases]


def _nothing_found(path: Path) -> EmptyInputError:
    below = next((p.parent for p in sorted(path.rglob("*")) if suffix_of(p)), None) if path.is_dir() else None
    return EmptyInputError(
        "no image here",
        expected="files of type " + ", ".join(s.lstrip(".") for s in SUFFIXES),
        source=path,
        advice=f"pass the folder that holds the images: {below}"
        if below
        else "pass the folder that holds the images",
    )


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name.upper() == "DICOMDIR"


def _cases(folder: Path, spatial_dims: int) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not _hidden(p.name))
    kinds = {p: _kind(p.name, lambda p=p: is_dicom(p)) for p in files}
    return _grouped(kinds, folder, spatial_dims)


@without_pydicom_messages
def _is_collection(folder: Path) -> bool:
    """Whether the DICOM files of a folder are single slices of many series, not the slices of one."""
    files = [p for p in _cases(folder, 2) if suffix_of(p) in DICOM or not suffix_of(p)]
    series = {_series_of(path) for path in files}
    return len(series) > 1 and len(files) < 2 * len(series)


def _series_of(path: Path) -> str:
    try:
        header = header_of(path, path, ("Rows", "Columns", "SeriesInstanceUID"))
    except InputError:  # reading the case says what is wrong with it
        return ""
    return "" if header is None else str(header.get("SeriesInstanceUID", ""))


def _cases_in_zip(archive: Path, member: str, *, spatial_dims: int) -> list[Path]:
    heads = {name: head for name, head in members(archive).items() if name.startswith(member.strip("/"))}
    kinds: dict[Path, dict[Path, str]] = {}
    for name in sorted(heads):
        place = archive / name
        if not any(_hidden(part) for part in Path(name).parts):
            kind = _kind(place.name, lambda head=heads[name]: head.endswith(MAGIC))
            kinds.setdefault(place.parent, {})[place] = kind
    return [case for folder, files in kinds.items() for case in _grouped(files, folder, spatial_dims)]


def _kind(name: str, is_dicom: Callable[[], bool]) -> str:
    """`dicom`, `image` or "" for a file that is none of a case's business."""
    suffix = suffix_of(name)
    if name.lower().endswith(SEGMENTATION):
        return ""
    if suffix in DICOM or (not suffix and Path(name).suffix.lower() not in BESIDE and is_dicom()):
        return "dicom"
    known = suffix or Path(name).suffix
    return "image" if known and known.lower() not in BESIDE else ""


def _grouped(kinds: dict[Path, str], folder: Path, spatial_dims: int) -> list[Path]:
    frames = [path for path, kind in kinds.items() if kind == "dicom"]
    images = [path for path, kind in kinds.items() if kind == "image"]
    if spatial_dims == 3 and len(frames) > 1:
        frames = [folder]
    return sorted([*frames, *images])


def case_name(path: str | Path) -> str:
    """Returns the name of a case for result files: without suffix, odd characters replaced."""
    name = Path(path).name or Path(path).resolve().name
    name = name[: len(name) - len(suffix_of(name))] if suffix_of(name) else name
    return UNSAFE_IN_NAMES.sub("_", name).strip(" .") or "image"


def result_extension(source: str | Path) -> str:
    """Returns the extension of results on this input's grid: pictures give .png, DICOM gives .nii.gz."""
    suffix = suffix_of(source)
    if suffix in PICTURES:
        return ".png"
    if suffix in METAIMAGE:
        return ".mha"
    return ".nrrd" if suffix in NRRD else ".nii.gz"


def existing(path: Path) -> Path:
    """Returns the path, or raises MissingInputError."""
    if not path.exists():
        raise MissingInputError(
            "no such file or folder",
            expected="an image file or a folder of images",
            source=path,
            advice="check the spelling; a relative path starts at the current folder",
        )
    return path


def only_case(path: Path, source: Path) -> Path:
    """The one image in an unpacked folder; a folder of DICOM files counts as one."""
    if path.is_file():
        return path
    cases = [case for folder in [path, *_folders(path)] for case in _cases(folder, spatial_dims=3)]
    if len(cases) == 1:
        return cases[0]
    if not cases:
        raise _nothing_found(source)
    raise DimensionError(
        f"{len(cases)} images in one archive",
        expected="one image or one DICOM series",
        source=source,
        advice="pass one of them, for example " + str(source / cases[0].relative_to(path)),
    )


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_dir() and not _hidden(p.name))
