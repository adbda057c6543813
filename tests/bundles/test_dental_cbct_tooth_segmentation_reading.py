"""From panoramas to numbered teeth, and from teeth to one label map."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "bundles" / "dental_cbct_tooth_segmentation"))

from dental_phantom import Phantom
from monai.data import MetaTensor

from dental_teeth.boxes import Box
from dental_teeth.detector import CONFIDENCE, KIND, MIDDLE, encoded
from dental_teeth.detector import SIZE as SIZES
from dental_teeth.finder import JawFinder
from dental_teeth.frame import NotDentalError
from dental_teeth.inferer import Merged, TeethInferer, largest_part, without
from dental_teeth.network import ToothNetworks, ToothSegmenter
from dental_teeth.numbering import KIND_OF, row_of
from dental_teeth.outliner import Outliner, crop, paste, stretched, window_of
from dental_teeth.patches import patch_at
from dental_teeth.reading import normalised, outlined, read
from dental_teeth.teeth import FDI_CODES, code_of, label_of, to_codes, to_labels
from dental_teeth.truth import JawTruth, finder_in, truth_of
from medbundles.engines import FINDINGS

TEETH = (16, 14, 13, 11, 21, 22, 26, 34, 36, 41, 43, 46)
BRIGHT = 2.2  # in a patch: denser than bone


class Knowing(nn.Module):
    """A detector that knows the teeth of each panorama that it may be shown."""

    def __init__(self, jaws: tuple[JawTruth, ...]) -> None:
        super().__init__()
        self.jaws = jaws

    def forward(self, x: Tensor) -> Tensor:
        shown = x[0, 0].numpy()
        jaw = min(self.jaws, key=lambda jaw: float(np.abs(jaw.shown - shown).mean()))
        kinds = [KIND_OF[code % 10 - 1] for code in jaw.masks]
        target = encoded(list(jaw.boxes.values()), kinds, jaw.shown.shape)
        answer = torch.zeros(1, 9, *target.shape[1:])
        answer[0, CONFIDENCE] = torch.where(target[CONFIDENCE] > 0, 9.0, -9.0)
        answer[0, MIDDLE] = target[MIDDLE].clamp(1e-4, 1 - 1e-4).logit()
        answer[0, SIZES] = target[SIZES]
        for kind in range(4):
            answer[0, KIND][kind] = torch.where(target[5] == kind, 9.0, 0.0)
        return answer


class Seeing(nn.Module):
    """A finder that knows which voxels of a coarse scan are teeth."""

    def __init__(self, labels: np.ndarray, affine: np.ndarray) -> None:
        super().__init__()
        self.find = finder_in(labels, affine)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(20 * self.find(x[0, 0].numpy(), np.eye(4)) - 10)[None]


class Everything(nn.Module):
    """An outliner that takes all of a crop for the tooth."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class Bright(nn.Module):
    """A segmenter that takes what is bright in the tight region for the tooth."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * (x[:, 1:] - BRIGHT)


class Networks(nn.Module):
    def __init__(self, jaws: tuple[JawTruth, ...], labels: np.ndarray, affine: np.ndarray) -> None:
        super().__init__()
        self.finder, self.detector = Seeing(labels, affine), Knowing(jaws)
        self.outliner, self.segmenter = Everything(), Bright()


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return Phantom(teeth=TEETH, spacing=(0.8, 0.8, 0.8)).build()


@pytest.fixture(scope="module")
def truth(scan: tuple) -> tuple[JawTruth, ...]:
    return truth_of(*scan)


def test_every_tooth_of_the_labels_is_on_the_panorama_of_its_jaw(truth: tuple) -> None:
    assert [view.view.jaw for view in truth] == ["upper", "lower"]
    upper, lower = truth
    assert sorted(upper.masks) == sorted(code for code in TEETH if code < 30)
    assert sorted(lower.masks) == sorted(code for code in TEETH if code > 30)
    seen = upper.shown[upper.shown > upper.shown.min()]
    assert abs(float(seen.mean())) < 0.01 and float(seen.std()) == pytest.approx(1, abs=0.01)


def test_teeth_are_numbered_and_those_that_are_not_there_listed(scan: tuple, truth: tuple) -> None:
    reading = read(scan[0], scan[2], Networks(truth, *scan[1:]))
    assert sorted(reading.teeth) == sorted(TEETH)
    assert sorted(reading.jaws["upper"].missing) == sorted(set(FDI_CODES[:16]) - set(TEETH))
    assert all(tooth.mask.any() and 0.9 < tooth.score <= 1 for tooth in reading.teeth.values())


def test_the_label_map_has_each_tooth_at_its_place(scan: tuple, truth: tuple) -> None:
    hu, codes, affine = scan
    labels, _ = TeethInferer(patch=(24, 32, 48), patch_mm=0.7, amp=False).label(
        torch.from_numpy(hu), affine, Networks(truth, *scan[1:])
    )
    found = to_codes(labels.numpy())
    for code in TEETH:
        both = ((found == code) & (codes == code)).sum()
        assert 2 * both / ((found == code).sum() + (codes == code).sum()) > 0.8, code
    assert set(np.unique(found)) == {0, *TEETH}


def test_an_image_with_a_header_comes_back_with_its_header_and_what_was_read(
    scan: tuple, truth: tuple
) -> None:
    image = MetaTensor(torch.from_numpy(scan[0])[None, None], affine=torch.from_numpy(scan[2]))
    answer = TeethInferer(patch=(16, 24, 32), patch_mm=1.0)(image, Networks(truth, *scan[1:]))
    assert answer.shape == image.shape and answer.dtype == torch.uint8
    assert torch.equal(answer.affine, image.affine)
    (reading,) = answer.meta[FINDINGS]
    assert sorted(reading.teeth) == sorted(TEETH)


def test_a_jaw_without_teeth_is_left_out_and_a_scan_without_any_refused(scan: tuple) -> None:
    hu, codes, affine = Phantom(teeth=tuple(code for code in TEETH if code < 30)).build()
    assert [jaw.view.jaw for jaw in truth_of(hu, codes, affine)] == ["upper"]
    with pytest.raises(NotDentalError):
        read(hu, affine, Networks((), np.zeros_like(codes), affine))


def test_the_whole_network_answers_background_where_there_are_no_teeth() -> None:
    networks = ToothNetworks(JawFinder(8), nn.Identity(), nn.Identity(), ToothSegmenter(8))
    answer = networks(torch.rand(1, 1, 12, 12, 12))
    assert answer.shape == (1, 33, 12, 12, 12)
    assert (answer[:, 0] == 1).all() and (answer[:, 1:] == 0).all()


def test_a_crop_and_its_pasting_are_inverse() -> None:
    picture = torch.zeros(200, 100)
    picture[60:90, 20:70] = 1
    window = window_of(Box(60, 20, 90, 70))
    assert (window.left, window.right) == pytest.approx((54, 96))
    pasted = paste(crop(picture, window), window, (200, 100), fill=0.0)
    assert float(((pasted > 0.5) != (picture > 0.5)).float().mean()) < 0.002


def test_stretching_to_the_same_size_changes_nothing() -> None:
    picture = torch.rand(32, 16)
    torch.testing.assert_close(stretched(picture, Box(0, 0, 32, 16), (32, 16)), picture, atol=1e-5, rtol=0)


def test_outlines_lie_where_their_boxes_are(truth: tuple) -> None:
    shown, boxes = torch.from_numpy(truth[0].shown), list(truth[0].boxes.values())
    for mask, box in zip(outlined(shown, boxes, Everything()), boxes, strict=True):
        columns = np.flatnonzero(mask.any(1))
        assert columns[0] <= box.left and columns[-1] >= box.right - 1
        assert len(columns) < 1.6 * (box.right - box.left)
    assert outlined(shown, [], Outliner()) == []


def test_a_blank_panorama_stays_blank() -> None:
    assert not normalised(np.zeros((32, 16), np.float32)).any()


def test_of_two_teeth_that_claim_a_voxel_the_surer_one_has_it(scan: tuple, truth: tuple) -> None:
    _, _, affine = scan
    patches = [
        patch_at(truth[0].view, truth[0].boxes[code], size=(24, 32, 48), step_mm=0.7) for code in (11, 21)
    ]
    merged = Merged(scan[0].shape, affine)
    everywhere = np.full((24, 32, 48), 1.0, np.float32)
    merged.add(1, patches[0], everywhere)
    first = merged.labels.copy()
    merged.add(9, patches[1], 0.5 * everywhere)
    assert (merged.labels[first == 1] == 1).mean() > 0.9 and (merged.labels == 9).any()
    merged.add(9, patches[1], 2 * everywhere)
    assert (merged.labels == 1).sum() < (first == 1).sum()


def test_only_the_largest_part_of_a_tooth_is_kept() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[1:4, 1:4, 1:4], mask[6:8, 6:8, 6:8] = True, True
    assert largest_part(mask).sum() == 27 and largest_part(np.zeros((3, 3, 3), bool)).sum() == 0


def test_label_values_run_in_the_order_of_fdi_numbers() -> None:
    assert [label_of(code) for code in (11, 18, 21, 38, 48)] == [1, 8, 9, 24, 32]
    assert all(code_of(label_of(code)) == code for code in FDI_CODES)
    codes = np.array([[0, 11, 48], [55, 38, 1]], np.uint8)
    assert to_codes(to_labels(codes)).tolist() == [[0, 11, 48], [0, 38, 0]]


def test_what_is_no_denser_than_bone_is_no_tooth_unless_metal_is_near() -> None:
    inferer, inside = TeethInferer(patch_mm=2.0), np.zeros((6, 6, 6), bool)
    inside[2:4, 2:4, 2:4] = True
    bone, tooth = np.full(inside.shape, 2.1, np.float32), np.where(inside, 2.9, 1.4).astype(np.float32)
    near_metal = bone.copy()
    near_metal[0, 0, 0] = 5.0
    assert not inferer._is_tooth(bone, inside)
    assert not TeethInferer(patch_mm=0.3)._is_tooth(tooth, inside)  # a speck
    assert inferer._is_tooth(tooth, inside) and inferer._is_tooth(near_metal, inside)
    assert TeethInferer(patch_mm=2.0, least_hu=0)._is_tooth(bone, inside)


def test_a_tooth_that_was_none_is_missing_and_a_reading_without_any_is_refused(
    scan: tuple, truth: tuple
) -> None:
    reading = read(scan[0], scan[2], Networks(truth, *scan[1:]))
    codes = list(reading.teeth)
    left = without(reading, codes[:1])
    assert codes[0] not in left.teeth and len(left.teeth) == len(codes) - 1
    jaw = next(name for name, row in left.jaws.items() if codes[0] in row.missing)
    assert list(left.jaws[jaw].missing) == [c for c in row_of(jaw) if c in left.jaws[jaw].missing]
    with pytest.raises(NotDentalError, match="no teeth"):
        without(reading, codes)
