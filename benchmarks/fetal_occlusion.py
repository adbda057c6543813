"""Test frames with and without a wedge of blacked-out beams, and what a network and two fits make of them."""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from paired_tables import GROUP, Row
from torch import Tensor

from medbundles.contours import largest_component
from medbundles.ellipse import Ellipse, EllipseFitError, ellipse_from_moments
from medbundles.io import case_name
from medbundles.metrics import dice, relative_error
from medbundles.sector import resample
from medbundles.weights import load_weights
from medbundles.zoo.find import add_to_path, find_bundle
from medbundles.zoo.workflows import EVALUATE, config_files

BUNDLE = find_bundle("fetal_us_biometry_segmentation")
add_to_path(BUNDLE)

from fetal_biometry.biometry import SMALLEST_OUTLINE, find_outline  # noqa: E402
from fetal_biometry.labels import ABDOMEN_PARTS, HEAD, whole_abdomen  # noqa: E402

NO_BEAM = "no_beam"
LENGTHS = {"abdomen": "AC", "head": "HC"}
WEDGE = math.radians(30)
ANGLE_UNIT = math.pi / 4  # of the angle channel
SEED = 0


@dataclass(frozen=True)
class Frame:
    """A real test frame on the network's grid, with its truth on its own grid.

    Attributes:
        name: of the case.
        kind: abdomen or head.
        image: grey value, sector, depth and angle (4, X, Y).
        to_frame: the map from pixels of the grid to pixels of the stored frame.
        truth: the structure (x, y) in the stored frame.
        true_mm: its circumference.
        spacing: of the stored frame, mm.
        beam: radians from straight down of a beam through the structure.
    """

    name: str
    kind: str
    image: Tensor
    to_frame: NDArray[np.floating]
    truth: NDArray[np.bool_]
    true_mm: float
    spacing: tuple[float, float]
    beam: float


class Reader:
    """Reads and standardises cases as evaluate.json does."""

    def __init__(self) -> None:
        self.prepare = _parser().get_parsed_content("validate#preprocessing")

    def __call__(self, case: Mapping[str, Any]) -> Frame:
        """A case on the network's grid, with the beam of its wedge drawn."""
        data = self.prepare(dict(case))
        image, label = (torch.as_tensor(data[key]).as_subclass(Tensor) for key in ("image", "label"))
        truth = whole_abdomen(label) if case["kind"] == "abdomen" else label == HEAD
        to_frame = np.asarray(data["image"].applied_operations[-1]["extra_info"]["to_frame"])
        on_grid = resample(truth.float(), to_frame, image.shape[1:], mode="nearest")[0] > 0
        name, spacing = case_name(case["image"]), np.broadcast_to(case["pixel_mm"], (2,))
        return Frame(
            name=name,
            kind=case["kind"],
            image=image,
            to_frame=to_frame,
            truth=truth[0].numpy(),
            true_mm=case["expected"][LENGTHS[case["kind"]]],
            spacing=(float(spacing[0]), float(spacing[1])),
            beam=beam_through(image, on_grid, np.random.default_rng([SEED, zlib.crc32(name.encode())])),
        )


class Model:
    """A network with weights, and the inferer that evaluate.json gives it."""

    def __init__(self, name: str, weights: str | Path) -> None:
        parser = _parser()
        parser["network_def#beam_channels"] = name != NO_BEAM
        self.name = name
        self.inferer = parser.get_parsed_content("validate#inferer")
        self.device = parser.get_parsed_content("device")
        self.network = load_weights(parser.get_parsed_content("network"), weights, self.device).eval()

    @torch.no_grad()
    def probability(self, frame: Frame, image: Tensor) -> NDArray[np.float32]:
        """The probability (x, y) of the frame's kind of structure, in the pixels of the stored frame."""
        labels = self.inferer(image[None].to(self.device), self.network)[0].float().softmax(dim=0).cpu()
        parts = list(ABDOMEN_PARTS) if frame.kind == "abdomen" else [HEAD]
        structure = torch.as_tensor(labels).as_subclass(Tensor)[parts].sum(dim=0, keepdim=True)
        return resample(structure, np.linalg.inv(frame.to_frame), frame.truth.shape, outside="border")[
            0
        ].numpy()


def _parser() -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, EVALUATE))
    parser["bundle_root"] = str(BUNDLE)
    return parser


def beam_through(image: Tensor, truth: Tensor, rng: np.random.Generator) -> float:
    """The angle (radians) of a random beam that meets a convex structure (X, Y) of a standardised frame."""
    angles = image[3][truth] * ANGLE_UNIT
    return float(rng.uniform(float(angles.min()), float(angles.max())))


def blacked_out(image: Tensor, centre: float, opening: float = WEDGE) -> Tensor:
    """A standardised frame whose grey value is 0 along the beams of a wedge; its geometry stays as it is."""
    hidden = (image[3] * ANGLE_UNIT - centre).abs() <= opening / 2
    return torch.cat([image[:1].masked_fill(hidden[None], 0.0), image[1:]])


def fit_robust(probability: NDArray[np.floating], spacing: tuple[float, float]) -> Ellipse | None:
    """The bundle's own fit, in mm."""
    outline = find_outline(probability, spacing)
    return None if outline is None else outline.scaled


def fit_moments(probability: NDArray[np.floating], spacing: tuple[float, float]) -> Ellipse | None:
    """The ellipse, in mm, with the moments of the largest component; None where the bundle's fit gives up."""
    region = largest_component(probability > 0.5)
    if region.mean() < SMALLEST_OUTLINE:
        return None
    try:
        return ellipse_from_moments(region).scaled(spacing)
    except EllipseFitError:
        return None


FITS = {"robust": fit_robust, "moments": fit_moments}


def score(ellipse: Ellipse | None, frame: Frame) -> Row:
    """Dice and error of one answer; nothing found is an error of 100 %, as in `medbundles.evaluation`."""
    if ellipse is None:
        return {"Dice": 0.0, "relative error %": 100.0, "measured mm": "", "true mm": frame.true_mm}
    filled = ellipse.scaled((1 / frame.spacing[0], 1 / frame.spacing[1])).mask(frame.truth.shape)
    length = ellipse.circumference()
    return {
        "Dice": dice(filled, frame.truth),
        "relative error %": 100 * abs(relative_error(length, frame.true_mm)),
        "measured mm": length,
        "true mm": frame.true_mm,
    }


def measure_frame(model: Model, frame: Frame) -> Iterator[Row]:
    """A row for each occlusion and fit."""
    occluded = blacked_out(frame.image, frame.beam)
    for occlusion, image in (("none", frame.image), (f"{math.degrees(WEDGE):.0f} degrees", occluded)):
        probability = model.probability(frame, image)
        for fit, find in FITS.items():
            group = zip(GROUP, (model.name, frame.kind, occlusion, fit), strict=True)
            yield {**dict(group), "case": frame.name, **score(find(probability, frame.spacing), frame)}
