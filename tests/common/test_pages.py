"""The results page stands alone: everything inside, no network, every word escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from medbundles import pages
from medbundles.pages import earlier_views, write_index
from medbundles.reports import case_result

RUN = {"bundle": "disc_segmentation", "version": "0.3.1", "device": "cpu"}
AC = {"name": "AC", "value": 258.3, "unit": "mm"}
HC = {"name": "HC", "value": None, "unit": "mm", "reason": "No head was found."}


def page(tmp_path: Path, **row: object) -> str:
    Image.new("RGB", (4, 3)).save(tmp_path / "a b_preview.png")
    case = {
        "input": "in/a b.png",
        "outputs": {"preview": "a b_preview.png"},
        "measurements": [AC, HC],
        "warnings": ["not calibrated"],
    }
    result = case_result(case, status="ok", run=RUN) | {"title": "Discs"} | row
    return write_index(tmp_path, [result], title="Demo", intro="One case.").read_text(encoding="utf-8")


class Balance(HTMLParser):
    """Collects tags that are opened and not closed, or closed and not opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_well_formed_and_stands_alone(tmp_path: Path) -> None:
    text = page(tmp_path)
    checked = Balance(text)
    assert not checked.open
    assert not checked.wrong
    assert "data:image/png;base64," in text
    assert not re.search(r"<link|https?://|url\(|(src|href)=[\"'](?!data:|in|a%20b|out)", text)
    assert "default-src 'none'" in text


def test_measured_stands_beside_expected_with_the_difference(tmp_path: Path) -> None:
    text = page(tmp_path, expected=[{"name": "AC", "value": 250.0, "unit": "mm"}], tolerance=0.05)
    assert "258.3 mm" in text
    assert "250.0 mm" in text
    assert '<td class="n good">+3.3 %</td>' in text


def test_a_difference_beyond_the_tolerance_stands_out(tmp_path: Path) -> None:
    text = page(tmp_path, expected=[{"name": "AC", "value": 300.0, "unit": "mm"}], tolerance=0.05)
    assert '<td class="n bad">&minus;13.9 %</td>' in text


def test_millimetres_are_not_compared_with_pixels(tmp_path: Path) -> None:
    text = page(tmp_path, expected=[{"name": "AC", "value": 1250.0, "unit": "px"}], tolerance=0.05)
    assert " %" not in text.split("<tbody>")[1]


def test_undefined_values_show_their_reason_and_warnings_are_shown(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "No head was found." in text
    assert "not calibrated" in text


def test_file_names_and_errors_cannot_inject_markup(tmp_path: Path) -> None:
    text = page(tmp_path, input="<b>&.png", status="failed", error="<script>alert(1)</script>", outputs={})
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert "&lt;b&gt;&amp;.png" in text


def test_links_work_for_names_with_spaces_and_other_folders(tmp_path: Path) -> None:
    assert 'href="out/a%20b_preview.png"' in page(tmp_path, folder="out")


VIEW = {"volume": {"layers": [{"title": "</script><b>", "nifti": "AAAA"}], "labels": None}}


def test_views_are_data_that_no_name_can_break_out_of_and_come_back_from_the_page(tmp_path: Path) -> None:
    text = page(tmp_path, view=VIEW, view_key="abc123")
    assert "</script><b>" not in text
    assert 'data-tools="volume"' in text and 'id="niivue"' in text
    assert "Copyright (c) 2021, Niivue" in text  # its licence asks for that
    assert earlier_views(tmp_path) == {"abc123": VIEW}


def test_pages_without_volumes_carry_no_viewer(tmp_path: Path) -> None:
    assert 'id="niivue"' not in page(tmp_path)


def test_a_page_that_is_not_ours_gives_no_views(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"\xff\xfe no page")
    assert earlier_views(tmp_path) == {}


def test_values_of_one_kind_come_in_a_grid_with_their_differences(tmp_path: Path) -> None:
    names = ["tooth 11 volume", "tooth 11 length", "tooth 12 volume", "tooth 12 length", "upper teeth"]
    values = [{"name": name, "value": 10.0 + i, "unit": "mm", "reason": None} for i, name in enumerate(names)]
    values[3] |= {"value": None, "reason": "cut by the edge"}
    truth = [{"name": "tooth 12 volume", "value": 10.0, "unit": "mm"}]
    text = page(tmp_path, measurements=values, expected=truth, tolerance=0.05)
    assert '<th>tooth 11</th><td class="n">10.0 mm</td><td class="n">11.0 mm</td>' in text
    assert '12.0 mm <small class="bad">(+20.0 %)</small>' in text
    assert "cut by the edge" in text
    assert "<td>upper teeth</td>" in text
    assert "tooth 12 length" not in text


def test_large_pages_compress_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PICTURE_BYTES", 10)
    text = page(tmp_path)
    assert "data:image/webp;base64," in text and "data:image/png" not in text
