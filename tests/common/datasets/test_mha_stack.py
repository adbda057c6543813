"""Frames out of MetaImage stacks written by itk, whole and compressed."""

from pathlib import Path

import numpy as np
import pytest

from medbundles.checks import UnreadableFileError
from medbundles.datasets.mha_stack import MhaStack

FRAMES = (np.arange(5 * 7 * 9) % 251).astype(np.uint8).reshape(5, 7, 9)  # (frames, y, x)


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    import itk

    image = itk.image_from_array(FRAMES)
    image.SetSpacing([0.28, 0.3, 1.0])
    itk.imwrite(image, str(tmp_path / "sweep.mha"), compression=request.param)
    return tmp_path / "sweep.mha"


def test_size_and_spacing_are_x_y_frames(path: Path) -> None:
    stack = MhaStack.open(path)
    assert stack.size == (9, 7, 5)
    assert stack.spacing == pytest.approx((0.28, 0.3, 1.0))


def test_any_frame_is_read_as_x_y(path: Path) -> None:
    stack = MhaStack.open(path)
    for index in (0, 3, 4):
        assert np.array_equal(stack.frame(index), FRAMES[index].T)


def test_streaming_gives_every_frame_in_order(path: Path) -> None:
    assert np.array_equal(np.stack(list(MhaStack.open(path).frames())), FRAMES.transpose(0, 2, 1))


def test_selected_frames_come_in_order_whatever_the_order_asked(path: Path) -> None:
    found = list(MhaStack.open(path).select([4, 1, 4]))
    assert [index for index, _ in found] == [1, 4]
    assert np.array_equal(found[1][1], FRAMES[4].T)


def test_a_truncated_sweep_is_refused_by_name(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UnreadableFileError, match=r"sweep\.mha"):
        list(MhaStack.open(path).frames())


def test_a_frame_that_does_not_exist_is_refused(path: Path) -> None:
    with pytest.raises(IndexError, match="0 to 4"):
        MhaStack.open(path).frame(5)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"ObjectType = Image\nDimSize = 2 2\n"])
def test_what_is_no_sweep_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mha").write_bytes(content)
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        MhaStack.open(tmp_path / "x.mha")
