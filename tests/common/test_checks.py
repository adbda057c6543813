"""The InputError family and the check of an image against a bundle's metadata."""

import pickle

import numpy as np
import pytest

from medbundles import checks
from medbundles.checks import InputError, check_image, root_input_error

SPEC = {
    "spatial_dims": 2,
    "channels": 1,
    "modality": ["US"],
    "calibration": "optional",
    "spacing_mm": [0.02, 2.0],
    "size_px": [64, 4096],
    "value_range": [0, 65535],
    "colour": "grey_only",
}


def run(array: np.ndarray, **changes: object) -> list[str]:
    spec = SPEC | changes.pop("spec", {})
    spacing = changes.pop("spacing", (0.2,) * (array.ndim - 1))
    given = {"calibrated": True, "modality": None, "source": "some/file.png"} | changes
    return check_image(array, spec=spec, spacing=spacing, **given)


def test_a_good_frame_passes_without_warnings(frame: np.ndarray) -> None:
    assert run(frame) == []


def test_a_message_has_what_was_found_expected_the_file_and_the_advice() -> None:
    error = InputError("a\nb", expected="c\nd", source="e/f.png", advice="g")
    lines = str(error).splitlines()
    assert lines == ["a", "b", "  expected: c d", "  file: e/f.png", "  what to do: g"]
    assert (error.found, error.expected, error.source, error.advice) == ("a\nb", "c\nd", "e/f.png", "g")


def test_a_message_never_exceeds_six_lines_and_keeps_the_last_ones() -> None:
    long = "\n".join(f"line {i}" for i in range(50))
    lines = str(InputError(long, expected="x" * 10_000, source="file", advice="do")).splitlines()
    assert len(lines) == 6
    assert lines[2] == "line 49"
    assert max(map(len, lines)) < 450


def test_an_error_survives_the_way_from_a_worker_process() -> None:
    error = checks.SpacingError("zero", expected="more", source="f.nii", advice="repair")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is checks.SpacingError
    assert str(copy) == str(error)


def test_an_error_can_be_made_again_from_its_message_alone() -> None:
    assert "zero" in str(checks.SpacingError(str(checks.SpacingError("zero", advice="repair"))))


def test_the_root_error_is_found_below_the_wrappers_of_monai() -> None:
    try:
        try:
            try:
                raise checks.BlankImageError("blank", source="a.png")
            except ValueError as error:
                raise RuntimeError("applying transform") from error
        except RuntimeError:
            raise KeyError("while handling")  # noqa: B904  (the implicit chain is what is tested)
    except KeyError as error:
        found = root_input_error(error)
    assert isinstance(found, checks.BlankImageError)
    assert root_input_error(RuntimeError("other")) is None


def test_a_missing_key_of_the_spec_is_not_checked(frame: np.ndarray) -> None:
    odd = np.stack([frame[0], frame[0]]).astype(np.float32) - 1000
    assert check_image(odd, spec={}, calibrated=False, spacing=(1, 1), modality="CT", source="x") != []


def test_without_calibration_a_warning_says_that_sizes_are_pixels(frame: np.ndarray) -> None:
    (warning,) = run(frame, calibrated=False, spacing=(1.0, 1.0))
    assert "pixels" in warning
    assert "--pixel_mm" in warning


def test_a_few_outliers_of_the_value_range_are_only_a_warning(frame: np.ndarray) -> None:
    image = frame.astype(np.int16)
    image[0, 0, 0] = 30_000
    (warning,) = run(image, spec={"value_range": [0, 1000]})
    assert "percentile" in warning
    assert "30000" in warning


def test_small_drawings_in_colour_warn_or_are_refused_as_the_spec_says(frame: np.ndarray) -> None:
    (warning,) = run(frame, coloured=0.012)
    assert "1.2 %" in warning
    with pytest.raises(checks.ColourError):
        run(frame, coloured=0.012, spec={"colour": "refuse"})


def test_very_uneven_spacing_is_a_warning(frame: np.ndarray) -> None:
    (warning,) = run(frame, spacing=(0.05, 1.9))
    assert "0.05 x 1.9 mm" in warning


def filled(shape: tuple[int, ...], value: float, kind: type = np.float32) -> np.ndarray:
    """A ramp with one pixel of a special value."""
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    array.flat[5] = value
    return array


SLICES = {"spatial_dims": [2, 3]}
HU = {"value_range": [-4096, 32767], "value_span": [-10, 50]}


@pytest.mark.parametrize("shape", [(1, 70, 80), (1, 70, 80, 3), (1, 3, 80, 70), (1, 70, 80, 1)])
def test_where_a_slice_will_do_a_volume_may_have_any_number_of_slices(shape: tuple[int, ...]) -> None:
    assert run(filled(shape, 0), spec=SLICES) == []


def test_a_slice_too_small_is_refused_in_a_volume_too() -> None:
    with pytest.raises(checks.SizeError, match="every axis of a slice"):
        run(filled((1, 70, 9, 9), 0), spec=SLICES)


def test_a_time_series_is_refused_where_slices_and_volumes_will_do() -> None:
    with pytest.raises(checks.DimensionError, match="expected: a 2D or 3D image"):
        run(np.ones((1, 70, 70, 9, 4)), spec=SLICES)


def test_values_in_hounsfield_units_pass_the_span() -> None:
    assert run(filled((1, 70, 70), -1000), spec=HU) == []


@pytest.mark.parametrize("low, high", [(0, 4095), (0, 255), (0, 1), (-1, 1), (-3, 3)])
def test_values_that_were_rescaled_are_refused_by_the_span(low: float, high: float) -> None:
    with pytest.raises(checks.ValueRangeError, match="-10 or less to 50 or more"):
        run(np.linspace(low, high, 4900).reshape(1, 70, 70), spec=HU)


BAD = {
    "a CT given to ultrasound": (
        np.ones((1, 70, 70)),
        {"modality": "CT"},
        checks.ModalityError,
        "modality US",
    ),
    "a volume": (np.ones((1, 70, 70, 9)), {}, checks.DimensionError, "70 x 70 x 9"),
    "an ultrasound clip": (np.ones((1, 70, 80, 31)), {"modality": "US"}, checks.DimensionError, "31 frames"),
    "a frame given to a 3D bundle": (
        np.ones((1, 70, 70)),
        {"spec": {"spatial_dims": 3}},
        checks.DimensionError,
        "expected: a 3D image",
    ),
    "two channels": (np.ones((2, 70, 70)), {}, checks.ChannelError, "2 channels"),
    "RGB": (np.ones((3, 70, 70)), {}, checks.ColourError, "RGB"),
    "RGBA": (np.ones((4, 70, 70)), {}, checks.ColourError, "RGBA"),
    "too small": (filled((1, 63, 70), 0), {}, checks.SizeError, "64 to 4096"),
    "too large": (filled((1, 70, 70), 0), {"spec": {"size_px": [8, 60]}}, checks.SizeError, "crop"),
    "NaN": (filled((1, 70, 70), np.nan), {}, checks.NotFiniteError, "1 NaN"),
    "Inf": (filled((1, 70, 70), -np.inf), {}, checks.NotFiniteError, "1 infinite"),
    "constant": (np.full((1, 70, 70), 7, np.uint8), {}, checks.BlankImageError, "value 7"),
    "negative values": (-filled((1, 70, 70), 1), {}, checks.ValueRangeError, "0 to 65535"),
    "complex": (np.ones((1, 70, 70), complex), {}, checks.ValueRangeError, "complex"),
    "no pixels": (np.ones((1, 0, 70)), {}, checks.EmptyInputError, "0 x 70"),
    "metres per pixel": (
        filled((1, 70, 70), 0),
        {"spacing": (200, 200)},
        checks.SpacingError,
        "200 x 200 mm",
    ),
    "zero spacing": (filled((1, 70, 70), 0), {"spacing": (0.0, 0.2)}, checks.SpacingError, "0 x 0.2 mm"),
    "no spacing where needed": (
        filled((1, 70, 70), 0),
        {"calibrated": False, "spec": {"calibration": "required"}},
        checks.SpacingError,
        "--pixel_mm",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_image_raises_its_own_error_that_names_the_file(name: str) -> None:
    array, changes, kind, words = BAD[name]
    with pytest.raises(kind) as caught:
        run(array, **changes)
    message = str(caught.value)
    assert words in message
    assert "some/file.png" in message
    assert "what to do: " in message
    assert len(message.splitlines()) <= 6
