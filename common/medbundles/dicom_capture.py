"""The picture of a case as a DICOM secondary capture, for viewers that show nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medbundles.dicom_derived import SHORT_TEXT
from medbundles.dicom_objects import KEY_IMAGE, RESEARCH, Origin, coded, highdicom, instance_of, joined
from medbundles.dicom_pixels import without_pydicom_messages
from medbundles.preview_files import pixels_without_title
from medbundles.terminology import Code

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")


@without_pydicom_messages
def key_image(picture: Path, origin: Origin, remark: str = "") -> Any:
    """Returns a preview, outlines and calipers drawn into it, as an image of the origin's study.

    What a file was called may be a patient's name, so the title stays away. What else is burned in is what
    the origin shows: the key image says of it what the origin says, and nothing where that says nothing.
    """
    from pydicom.dataset import Dataset

    dataset = highdicom().sc.SCImage.from_ref_dataset(
        origin.images[0],
        pixel_array=pixels_without_title(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **origin.identity(KEY_IMAGE),
    )
    dataset.PatientOrientation = dataset.Laterality = ""  # of a frame by hand they are not known
    dataset.ConversionType = "WSD"
    if burned_in := origin.series.headers[0].get("BurnedInAnnotation"):
        dataset.BurnedInAnnotation = burned_in
    done = f"result drawn by medbundles {origin.name} {origin.version}, {RESEARCH}"
    dataset.DerivationDescription = joined([done, remark], SHORT_TEXT)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance_of(origin.images[0])
    item.PurposeOfReferenceCodeSequence = [coded(SOURCE_IMAGE)]
    dataset.SourceImageSequence = [item]
    return dataset
