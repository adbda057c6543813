"""What is particular to the fetal biometry bundle: shadows, poses, partial labels, the ellipse."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BUNDLE = Path(__file__).parents[2] / "bundles" / "fetal_us_biometry_segmentation"
sys.path.insert(0, str(BUNDLE))

from fetal_biometry.biometry import find_outline, label_map, plane_score  # noqa: E402
from fetal_biometry.cases import draw_truth, early_heads  # noqa: E402
from fetal_biometry.losses import PartialLabelLoss  # noqa: E402
from fetal_biometry.measure import Biometry  # noqa: E402
from fetal_biometry.network import BeamUNet  # noqa: E402
from fetal_biometry.simulator import simulate  # noqa: E402
from medbundles.ellipse import Ellipse  # noqa: E402
from medbundles.measure import Calibration, diameter  # noqa: E402
from medbundles.sector_augment import RandPosed, RandShadow  # noqa: E402
from medbundles.sector_beam import find_beam  # noqa: E402

SIZE = (320, 224)
ELLIPSE = Ellipse((150.0, 110.0), (80.0, 66.0), 0.4)


def probabilities(mask: np.ndarray, label: int) -> np.ndarray:
    """Probabilities (6, X, Y) that are sure of one label inside a mask and of background elsewhere."""
    p = np.zeros((6, *mask.shape), np.float32)
    p[label], p[0] = mask, ~mask
    return p


def test_undivided_abdomen_does_not_care_how_it_is_divided() -> None:
    label = torch.full((1, 1, 8, 8), 6.0)
    sure = torch.full((1, 6, 8, 8), -20.0)
    as_liver, as_stomach = sure.clone(), sure.clone()
    as_liver[:, 1], as_stomach[:, 2] = 20, 20
    loss = PartialLabelLoss()
    assert loss(as_liver, label) == pytest.approx(0.0, abs=1e-4)
    assert loss(as_stomach, label) == pytest.approx(0.0, abs=1e-4)
    as_head = sure.clone()
    as_head[:, 5] = 20
    assert loss(as_head, label) > 10


def test_divided_abdomen_does_care() -> None:
    label = torch.full((1, 1, 8, 8), 2.0)
    logits = torch.full((1, 6, 8, 8), -20.0)
    logits[:, 1] = 20
    assert PartialLabelLoss()(logits, label) > 10


def test_loss_of_a_batch_is_finite_when_a_case_is_empty() -> None:
    label = torch.zeros(2, 1, 8, 8)
    label[0, 0, :4] = 5
    logits = torch.zeros(2, 6, 8, 8, requires_grad=True)
    PartialLabelLoss()(logits, label).backward()
    assert torch.isfinite(logits.grad).all()


def test_mirrored_frame_gives_the_mirrored_answer() -> None:
    """The geometry of a mirrored frame differs in the sign of the angle only, which must not matter."""
    torch.manual_seed(0)
    network = BeamUNet(widths=(8, 16, 16)).eval()
    frame = torch.rand(1, 4, 64, 64)
    other = frame.clone()
    other[:, 3] *= -1
    with torch.no_grad():
        assert torch.equal(network(frame), network(other))


def test_hiding_the_beam_makes_the_geometry_irrelevant() -> None:
    torch.manual_seed(0)
    network = BeamUNet(widths=(8, 16, 16), beam_channels=False).eval()
    frame = torch.rand(1, 4, 64, 64)
    other = torch.cat([frame[:, :1], torch.rand(1, 3, 64, 64)], dim=1)
    with torch.no_grad():
        assert torch.equal(network(frame), network(other))


def test_shadow_darkens_along_the_beam_and_leaves_the_geometry() -> None:
    frame = torch.ones(4, *SIZE)
    _, depth, angle = (torch.from_numpy(c) for c in beam_of_default_frame())
    frame[2], frame[3] = depth, angle
    change = RandShadow(prob=1.0)
    change.set_random_state(3)
    shadowed = change(frame)
    assert torch.equal(shadowed[1:], frame[1:])
    dark = shadowed[0] < 0.5
    assert 0.005 < dark.float().mean() < 0.7
    assert angle[dark].max() - angle[dark].min() < 0.7


def test_half_of_the_shadows_begin_at_the_probe_and_half_are_black() -> None:
    frame = torch.ones(4, *SIZE)
    _, depth, angle = (torch.from_numpy(c) for c in beam_of_default_frame())
    frame[2], frame[3] = depth, angle
    change = RandShadow(prob=1.0, width=(0.4, 0.4))
    change.set_random_state(0)
    shadowed = torch.stack([change(frame)[0] for _ in range(100)])
    near = depth < 0.05
    assert 0.3 < (shadowed[:, near].amin(dim=1) < 0.5).float().mean() < 0.7
    assert 0.3 < (shadowed.flatten(1).amin(dim=1) < 1e-3).float().mean() < 0.7


def beam_of_default_frame() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sector, depth and angle of a frame that is grey everywhere."""
    mask = np.ones(SIZE, bool)
    return (mask, *find_beam(mask).depth_and_angle(SIZE))


def test_pose_moves_frame_and_label_together() -> None:
    mask = torch.from_numpy(ELLIPSE.mask(SIZE)).float()
    change = RandPosed(["image", "label"])
    change.set_random_state(1)
    moved = change({"image": mask.expand(4, -1, -1).clone(), "label": mask[None]})
    assert not torch.equal(moved["label"][0], mask)
    assert ((moved["image"][0] > 0.5) != (moved["label"][0] > 0.5)).float().mean() < 0.005


def test_frames_may_be_enlarged_more_than_shrunk() -> None:
    mask = torch.from_numpy(ELLIPSE.mask(SIZE)).float()[None]
    sizes = []
    for closer in (0.0, 0.6):
        change = RandPosed(["image", "label"], turn=0.0, shift=0.0, bend=0.0, closer=closer)
        change.set_random_state(5)
        shown = [change({"image": mask.expand(4, -1, -1).clone(), "label": mask.clone()}) for _ in range(30)]
        sizes.append(np.mean([float(one["label"].mean()) for one in shown]))
    assert sizes[1] > 1.3 * sizes[0]


def test_circumference_of_a_drawn_ellipse_is_right_within_half_a_percent() -> None:
    outline = find_outline(ELLIPSE.mask(SIZE).astype(float), (0.5, 0.5))
    assert outline.scaled.circumference() == pytest.approx(0.5 * ELLIPSE.circumference(), rel=0.005)
    assert outline.agreement > 0.98 and outline.closed == 1.0 and not outline.cut


def test_wedge_bitten_out_of_the_outline_is_bridged() -> None:
    x, y = np.meshgrid(*map(np.arange, SIZE), indexing="ij")
    wedge = np.abs(np.arctan2(y - 110, x - 150)) < math.radians(15)
    mask = ELLIPSE.mask(SIZE) & ~(wedge & (np.hypot(x - 150, y - 110) > 40))
    outline = find_outline(mask.astype(float), (1.0, 1.0))
    assert outline.scaled.circumference() == pytest.approx(ELLIPSE.circumference(), rel=0.02)


def test_ellipse_cut_by_the_frame_is_completed_and_said_to_be_cut() -> None:
    whole = Ellipse((40.0, 110.0), (80.0, 70.0), 0.0)
    outline = find_outline(whole.mask(SIZE).astype(float), (1.0, 1.0))
    assert outline.cut
    assert outline.scaled.circumference() == pytest.approx(whole.circumference(), rel=0.03)


def test_anisotropic_pixels_give_the_same_millimetres() -> None:
    fine = Ellipse((160.0, 110.0), (90.0, 60.0), 0.0)
    squeezed = fine.scaled((0.5, 1.0))
    isotropic = find_outline(fine.mask(SIZE).astype(float), (0.3, 0.3))
    anisotropic = find_outline(squeezed.mask((160, 224)).astype(float), (0.6, 0.3))
    assert anisotropic.scaled.circumference() == pytest.approx(isotropic.scaled.circumference(), rel=0.005)


def test_diameter_along_the_axes_of_an_ellipse_is_twice_its_semi_axes() -> None:
    ellipse = Ellipse((0.0, 0.0), (50.0, 30.0), 0.3)
    along = np.array([math.cos(0.3), math.sin(0.3)])
    across = (-along[1], along[0])
    assert diameter("a", ellipse, along, Calibration())["value"] == pytest.approx(100)
    assert diameter("b", ellipse, across, Calibration())["value"] == pytest.approx(60)


def abdomen_with_structures() -> np.ndarray:
    """Probabilities of an abdomen with stomach, vein and a spine at its right end."""
    p = probabilities(ELLIPSE.mask(SIZE), 1)
    for label, centre, radius in ((2, (140, 135), 14), (3, (120, 95), 7), (4, (205, 132), 9)):
        disc = Ellipse(centre, (radius, radius), 0.0).mask(SIZE)
        p[:, disc] = 0
        p[label, disc] = 1
    return p


def test_standard_plane_scores_high_and_names_what_it_saw() -> None:
    p = abdomen_with_structures()
    outline = find_outline(p[1:5].sum(0), (1.0, 1.0))
    score, reasons = plane_score(label_map(p, outline, None), outline)
    assert score > 0.95
    assert "stomach bubble seen" in reasons and "spine seen" in reasons


def test_plane_without_stomach_scores_lower_and_says_why() -> None:
    p = abdomen_with_structures()
    p[1] += p[2]
    p[2] = 0
    outline = find_outline(p[1:5].sum(0), (1.0, 1.0))
    score, reasons = plane_score(label_map(p, outline, None), outline)
    assert score == pytest.approx(0.8, abs=0.03)
    assert "stomach bubble not seen" in reasons


def values(found: Biometry) -> dict[str, float | None]:
    """Measured values by name."""
    return {m["name"]: m["value"] for m in found.measurements()}


def test_diameters_follow_the_spine() -> None:
    measured = values(Biometry(abdomen_with_structures(), (0.5, 0.5), calibrated=True))
    assert measured["APAD"] == pytest.approx(80, rel=0.02)
    assert measured["TAD"] == pytest.approx(66, rel=0.02)
    assert measured["HC"] is None


def test_uncalibrated_frame_is_measured_in_pixels_without_an_age() -> None:
    found = Biometry(probabilities(ELLIPSE.mask(SIZE), 5), (1.0, 1.0), calibrated=False)
    by_name = {m["name"]: m for m in found.measurements()}
    assert by_name["HC"]["unit"] == "px"
    assert by_name["HC"]["value"] == pytest.approx(ELLIPSE.circumference(), rel=0.005)
    assert by_name["GA from HC"]["value"] is None and by_name["GA from HC"]["reason"]


def test_head_with_the_trunk_in_its_outline_is_warned_about() -> None:
    flat = Ellipse((160.0, 110.0), (100.0, 50.0), 0.0)
    assert any("flatter" in w for w in Biometry(probabilities(flat.mask(SIZE), 5), (1, 1), True).warnings())
    assert not Biometry(probabilities(ELLIPSE.mask(SIZE), 5), (1, 1), True).warnings()


def test_empty_frame_measures_nothing_and_says_so() -> None:
    found = Biometry(probabilities(np.zeros(SIZE, bool), 1), (1.0, 1.0), calibrated=True)
    assert not found.labels.any()
    assert all(m["value"] is None and m["reason"] for m in found.measurements())
    assert found.warnings() == ["neither abdomen nor head was found in this frame"]


def test_simulated_label_holds_the_structures_of_its_kind() -> None:
    standard, head = simulate(0, 1), simulate(2, 1)
    assert set(np.unique(standard.label)) >= {1, 2, 3, 4} and 5 not in standard.label
    assert set(np.unique(head.label)) == {0, 5}


def test_early_heads_are_real_heads_with_a_small_circumference() -> None:
    cases = [
        {"kind": kind, "expected": expected}
        for kind in ("head", "abdomen", "simulated")
        for expected in ({"HC": 80.0}, {"HC": 180.0}, {})
    ]
    assert early_heads(cases) == [{"kind": "head", "expected": {"HC": 80.0}}]


def test_outline_of_a_real_abdomen_is_drawn_undivided() -> None:
    drawn = draw_truth(ELLIPSE, "abdomen", SIZE)
    assert set(np.unique(drawn)) == {0, 6}
    assert drawn.sum() / 6 == pytest.approx(ELLIPSE.area(), rel=0.01)
