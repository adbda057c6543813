"""The header of a derived slice: what stays, what is new, and the bits that hold its values."""

import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medbundles.dicom_derived import Maker, PixelFormat, derived_header, derived_uid, pixel_format

MAKER = Maker("ct_denoising", "0.2.0", "denoised")
MOMENT = datetime.datetime(2024, 5, 6, 7, 8, 9)
PLAIN = PixelFormat(-1024, False, 12)


def header(**attributes: object) -> Dataset:
    """A CT slice as scanners write it: unsigned, 12 bits, slope 1, intercept -1024."""
    made = Dataset()
    made.Modality, made.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4", "1.2.3"
    made.FrameOfReferenceUID, made.SeriesNumber, made.SeriesDescription = "1.2.9", 3, "THORAX 5.0 B30f"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    made.BitsStored, made.PixelRepresentation, made.RescaleSlope, made.RescaleIntercept = 12, 0, 1, -1024
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def derived(source: Dataset, form: PixelFormat = PLAIN, maker: Maker = MAKER) -> Dataset:
    return derived_header(source, maker, series_uid="2.25.7", form=form, moment=MOMENT)


def test_identity_is_new_and_study_and_place_stay() -> None:
    made = derived(header())
    assert made.SeriesInstanceUID == "2.25.7"
    assert made.SOPInstanceUID.startswith("2.25.")
    assert (made.StudyInstanceUID, made.FrameOfReferenceUID, made.SeriesNumber) == ("1.2.3", "1.2.9", 1003)
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_the_source_header_is_not_touched() -> None:
    source = header(WindowCenter=40)
    source.add_new((0x0009, 0x0010), "LO", "VENDOR")
    before = str(source)
    derived(source)
    assert str(source) == before


def test_a_viewer_sees_that_it_is_derived_by_whom_and_from_what() -> None:
    made = derived(header(DerivationDescription="resampled"))
    assert list(made.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert made.SeriesDescription == "THORAX 5.0 B30f + denoised (medbundles)"
    assert made.DerivationDescription == (
        "resampled; denoised by medbundles ct_denoising 0.2.0, research use only"
    )
    credit = made.ContributingEquipmentSequence[-1]
    assert (credit.ManufacturerModelName, credit.SoftwareVersions) == ("ct_denoising", "0.2.0")
    assert (made.InstanceCreationDate, made.ContentTime) == ("20240506", "070809")


def test_a_synthetic_input_is_named_in_the_description() -> None:
    maker = Maker("b", "1.0.0", "imputed", "synthetic input: t1c")
    assert derived(header(), maker=maker).DerivationDescription.endswith("synthetic input: t1c")


def test_a_long_description_is_cut_to_what_dicom_allows_and_none_is_no_plus() -> None:
    made = derived(header(SeriesDescription="x" * 64))
    assert len(made.SeriesDescription) == 64
    assert made.SeriesDescription.endswith(" + denoised (medbundles)")
    assert derived(header(SeriesDescription="")).SeriesDescription == "denoised (medbundles)"


def test_earlier_equipment_stays_listed() -> None:
    earlier = Dataset()
    earlier.Manufacturer = "another"
    made = derived(header(ContributingEquipmentSequence=[earlier]))
    assert [item.Manufacturer for item in made.ContributingEquipmentSequence] == ["another", "medbundles"]


def test_private_tags_go_even_inside_sequences() -> None:
    source, inner = header(), Dataset()
    source.add_new((0x0009, 0x0010), "LO", "VENDOR")
    source.add_new((0x0009, 0x1001), "LO", "Secret^Person")
    inner.add_new((0x0011, 0x0010), "LO", "VENDOR")
    inner.CodeValue = "1"
    source.ProcedureCodeSequence = [inner]
    made = derived(source)
    assert not any(element.tag.is_private for element in made.iterall())
    assert made.ProcedureCodeSequence[0].CodeValue == "1"


def test_what_spoke_of_the_old_pixels_goes() -> None:
    source = header(SmallestImagePixelValue=0, LargestImagePixelValue=4000, IconImageSequence=[Dataset()])
    source.add_new((0x6000, 0x3000), "OW", b"\0\0")
    made = derived(source)
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "IconImageSequence"):
        assert name not in made
    assert (0x6000, 0x3000) not in made


def test_the_window_stays() -> None:
    made = derived(header(WindowCenter=[40, -600], WindowWidth=[400, 1500]))
    assert (list(made.WindowCenter), list(made.WindowWidth)) == ([40, -600], [400, 1500])


def test_the_padding_value_stays_only_where_it_still_means_the_same() -> None:
    source = header(PixelPaddingValue=63536)
    assert derived(source).PixelPaddingValue == 63536
    assert "PixelPaddingValue" not in derived(source, PixelFormat(-1024, True, 16))
    assert "PixelPaddingValue" not in derived(header(PixelPaddingValue=0, RescaleSlope=2))


def test_a_damaged_element_is_left_out() -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    source = header()
    source[0x00181310] = RawDataElement(Tag(0x00181310), "US", 3, b"\1\0\0", 0, False, True)
    assert "AcquisitionMatrix" not in derived(source)


def test_pixels_that_were_once_compressed_with_loss_stay_declared() -> None:
    source = header()
    source.ensure_file_meta()
    source.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    assert derived(source).LossyImageCompression == "01"
    source.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    assert "LossyImageCompression" not in derived(source)


@pytest.mark.parametrize(
    ("attributes", "values", "form"),
    [
        ({}, (-1024, 3071), (-1024, False, 12)),
        ({}, (-1024, 3072), (-1024, False, 16)),
        ({}, (-1025, 100), (-1024, True, 16)),
        ({}, (-3024, 32767), (0, True, 16)),
        ({"PixelRepresentation": 1, "BitsStored": 16}, (-3024, 3000), (-1024, True, 16)),
        ({"RescaleIntercept": 0, "PixelRepresentation": 1, "BitsStored": 12}, (-1000, 2047), (0, True, 12)),
        ({"RescaleSlope": 2}, (-1024, 3071), (-1024, False, 12)),
        ({"RescaleSlope": "1.000244"}, (-1024, 3071), (-1024, False, 12)),
        ({"RescaleIntercept": "-1000.5"}, (-1000, 1000), (-1024, False, 12)),
        ({"Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": 0}, (0, 4095), (0, False, 12)),
    ],
)
def test_values_get_the_nearest_format_that_holds_them_all(
    attributes: dict[str, object], values: tuple[int, int], form: tuple[int, bool, int]
) -> None:
    assert pixel_format([header(**attributes)], *values) == PixelFormat(*form)


def test_slices_that_are_scaled_differently_share_one_new_format() -> None:
    slices = [header(RescaleIntercept=-1000), header(RescaleIntercept=-1010)]
    assert pixel_format(slices, -1000, 2000) == PixelFormat(-1024, False, 12)


def test_values_beyond_16_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        pixel_format([header()], -40000, 40000)


@pytest.mark.parametrize("form", [PLAIN, PixelFormat(-1024, True, 16), PixelFormat(0, True, 16)])
def test_stored_values_and_header_give_the_values_back(tmp_path: Path, form: PixelFormat) -> None:
    values = np.arange(-1000, -1000 + 12 * 10).reshape(10, 12)
    source = header(PhotometricInterpretation="MONOCHROME2")
    made = derived(source, form)
    made.Columns, made.Rows = values.shape
    made.add_new("PixelData", "OW", form.bytes_of(values))
    made.ensure_file_meta()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    read = pydicom.dcmread(tmp_path / "a.dcm")
    assert read.BitsAllocated == 16
    assert read.HighBit == read.BitsStored - 1
    back = read.pixel_array * float(read.RescaleSlope) + float(read.RescaleIntercept)
    assert np.array_equal(back.T, values)


def test_uids_follow_from_their_parts_and_are_valid() -> None:
    uid = derived_uid("1.2.3", "bundle", "0.1.0")
    assert uid == derived_uid("1.2.3", "bundle", "0.1.0")
    assert uid != derived_uid("1.2.3", "bundle", "0.1.1")
    assert pydicom.uid.UID(uid).is_valid
    assert len(uid) <= 64


def test_two_slices_of_one_series_get_two_uids() -> None:
    uids = {derived(header(SOPInstanceUID=f"1.2.3.4.{k}")).SOPInstanceUID for k in range(3)}
    assert len(uids) == 3
