"""Views of a case: within their budget, at the right place, windowed, marked where they are synthetic."""

from __future__ import annotations

import base64
import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medbundles.page_views import CaseImages, Layer, case_view, comparison_view, volume_view

AFFINE = np.diag([-0.5, -0.5, 2.0, 1.0])  # x to the left, y to the back, z up


def volume_of(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def scan() -> tuple[np.ndarray, np.ndarray]:
    """Noisy tissue of 60 HU in air with a labelled bright cube, off centre."""
    image = np.full((64, 60, 20), -1000.0, np.float32)
    image[8:56, 8:52] = 60 + np.random.default_rng(0).normal(0, 30, (48, 44, 20))
    labels = np.zeros(image.shape, np.uint8)
    labels[40:48, 10:18, 5:9] = 2
    image[labels > 0] = 900
    return image, labels


def test_a_volume_fits_the_budget_and_lies_where_it_was() -> None:
    image, labels = scan()
    images = CaseImages([Layer("CT", image)], AFFINE, labels=labels, names={2: "cube"}, window=(-500, 1500))
    view = volume_view(images, budget=12_000)
    assert len(view["layers"][0]["nifti"]) + len(view["labels"]) <= 12_000
    assert view["legend"] == [[2, "cube", "#39B8FF"]]
    assert "a coarser copy" in view["note"]
    copy, marks = volume_of(view["layers"][0]["nifti"]), volume_of(view["labels"])
    np.testing.assert_allclose(copy.affine, marks.affine)
    centres = [
        found.affine @ [*np.argwhere(np.asarray(found.dataobj) > level).mean(0), 1]
        for found, level in ((copy, 500), (marks, 0))
    ]
    truth = AFFINE @ [43.5, 13.5, 6.5, 1]
    for centre in centres:
        np.testing.assert_allclose(centre, truth, atol=0.6)
    assert copy.get_fdata().max() == pytest.approx(900, abs=40)
    inside = AFFINE[:3, :3] @ [40, 10, 5], AFFINE[:3, :3] @ [47, 17, 8]
    assert all(min(a, b) <= p <= max(a, b) for a, b, p in zip(*inside, view["start"], strict=True))


def test_every_voxel_is_kept_where_there_is_room() -> None:
    image, _ = scan()
    view = volume_view(CaseImages([Layer("CT", image)], AFFINE, window=(-160, 240)))
    copy = volume_of(view["layers"][0]["nifti"])
    assert view["labels"] is None and view["note"].startswith("every voxel")
    assert copy.shape == (48, 44, 20)  # the air around it is left out
    shown = np.clip(image[8:56, 8:52], -160 - 200, 240 + 200)
    np.testing.assert_allclose(copy.get_fdata(), shown, atol=2)


def test_comparisons_show_slices_upright_in_the_window_with_their_sides() -> None:
    image, labels = scan()
    after = image + 100
    images = CaseImages(
        [Layer("after", after), Layer("before", image, synthetic=True)],
        AFFINE,
        labels=labels,
        window=(-160, 240),
        unit="HU",
        compare=(1, 0),
    )
    view = comparison_view(images)
    assert view["pair"] == [1, 0] and view["letters"] == "RLAP" and view["size"] == [64, 60]
    assert [entry["synthetic"] for entry in view["sets"]] == [False, True]
    assert int(view["slices"][view["start"]].split()[1]) - 1 in range(5, 9)
    picture = view["sets"][1]["pictures"][view["start"]].removeprefix("data:image/webp;base64,")
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"), float)
    assert grey[14, 44] > 240 and grey[30, 30] == pytest.approx(255 * 220 / 400, abs=40)
    assert "window 40 / 400 HU" in view["note"]


def test_comparisons_keep_to_their_budget_by_showing_fewer_slices() -> None:
    image, _ = scan()
    images = CaseImages([Layer("a", image), Layer("b", image)], AFFINE, window=(-160, 240), compare=(0, 1))
    few = comparison_view(images, budget=12_000)
    assert 1 <= len(few["slices"]) < len(comparison_view(images)["slices"])
    assert sum(len(p) for entry in few["sets"] for p in entry["pictures"]) <= 12_000


def test_a_frame_has_a_comparison_and_no_volume() -> None:
    frame = np.random.default_rng(0).normal(0, 50, (40, 30)).astype(np.float32)
    view = case_view(CaseImages([Layer("a", frame), Layer("b", frame)], AFFINE, compare=(0, 1)))
    assert set(view) == {"compare"} and view["compare"]["slices"] == [""]
