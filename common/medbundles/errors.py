"""The `InputError` family: every problem that a user's input can have is one subclass.

A message says in at most six lines what was found, what was expected, which file, and what to do.
"""

from collections.abc import Sequence
from pathlib import Path

MAX_LINES = 6
MAX_LINE_LENGTH = 400


class InputError(ValueError):
    """A user's input cannot be used; the message is complete, short and free of jargon."""

    def __init__(
        self, found: str, *, expected: str = "", source: str | Path | None = None, advice: str = ""
    ) -> None:
        self.found = found
        self.expected = expected
        self.source = "" if source is None else str(source)
        self.advice = advice
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [
            ("", self.found),
            ("  expected: ", self.expected),
            ("  file: ", self.source),
            ("  what to do: ", self.advice),
        ]
        lines = [prefix + _one_line(text) for prefix, text in parts[1:] if text]
        return "\n".join([*_last_lines(self.found, MAX_LINES - len(lines)), *lines])

    def __reduce__(self) -> tuple:
        # Keyword-only arguments would be lost when a worker process sends the error to its parent.
        return _rebuild, (type(self), self.found, self.expected, self.source, self.advice)


class MissingInputError(InputError):
    """The file, folder or study does not exist."""


class EmptyInputError(InputError):
    """The folder holds no image, or the file has no content."""


class UnreadableFileError(InputError):
    """The file is truncated, corrupt, unsafe or of an unknown format."""


class ChangingInputError(InputError):
    """The file or folder was written to while it was read."""


class DimensionError(InputError):
    """2D was given where 3D is expected, or the reverse, or a clip where one frame is expected."""


class ChannelError(InputError):
    """The number of channels is wrong."""


class ColourError(InputError):
    """The picture has real colour where grey values are expected."""


class NotFiniteError(InputError):
    """The image contains NaN or infinite values."""


class BlankImageError(InputError):
    """All pixels have the same value."""


class SpacingError(InputError):
    """The pixel spacing is zero, negative, absurd, or missing where it is required."""


class SizeError(InputError):
    """The image is too small or too large."""


class ValueRangeError(InputError):
    """The values cannot be the quantity that the bundle works on."""


class ModalityError(InputError):
    """The image comes from another kind of scanner."""


class GridError(InputError):
    """The header contradicts itself, or two images that belong together have different grids."""


class MissingContrastError(InputError):
    """One of the contrasts that the bundle needs was not given."""


class DicomSeriesError(InputError):
    """The DICOM files are not one complete, evenly spaced series."""


class OutputError(InputError):
    """Results cannot be written: the disk is full, or the folder may not be written to."""


class BusyOutputError(InputError):
    """Another process writes its results into the folder."""


class DicomOutputError(InputError):
    """The result cannot be written as DICOM; the message says why."""


class AddressError(InputError):
    """The address of a study in an archive is not of the form, or not safe."""


class ArchiveUnreachableError(InputError):
    """An archive does not answer, or fails whatever it is asked."""


class ArchiveAccessError(InputError):
    """An archive refuses a user, or one without credentials."""


class ArchiveAnswerError(InputError):
    """An archive answers otherwise than DICOMweb says, or sends something else than was asked for."""


class ArchiveStoreError(InputError):
    """Results were computed, but an archive did not take all of them."""


class OverrideError(InputError):
    """An option on the command line does not exist or has the wrong type."""


class BundleError(InputError):
    """The bundle does not exist, or its files do not fit together."""


class DeviceError(InputError):
    """The device does not exist on this machine."""


class MemoryLimitError(InputError):
    """The memory that may be used is not enough for the smallest step of the work."""


class PackageError(InputError):
    """A package that only some tasks need is not installed."""


class IntegrityError(InputError):
    """A packed bundle is not what was packed: a file was changed, added or removed."""


class SignatureError(InputError):
    """A signature or its key is missing, damaged, of another key, or does not belong to the content."""


class ExportError(InputError):
    """A network cannot be written in a format, or answers differently there."""


class FederationError(InputError):
    """A federated training cannot go on: somebody sent, or asks for, something else than was agreed."""


class DatasetError(InputError):
    """The folder is not a data set of the expected layout."""


def _rebuild(kind: type[InputError], found: str, expected: str, source: str, advice: str) -> InputError:
    return kind(found, expected=expected, source=source, advice=advice)


def _one_line(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= MAX_LINE_LENGTH else line[: MAX_LINE_LENGTH - 3] + "..."


def _last_lines(text: str, count: int) -> list[str]:
    """The last `count` lines: a wrapped error carries the real cause at its end."""
    lines = [_one_line(line) for line in str(text).splitlines() if line.strip()]
    return lines[-count:] or ["unusable input"]


def root_input_error(error: BaseException | None) -> InputError | None:
    """Returns the deepest `InputError` in the chain of causes; MONAI wraps errors several times."""
    found, seen = None, set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found = error if isinstance(error, InputError) else found
        error = error.__cause__ or error.__context__
    return found


def describe_shape(shape: Sequence[int]) -> str:
    """Returns e.g. `640 x 480`."""
    return " x ".join(str(n) for n in shape)


def describe_spacing(spacing: Sequence[float]) -> str:
    """Returns e.g. `0.2 x 0.2 mm`."""
    return " x ".join(f"{s:.4g}" for s in spacing) + " mm"


def bad_spacing(spacing: Sequence[float], source: str | Path) -> SpacingError:
    """Returns the error for a spacing that cannot be one."""
    return SpacingError(
        f"a pixel spacing of {describe_spacing(spacing)}",
        expected="positive, finite numbers",
        source=source,
        advice="correct the header, or state the size of a pixel in millimetres: --pixel_mm 0.2",
    )
