"""What inference is timed on: an image as the network gets it, the network, and how answers become labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.networks.nets import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from medbundles.datasets.simulated import made
from medbundles.weights import load_weights
from medbundles.zoo.demo import simulate
from medbundles.zoo.find import add_to_path, find_bundle
from medbundles.zoo.workflows import INFERENCE, config_files

WINDOWS, SLICES, FRAMES = "windows", "slices", "frames"
SLICE_COUNT, FRAME_COUNT, CT_SIZE = 100, 200, 512
REFERENCE_WINDOW = (128, 128, 128)
TEETH_SIZE = (400, 400, 300)
BACKGROUND = -2.0  # beyond a jaw's field of view, where its scan is smaller than wanted


@dataclass(frozen=True)
class Scene:
    """One thing to time.

    Attributes:
        kind: whether the network sees windows of a volume, whole slices, or frames.
        network: in evaluation.
        image: (1, C, X, Y, Z), or (n, C, X, Y) for frames.
        window: of a volume.
        labels: from an answer to labels; None if the answer is an image.
    """

    kind: str
    network: nn.Module
    image: Tensor
    window: Sequence[int] = ()
    labels: Callable[[Tensor], Tensor] | None = None


def brain_reference(work: Path) -> Scene:
    """A brain of the public data's size, and the network that the design notes were timed with."""
    image = _image("brats_mri_collagan_segmentation", work, spacing_mm=1.0)["image"]
    torch.manual_seed(0)
    network = SegResNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=4,
        init_filters=8,
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
    )
    return Scene(WINDOWS, network.eval(), _uncropped(image), REFERENCE_WINDOW, _most_likely)


def brain(work: Path) -> Scene:
    """The same brain, and the bundle's segmenter with its weights."""
    case = _image("brats_mri_collagan_segmentation", work, spacing_mm=1.0)
    segmenter, parser = _network("brats_mri_collagan_segmentation", "segmenter")
    margins = import_module("brats_collagan.network").margins
    return Scene(
        WINDOWS, segmenter, _uncropped(case["image"]), parser["window"], lambda x: margins(x).argmax(1)
    )


def brain_cropped(work: Path) -> Scene:
    """As the bundle's preprocessing hands it to the segmenter: the box around the brain."""
    whole = brain(work)
    held = (whole.image[0] != 0).any(0).nonzero()
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(held.amin(0), held.amax(0), strict=True))
    image = whole.image[(..., *box)].contiguous()
    return Scene(WINDOWS, whole.network, image, whole.window, whole.labels)


def teeth(work: Path) -> Scene:
    """A jaw, and the network for single teeth in windows over all of it."""
    case = _image("dental_cbct_tooth_segmentation", work, spacing_mm=0.4)
    segmenter, parser = _network("dental_cbct_tooth_segmentation", "segmenter")
    grey = _fitted(case["image"].as_tensor()[None] / 1000.0, TEETH_SIZE)
    image = torch.cat([grey, (grey > 1).float()], dim=1)
    return Scene(WINDOWS, segmenter, image, parser["patch"], lambda x: x[:, 0] > 0)


def ct(work: Path) -> Scene:
    """A chest slice a hundred times, each with noise of its own, and the denoiser."""
    case = _image("ct_lowdose_cyclegan_denoising", work)
    network, _ = _network("ct_lowdose_cyclegan_denoising")
    slice_ = functional.interpolate(case["image"].as_tensor()[None, ..., 0], size=(CT_SIZE, CT_SIZE))
    noise = torch.randn(1, 1, CT_SIZE, CT_SIZE, SLICE_COUNT, generator=torch.Generator().manual_seed(0))
    return Scene(SLICES, network, slice_[..., None] + 0.02 * noise)


def ultrasound(work: Path) -> Scene:
    """An abdomen two hundred times, each with noise of its own, and the biometry network."""
    case = _image("fetal_us_biometry_segmentation", work)
    network, _ = _network("fetal_us_biometry_segmentation")
    frame = case["image"].as_tensor()[None].float()
    noise = torch.randn(FRAME_COUNT, *frame.shape[1:], generator=torch.Generator().manual_seed(0))
    return Scene(FRAMES, network, frame + 0.02 * noise, labels=_most_likely)


SCENES: dict[str, Callable[[Path], Scene]] = {
    "brain, SegResNet of 8 filters, random weights": brain_reference,
    "brain": brain,
    "brain, cropped before": brain_cropped,
    "teeth": teeth,
    "CT slices": ct,
    "ultrasound frames": ultrasound,
}


def _network(bundle: str, part: str = "") -> tuple[nn.Module, ConfigParser]:
    folder = find_bundle(bundle)
    add_to_path(folder)
    parser = _parser(folder)
    network = load_weights(parser.get_parsed_content("network_def"), folder / "models" / "model.pt")
    return (getattr(network, part) if part else network).eval(), parser


def _parser(folder: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files(folder, INFERENCE))
    parser["bundle_root"] = str(folder)
    return parser


def _image(bundle: str, work: Path, **options: Any) -> dict[str, Any]:
    """A simulated case after the bundle's own preprocessing."""
    folder = find_bundle(bundle)
    add_to_path(folder)
    (case,) = made(work / "scenes" / bundle, 1, lambda place, n: simulate(folder, place, n, 0, **options))
    return _parser(folder).get_parsed_content("preprocessing")({"image": case["image"]})


def _uncropped(image: Tensor) -> Tensor:
    """The box around a brain amid zeros again, as large as the public data."""
    whole = torch.zeros(1, len(image), 240, 240, 155)
    corner = [(n - m) // 2 for n, m in zip(whole.shape[2:], image.shape[1:], strict=True)]
    box = tuple(slice(at, at + n) for at, n in zip(corner, image.shape[1:], strict=True))
    whole[(0, slice(None), *box)] = torch.as_tensor(image).float()
    return whole


def _fitted(image: Tensor, size: Sequence[int]) -> Tensor:
    """An image cut or filled at its far ends to a size."""
    image = image[(..., *[slice(0, n) for n in size])]
    lacks = [n - m for n, m in zip(size, image.shape[2:], strict=True)]
    return functional.pad(image, [side for lack in reversed(lacks) for side in (0, lack)], value=BACKGROUND)


def _most_likely(answer: Tensor) -> Tensor:
    return answer.argmax(1)
