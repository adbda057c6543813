"""HC18 as a tiny copy: thin contours, repeats of one patient, odd sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medbundles.checks import DatasetError
from medbundles.datasets import hc18
from medbundles.measure import Ellipse

HEAD = Ellipse((70.2, 60.7), (45.0, 33.0), 0.5)


def write(root: Path, *names: str, nested: bool = False) -> Path:
    """Writes pictures with a thin contour of `HEAD`, and the table; spacing 0.5 mm."""
    folder = root / "training_set" / "training_set" if nested else root / "training_set"
    folder.mkdir(parents=True)
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    truth = HEAD.scaled(0.5).circumference()
    for name in names:
        contour = np.zeros((150, 130), dtype=np.uint8)
        place = HEAD.points(2000).round().astype(int)
        contour[place[:, 0], place[:, 1]] = 255
        Image.fromarray(contour.T).save(folder / f"{Path(name).stem}_Annotation.png")
        Image.new("L", (150, 130), 60).save(folder / name)
        lines.append(f"{name},0.5,{truth:.2f}")
    (root / hc18.TABLE).write_text("\n".join(lines) + "\n")
    return root


def test_thin_contour_becomes_the_ellipse_that_it_draws(tmp_path: Path) -> None:
    cases, report = hc18.load(write(tmp_path, "010_HC.png"))
    found = cases[0]["truth"]["ellipse"]
    assert found.centre == pytest.approx(HEAD.centre, abs=0.2)
    assert found.axes == pytest.approx(HEAD.axes, abs=0.3)
    assert report.kept == 1


def test_circumference_of_the_outline_agrees_with_the_table(tmp_path: Path) -> None:
    case = hc18.load(write(tmp_path, "010_HC.png"))[0][0]
    ours = case["truth"]["ellipse"].scaled(case["spacing_mm"]).circumference()
    assert ours == pytest.approx(case["expected"][0]["value"], rel=0.005)
    assert case["expected"][0]["name"] == "HC"


def test_repeats_belong_to_the_same_patient(tmp_path: Path) -> None:
    cases, _ = hc18.load(write(tmp_path, "010_HC.png", "010_2HC.png", "011_HC.png"))
    assert [case["subject"] for case in cases] == ["HC18-010", "HC18-010", "HC18-011"]


def test_archive_unpacked_into_a_folder_of_its_own_name_is_found(tmp_path: Path) -> None:
    assert len(hc18.load(write(tmp_path, "010_HC.png", nested=True))[0]) == 1


def test_missing_files_empty_contours_and_zero_pixels_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, "010_HC.png", "011_HC.png", "012_HC.png", "013_HC.png")
    (root / "training_set" / "011_HC_Annotation.png").unlink()
    Image.new("L", (150, 130)).save(root / "training_set" / "012_HC_Annotation.png")
    table = root / hc18.TABLE
    table.write_text(table.read_text().replace("013_HC.png,0.5", "013_HC.png,0"))
    cases, report = hc18.load(root)
    assert [Path(case["image"]).name for case in cases] == ["010_HC.png"]
    assert report.rejected.total() == 3


def test_folder_without_the_table_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1327317"):
        hc18.load(tmp_path)
