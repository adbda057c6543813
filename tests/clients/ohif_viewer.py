"""OHIF in headless Chromium, as the tests click through it, and what it holds."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BROWSER = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZE = {"width": 1400, "height": 800}
PATIENCE_MS = 240_000  # WebGL without a graphics card, on a loaded machine
PAUSE_S = 40
LABELS = """id => {
  const volume = services.segmentationService.getLabelmapVolume(id);
  const voxels = Uint8Array.from(volume.voxelManager.getCompleteScalarDataArray());
  let text = '';
  for (let i = 0; i < voxels.length; i += 32768)
    text += String.fromCharCode.apply(null, voxels.subarray(i, i + 32768));
  const segments = services.segmentationService.getSegmentation(id).segments;
  return {size: Array.from(volume.dimensions), spacing: Array.from(volume.spacing),
    origin: Array.from(volume.origin), axes: Array.from(volume.direction), voxels: btoa(text),
    names: Object.fromEntries(Object.values(segments).map(s => [s.segmentIndex, s.label]))};
}"""

# What a stack shows has no volume; its images hold the labels.
COUNTS = """id => {
  const {segments, representationData} = services.segmentationService.getSegmentation(id);
  const counts = {};
  for (const image of representationData.Labelmap.imageIds)
    for (const value of cornerstone.cache.getImage(image).voxelManager.getScalarData())
      if (value) counts[segments[value].label] = (counts[segments[value].label] || 0) + 1;
  return counts;
}"""
NAMES = "() => services.segmentationService.getSegmentations().map(s => s.segmentationId)"


@dataclass(frozen=True)
class Segments:
    """A label map that the viewer holds.

    Attributes:
        voxels: (x, y, z) numbers of segments.
        affine: 4x4 from voxels to millimetres to the left, back and up.
        names: of the segments by number.
    """

    voxels: np.ndarray
    affine: np.ndarray
    names: dict[int, str]

    def counts(self) -> dict[str, int]:
        """Voxels of each segment that has any."""
        found = {name: int((self.voxels == number).sum()) for number, name in self.names.items()}
        return {name: count for name, count in found.items() if count}


class Viewer:
    """The page, and what its console and its network said."""

    def __init__(self, page: Any, url: str, pictures: Path) -> None:
        self.page, self.url, self.pictures = page, url, pictures
        self.messages: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("requestfinished", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open_list(self) -> None:
        """Opens the list of studies."""
        self.page.goto(f"{self.url}/ohif/")
        self.page.locator("tbody tr").first.wait_for()
        notice = self.page.get_by_text("Confirm and Hide")
        if notice.is_visible():
            notice.click()

    def mode(self, patient: str, study: str) -> Any:
        """Clicks a study in the list; returns the link to the panel that is then seen below it."""
        link = self.page.locator(f"a[href$='/monai-label?StudyInstanceUIDs={study}']")
        self.page.get_by_text(patient).first.click()
        link.wait_for()
        return link

    def open_segmentation(self) -> None:
        """Opens the stored segmentation of the study, and agrees to edit it if that is asked."""
        stored = self.page.locator("[data-cy^='study-browser-thumbnail']", has_text="SEG").first
        stored.wait_for()
        for second in range(PATIENCE_MS // 1000):
            if second % PAUSE_S == 0:  # a click is lost while the images are still coming
                stored.dblclick()
            self.page.wait_for_timeout(1000)
            for words in ("Yes", "OK"):
                answer = self.page.get_by_text(words, exact=True).first
                if answer.is_visible():
                    answer.click()
            if self.page.evaluate(NAMES):
                self.page.wait_for_timeout(3000)  # the voxels come after the name
                return
        self.picture("not_opened")
        raise AssertionError("OHIF does not open the segmentation:\n" + "\n".join(self.messages[-20:]))

    def wait_for_message(self, text: str, since: int = 0) -> None:
        """Waits until the console has said something."""
        for _ in range(PATIENCE_MS // 500):
            if any(text in message for message in self.messages[since:]):
                return
            self.page.wait_for_timeout(500)
        raise AssertionError(f"OHIF never said '{text}':\n" + "\n".join(self.messages[-20:]))

    def segments(self, name: str) -> Segments:
        """Returns a label map that the viewer holds."""
        found = self.page.evaluate(LABELS, name)
        voxels = np.frombuffer(base64.b64decode(found["voxels"]), np.uint8)
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(found["axes"], (3, 3)).T * found["spacing"]
        affine[:3, 3] = found["origin"]
        names = {int(number): text for number, text in found["names"].items()}
        return Segments(voxels.reshape(found["size"], order="F"), affine, names)

    def counts(self, name: str) -> dict[str, int]:
        """Voxels of each segment of a label map that lies on the slices of a stack."""
        return self.page.evaluate(COUNTS, name)

    def colours(self) -> int:
        """How many pixels of the images have a colour."""
        shot = self.page.locator("[data-cy='viewport-grid']").screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int)
        return int((np.ptp(pixels, axis=-1) > 40).sum())

    def picture(self, name: str) -> None:
        """Keeps what the page shows, for people."""
        self.page.wait_for_timeout(1000)
        self.page.screenshot(path=str(self.pictures / f"{name}.png"))


@contextmanager
def chromium(url: str, pictures: Path) -> Iterator[Viewer]:
    """Starts the browser until the block ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as program:
        browser = program.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield Viewer(browser.new_page(viewport=SIZE), url, pictures)
        browser.close()
