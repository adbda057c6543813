"""Names of contrasts: every public convention is read, and what is ambiguous is not."""

import pytest

from medbundles.contrasts import (
    CONTRASTS,
    contrast_of,
    contrast_of_file,
    contrast_of_series,
    in_order,
    is_label_name,
    is_synthetic_name,
    without_contrast,
)

NAMES = {
    "t1": [
        *("BraTS-GLI-00001-000-t1n", "Brats18_2013_2_1_t1", "VSD.Brain.XX.O.MR_T1.54513", "T1w", "T1WI"),
        *("T1_N4_noneck_regtoFLAIR_brain", "sub-01_T1w", "t1_pre", "T1 without contrast", "T1 w/o contrast"),
        *("non-contrast T1", "post_treatment_t1n", "patient_post-op_T1", "mprage", "T1-FLAIR", "T1_to_FLAIR"),
        *("site_T2_case01-t1n", "sT1W_3D_TFE", "t1_nativ"),
    ],
    "t1gd": [
        *("BraTS-GLI-00001-000-t1c", "Brats18_2013_2_1_t1ce", "VSD.Brain.XX.O.MR_T1c.54514", "T1+C", "T1-Gd"),
        *("T1POST_N4_noneck_regtoFLAIR_brain", "UPENN-GBM-00001_11_T1GD", "UCSF-PDGM-0004_T1c_bias", "T1 C"),
        *(
            "sub-01_ce-gadolinium_T1w",
            "t1_ce",
            "t1 post",
            "T1 with contrast",
            "mprage_post",
            "t1Post",
            "T1 km",
        ),
        *("AXT1POST", "T1 CE", "t1c+"),
    ],
    "t2": [
        "BraTS-GLI-00001-000-t2w",
        "Brats18_2013_2_1_t2",
        "VSD.Brain.XX.O.MR_T2.54515",
        "T2",
        "t2w_tse_ax",
    ],
    "flair": [
        *("BraTS-GLI-00001-000-t2f", "Brats18_2013_2_1_flair", "VSD.Brain.XX.O.MR_Flair.54512", "T2-FLAIR"),
        *("FLAIR_N4_noneck_regtoFLAIR_brain_regtoMNI", "sub-01_space-T1w_FLAIR", "FLAIR_reg_T1", "T2FLAIR"),
    ],
}
DESCRIPTIONS = {
    "AX T1 POST": "t1gd",
    "AX T1 SE +C": "t1gd",
    "t1_mprage_sag_p2_iso_KM": "t1gd",
    "Ax T1 FLAIR": "t1",
    "Ax T1 FLAIR POST": "t1gd",
    "Ax T1 Pre Contrast": "t1",
    "AX T2 FLAIR": "flair",
    "t2_tirm_tra_dark-fluid": "flair",
    "AX FLAIR POST": "flair",
    "AX T2 FSE": "t2",
    "T2W_TSE": "t2",
    "AX T2 GRE": None,
    "T2*": None,
    "T1 PRE AND POST": None,
    "T1 SUB": None,
    "AX PD T2": None,
    "AX DWI": None,
    "LOCALIZER": None,
}


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_names_of_all_conventions_tell_the_contrast(contrast: str) -> None:
    assert {name: contrast_of(name) for name in NAMES[contrast]} == dict.fromkeys(NAMES[contrast], contrast)


@pytest.mark.parametrize(
    "name", ["t1map", "T2*", "t2star", "t1rho", "swi", "t11", "BRATS_001", "knee", "set1"]
)
def test_other_names_tell_no_contrast(name: str) -> None:
    assert contrast_of(name) is None


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_series_descriptions_tell_the_contrast_or_nothing(text: str) -> None:
    assert contrast_of_series({"SeriesDescription": text}) == DESCRIPTIONS[text]


def test_an_agent_in_the_header_makes_a_silent_t1_an_enhanced_one_and_no_other() -> None:
    agent = {"ContrastBolusAgent": "Gadovist"}
    assert contrast_of_series({"SeriesDescription": "AX T1", **agent}) == "t1gd"
    assert contrast_of_series({"SeriesDescription": "AX T1 PRE", **agent}) == "t1"
    assert contrast_of_series({"SeriesDescription": "AX T2", **agent}) == "t2"
    assert contrast_of_series({"SeriesDescription": "AX T1", "ContrastBolusAgent": "NONE"}) == "t1"


@pytest.mark.parametrize(
    ("sequence", "repetition", "echo", "inversion", "contrast"),
    [
        ("SE", 550, 12, None, "t1"),
        ("SE", 4500, 95, None, "t2"),
        ("IR", 9000, 120, 2500, "flair"),
        ("GR", 8, 3, 900, "t1"),
        ("GR", 700, 20, None, None),
        ("SE", 3000, 20, None, None),
        ("IR", 5000, 60, 150, "t2"),
    ],
)
def test_where_the_description_is_silent_the_times_tell(
    sequence: str, repetition: float, echo: float, inversion: float | None, contrast: str | None
) -> None:
    header = {"ScanningSequence": sequence, "RepetitionTime": repetition, "EchoTime": echo}
    assert contrast_of_series(header | {"InversionTime": inversion}) == contrast


def test_segmentations_and_synthetic_images_are_no_contrasts() -> None:
    for name in ("x_t1_seg.nii.gz", "a_t1_synthetic.nii.gz", "t2_brain_mask.nii.gz", "flair_imputed.nii"):
        assert contrast_of_file(name) is None
    for name in (
        "x_seg",
        "W39_1998.09.19_Segm",
        "VSD.Brain_3more.XX.O.OT.54517",
        "x-seg_silver",
        "GOLD_STANDARD_N4",
    ):
        assert is_label_name(name)
    assert is_synthetic_name("case_flair_synthetic")
    assert contrast_of_file("dir/x_t1ce.nii.gz") == "t1gd"


def test_files_of_one_case_share_what_is_left_of_their_names() -> None:
    names = ("sub-01_ce-gadolinium_T1w", "sub-01_T1w", "sub-01_space-T1w_FLAIR", "sub-01_T2w")
    assert {without_contrast(name) for name in names} == {"sub 01"}
    assert without_contrast("site_T2_case01-t1n") == without_contrast("site_T2_case01-t1c")


def test_contrasts_come_in_one_order() -> None:
    assert in_order(["flair", "t1gd", "t1"]) == ["t1", "t1gd", "flair"]
    with pytest.raises(ValueError, match="pd"):
        in_order(["pd"])
