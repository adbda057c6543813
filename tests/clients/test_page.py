"""The results page in a real browser without a network: nothing complains, overlay and keys work."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medbundles.page_views import CaseImages, Layer, case_view
from medbundles.pages import write_index
from medbundles.reports import case_result

pytestmark = pytest.mark.browser

BROWSER = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
RUN = {"bundle": "cube_segmentation", "version": "0.1.0", "device": "cpu"}
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a case that has a preview, two images to compare and a volume with a label."""
    folder = tmp_path_factory.mktemp("page")
    image = np.zeros((40, 44, 36), np.float32)
    image[4:36, 4:40, 4:32] = 100 + np.random.default_rng(0).normal(0, 10, (32, 36, 28))
    labels = np.zeros(image.shape, np.uint8)
    labels[22:32, 10:20, 10:26] = 1
    layers = [Layer("T1", image), Layer("T2", 200 - image, synthetic=True)]
    images = CaseImages(
        layers, np.diag([-1.0, -1, 1, 1]), labels=labels, names={1: "<b>cube</b>"}, compare=(0, 1)
    )
    Image.new("RGB", (1200, 400), "#234").save(folder / "a_preview.png")
    case = {"input": "<i>a.nii.gz", "outputs": {"preview": "a_preview.png"}}
    row = case_result(case, status="ok", run=RUN) | {"view": case_view(images), "view_key": "k"}
    return write_index(folder, [row], title="Browser")


@pytest.fixture(scope="module")
def page(file: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as program:
        browser = program.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE_MS)
        tab.problems, tab.requests = [], []
        tab.on("console", lambda m: tab.problems.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda error: tab.problems.append(f"{error}\n{error.stack}"))
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.goto(file.as_uri())
        yield tab
        browser.close()


@pytest.fixture(scope="module")
def viewer(page: Any) -> Any:
    """The page with its viewer opened by the keyboard."""
    page.get_by_role("button", name="Viewer", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".viewer[data-ready]")
    page.locator(".viewer .canvas").focus()
    return page


def picture(page: Any) -> np.ndarray:
    page.wait_for_timeout(400)
    shot = page.locator(".viewer canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int)


def amber(page: Any) -> int:
    """Pixels in the hue of the first label, #FFB000, mixed with grey."""
    red, green, blue = np.moveaxis(picture(page), -1, 0)
    return int(((red - blue > 50) & (red > green)).sum())


def test_the_viewer_shows_the_overlay_and_l_hides_it(viewer: Any) -> None:
    assert amber(viewer) > 2000
    viewer.keyboard.press("l")
    assert amber(viewer) < 50
    viewer.keyboard.press("l")
    assert amber(viewer) > 2000


def test_keys_scroll_through_slices_and_change_planes_and_images(viewer: Any) -> None:
    status = viewer.locator(".viewer .status")
    viewer.keyboard.press("r")
    start = status.text_content()
    viewer.keyboard.press("ArrowUp")
    assert status.text_content() != start
    before = picture(viewer)
    viewer.keyboard.press("a")
    assert np.abs(picture(viewer) - before).mean() > 1
    viewer.keyboard.press("i")
    assert "T2" in status.text_content()
    viewer.keyboard.press("r")
    assert status.text_content() == start


def test_the_label_at_the_crosshair_is_named_as_text(viewer: Any) -> None:
    viewer.keyboard.press("r")
    assert "<b>cube</b>" in viewer.locator(".viewer .status").text_content()
    assert viewer.locator(".viewer b, h2 i").count() == 0


def test_the_divider_moves_with_the_arrow_keys(page: Any) -> None:
    page.get_by_role("button", name="Compare", exact=True).click()
    above = page.locator(".swipe img").nth(1)
    first = above.evaluate("image => image.style.clipPath")
    page.locator(".divider").focus()
    page.keyboard.press("ArrowRight")
    assert above.evaluate("image => image.style.clipPath") != first
    assert above.evaluate("image => image.naturalWidth") > 30
    assert "SYNTHETIC" in page.locator(".swipe .right").text_content()
    assert page.locator(".viewer canvas").count() == 0  # leaving the viewer closes it


def test_on_paper_there_are_the_pictures_only(page: Any) -> None:
    page.emulate_media(media="print")
    assert page.locator("figure").is_visible()
    assert not page.locator(".compare").is_visible() and not page.locator(".tabs").is_visible()
    page.emulate_media(media="screen")


def test_nothing_complained_and_nothing_was_fetched(viewer: Any) -> None:
    assert viewer.problems == []
    assert {url.split(":")[0] for url in viewer.requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in viewer.requests) == 1
