"""The page of a folder of results: every case of its report, with what can be looked through."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medbundles import io
from medbundles.case_data import input_name
from medbundles.contrasts import CONTRASTS, TITLES
from medbundles.drawing import label_colour
from medbundles.errors import GridError, describe_shape
from medbundles.metadata import bundle_info
from medbundles.page_views import CaseImages, Layer, case_view
from medbundles.pages import earlier_views, write_index
from medbundles.reports import read_report
from medbundles.saving import affine_of, array_of
from medbundles.shards import rank_and_size
from medbundles.zoo.find import load_object
from medbundles.zoo.workflows import INFERENCE, open_workflow

logger = logging.getLogger(__name__)

VIEW_VERSION = "1"  # of what views consist of; older ones are made again
PAGE_BYTES = 60_000_000  # of all views of a page: it still opens at once
FULL = "the page holds the volumes of the first cases only; the pictures and the files show this one"
SAME_PLACE = 1e-2  # millimetres a voxel, by which headers of different formats round
COUNTERPARTS = {"t1": "t1gd", "t1gd": "t1", "t2": "flair", "flair": "t2"}


def write_results_page(folder: Path, results: Path, overrides: Mapping[str, Any]) -> Path | None:
    """Writes `index.html` for what a bundle wrote into a folder, of this run and of earlier ones.

    Of several processes that share the cases out, the first writes it; the others return nothing.

    Args:
        folder: the bundle.
        results: the folder with report.json.
        overrides: the options of the run: images are read again with them.
    """
    if rank_and_size()[0]:
        return None
    rows = results_rows(folder, results, overrides, earlier=earlier_views(results))
    title = bundle_info(folder / "configs" / "metadata.json").title
    page = write_index(results, [row | {"title": ""} for row in rows], title=title)
    logger.info("page: %s", page)
    return page


def results_rows(
    folder: Path,
    results: Path,
    overrides: Mapping[str, Any],
    *,
    earlier: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Returns the cases of a report as rows of the page, each with its `view` while there is room.

    Args:
        earlier: views of an earlier page by their keys; they are taken if nothing changed since.
    """
    reader, rows, room = CaseReader(folder, results, overrides), [], PAGE_BYTES
    for case in read_report(results)["cases"]:
        row = {**case, "title": reader.info.title}
        if case["status"] != "failed" and reader.shows(case):
            key = _key(case, results)
            view = (earlier or {}).get(key) if room > 0 else None
            if view is None and room > 0:
                view = _view(reader, case)
            room -= len(json.dumps(view)) if view else 0
            row |= {"view": view, "view_key": key} if view else {}
            row |= {"remark": FULL} if room <= 0 and not view else {}
        rows.append(row)
    return rows


class CaseReader:
    """Reads the images of a case again: the input as the bundle reads it, and its results.

    Args:
        folder: the bundle.
        results: the folder with report.json.
        overrides: the options of the run.
    """

    def __init__(self, folder: Path, results: Path, overrides: Mapping[str, Any]) -> None:
        parser = open_workflow(folder, INFERENCE, overrides, logging_file=False).parser
        self.info = bundle_info(folder / "configs" / "metadata.json")
        self.folder, self.results, self._parser = folder, results, parser
        self._page = self.info.metadata.get("medbundles", {}).get("page", {})
        self._load: Any = None
        self._items: dict[str, Any] | None = None

    def shows(self, case: Mapping[str, Any]) -> bool:
        """Whether there is more to look at than pictures: volumes, or images before and after."""
        dims = self.info.input.get("spatial_dims")
        return self._is_image or dims == 3 or (isinstance(dims, list) and 3 in dims)

    @property
    def _is_image(self) -> bool:
        return self.info.output.get("kind") == "image"

    def images(self, case: Mapping[str, Any]) -> CaseImages | None:
        """Returns the images of a case; nothing if its input was not part of this run.

        Raises:
            InputError: a file cannot be read any more, or has another grid than the input.
        """
        if self._items is None:
            data = self._parser.get_parsed_content("dataset#data")
            self._items = {input_name(item): item for item in data}
            self._load = self._parser.get_parsed_content("preprocessing#transforms#0")
        if case["input"] not in self._items:
            return None
        read = self._load({**self._items[case["input"]], "warnings": []})
        image = read["image"]
        arrays, affine = array_of(image), affine_of(image)
        oriented = bool(getattr(image, "meta", {}).get("calibrated", False))
        find = _Files(self.results, case, arrays.shape[1:], affine)
        common = {"affine": affine, "oriented": oriented, "window": self._window(), "unit": self._unit}
        if self._is_image:
            result = find.array("pred")
            marks, names = self._page.get("marks", {}), {}
            labels = find.array(marks["output"]) if marks else None
            names = {int(value): name for value, name in marks.get("names", {}).items()}
            layers = [Layer("after", result), Layer("before", arrays[0])]
            return CaseImages(layers, labels=labels, names=names, compare=(1, 0), **common)
        layers, compare = _layers(read, arrays, find, self._unit)
        names, colours = self._labels()
        labels = find.array("pred")
        return CaseImages(layers, labels=labels, names=names, colours=colours, compare=compare, **common)

    @property
    def _unit(self) -> str:
        return "HU" if self.info.input.get("modality") == ["CT"] else ""

    def _window(self) -> tuple[float, float] | None:
        """Least and greatest grey value shown: of two numbers, centre and width, or of the knob named."""
        window = self._page.get("window")
        window = self._parser.get_parsed_content(window) if isinstance(window, str) else window
        return None if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)

    def _labels(self) -> tuple[dict[int, str], dict[int, str]]:
        """Names and colours of the label values, as the run wrote them."""
        names, numbers = self.info.label_names, self._page.get("numbers", {})
        if not numbers:
            return names, {}
        number = {value: int(re.match(r"\d+", name)[0]) for value, name in names.items()}
        colour = load_object(self.folder, numbers["colour"]) if "colour" in numbers else label_colour
        written = bool(self._parser.get_parsed_content(numbers["knob"])) if "knob" in numbers else False
        values = {value: number[value] if written else value for value in names}
        return (
            {values[value]: name for value, name in names.items()},
            {values[value]: colour(number[value]) for value in names},
        )


class _Files:
    """The results of a case, read from their files, on the grid of its input."""

    def __init__(
        self, results: Path, case: Mapping[str, Any], shape: Sequence[int], affine: np.ndarray
    ) -> None:
        self.results, self.outputs = results, case["outputs"]
        self.shape, self.affine = tuple(shape), affine

    def array(self, role: str) -> np.ndarray | None:
        if role not in self.outputs:
            return None
        image = io.read_image(self.results / self.outputs[role])
        same = np.allclose(image.affine, self.affine, atol=SAME_PLACE) or not image.calibrated
        if image.shape != self.shape or not same:
            raise GridError(
                f"a result of {describe_shape(image.shape)} for an input of {describe_shape(self.shape)}",
                expected="both on one grid",
                source=self.results / self.outputs[role],
                advice="run the case again with --overwrite true",
            )
        return image.array[0]


def _layers(
    read: Mapping[str, Any], arrays: np.ndarray, files: _Files, unit: str
) -> tuple[list[Layer], tuple[int, int] | None]:
    """The contrasts of a study, imputed ones among them, and which two to compare; or the one image."""
    if "missing" not in read:
        return [Layer("CT" if unit else "image", arrays[0])], None
    layers: dict[str, Layer] = {}
    for name, array in zip(CONTRASTS, arrays, strict=True):
        imputed = files.array(f"{name}_synthetic") if name in read["missing"] else None
        if imputed is not None:
            layers[name] = Layer(TITLES[name], imputed, synthetic=True)
        elif name not in read["missing"]:
            layers[name] = Layer(TITLES[name], array)
    order = list(layers)
    synthetic = next((name for name in order if layers[name].synthetic), None)
    if synthetic is None:
        return list(layers.values()), None
    given = [name for name in order if not layers[name].synthetic]
    other = COUNTERPARTS[synthetic] if COUNTERPARTS[synthetic] in given else given[0]
    return list(layers.values()), (order.index(other), order.index(synthetic))


def _view(reader: CaseReader, case: Mapping[str, Any]) -> dict[str, Any] | None:
    """A case's view; whatever is wrong with it must not cost the page, whose pictures are there."""
    try:
        images = reader.images(case)
        return case_view(images) if images is not None else None
    except Exception as error:
        logger.warning("%s: no viewer in the page: %s", case["input"], str(error).splitlines()[0])
        return None


def _key(case: Mapping[str, Any], results: Path) -> str:
    """What a view was made from: changes with the input's name, the files of the result, and our way."""
    files = [results / path for path in case["outputs"].values()]
    states = [(str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists()]
    return hashlib.sha256(json.dumps([VIEW_VERSION, case["input"], states]).encode()).hexdigest()[:24]
