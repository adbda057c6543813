"""One table of codes for every writer; what it leaves out gets a code of its own."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from medbundles.metadata import bundle_info
from medbundles.terminology import LONG_TEXT, SHORT_TEXT, Code, Terminology, private_code
from medbundles.zoo.find import bundle_folders

OURS = "99MEDBUNDLES"


def terms(**table: Any) -> Terminology:
    outputs = {"pred": {"channel_def": {"0": "background", "1": "11 first", "2": "111 other"}}}
    metadata = {"network_data_format": {"outputs": outputs}, "medbundles": {"terminology": table}}
    return Terminology(bundle_info(metadata))


def test_a_star_stands_for_the_first_word_of_a_label() -> None:
    table = terms(measurements={"tooth * size": {"concept": ["1", "SCT", "Size"], "segment": "*"}})
    assert table.measurement("tooth 11 size").segment == 1
    assert table.measurement("tooth 111 size").segment == 2
    assert table.measurement("tooth 1 size").segment is None
    assert table.measurement("tooth 11 size").concept == Code("1", "SCT", "Size")


def test_what_has_no_entry_gets_a_code_of_its_own_that_fits_into_dicom() -> None:
    name = "a name that is much longer than sixty-four characters, which is all that a meaning holds"
    found = terms().measurement(name).concept
    assert found == private_code(name) != private_code(name + ".")
    assert len(found.value) <= SHORT_TEXT and len(found.meaning) <= LONG_TEXT and found.scheme == OURS
    assert terms().segments[2].type.meaning == "111 other"


@pytest.mark.parametrize("folder", bundle_folders(), ids=lambda folder: folder.name)
def test_standard_codes_of_bundles_are_those_of_dicom(folder: Any) -> None:
    table = Terminology(bundle_info(folder / "configs" / "metadata.json"))
    rows = [table.measurement(name) for name in table.info.terminology["measurements"]]
    codes = [table.procedure, *(c for row in rows for c in (row.concept, row.finding, row.method))]
    codes += [c for s in table.segments.values() for c in (s.category, s.type, s.modifier, s.region)]
    known = {scheme: {v for entry in words.values() for v in entry} for scheme, words in concepts.items()}
    for code in codes:
        if code is not None and code.scheme != OURS:
            assert code.value in known[code.scheme], f"{code} is in no list of DICOM's codes"


def test_all_teeth_have_codes_of_their_own() -> None:
    (folder,) = (f for f in bundle_folders() if f.name.startswith("dental"))
    segments = Terminology(bundle_info(folder / "configs" / "metadata.json")).segments.values()
    assert len({segment.type.value for segment in segments}) == len(segments) == 32
    for segment in segments:
        side, jaw = segment.name.split(" ")[2], {"upper": "maxillary", "lower": "mandibular"}
        meaning = segment.type.meaning.lower()
        assert side in meaning and jaw[segment.name.split(" ")[1]] in meaning
        assert " ".join(segment.name.split(" ")[3:]) in meaning
