"""Which types of file each bundle writes: segmentations where it segments, and nothing that it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medbundles.errors import OverrideError, root_input_error
from medbundles.io import write_image
from medbundles.metadata import bundle_info
from medbundles.saving import SaveImageWholed
from medbundles.zoo.find import bundle_folders
from medbundles.zoo.workflows import INFERENCE, open_workflow


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_image(np.zeros((1, 4, 4, 4), np.int16), tmp_path / "in" / "a.nii.gz", affine=np.eye(4))
    return tmp_path / "in"


def postprocessing(folder: Path, source: Path, extension: str) -> list:
    """Builds what a run would do with its results."""
    paths = {"dataset_dir": str(source), "output_dir": str(source.parent / "out")}
    workflow = open_workflow(folder, INFERENCE, {**paths, "output_ext": extension}, logging_file=False)
    return list(workflow.parser.get_parsed_content("postprocessing").transforms)


def refusal(folder: Path, source: Path, extension: str) -> str:
    """Returns what a user is told, whatever MONAI wraps around it."""
    with pytest.raises(RuntimeError) as refused:
        postprocessing(folder, source, extension)
    error = root_input_error(refused.value)
    assert isinstance(error, OverrideError)
    return error.found


@pytest.mark.parametrize("folder", bundle_folders(), ids=lambda folder: folder.name)
def test_bundles_that_segment_write_for_3d_slicer_and_others_refuse(folder: Path, source: Path) -> None:
    if bundle_info(folder / "configs" / "metadata.json").output["kind"] == "labels":
        writers = [t for t in postprocessing(folder, source, ".seg.nrrd") if isinstance(t, SaveImageWholed)]
        assert [writer.output_ext for writer in writers] == [".seg.nrrd"]
        return
    assert "not a segmentation" in refusal(folder, source, ".seg.nrrd")


@pytest.mark.parametrize("folder", bundle_folders(), ids=lambda folder: folder.name)
def test_a_volume_is_not_asked_for_as_a_picture(folder: Path, source: Path) -> None:
    if bundle_info(folder / "configs" / "metadata.json").input["spatial_dims"] == 2:
        assert postprocessing(folder, source, ".png")
        return
    assert "8-bit pictures" in refusal(folder, source, ".png")
