"""The parts of a simulated brain: maps, growth, lesion, signal equations."""

from collections.abc import Callable
from importlib import metadata

import numpy as np
import pytest
import torch
from scipy import ndimage

from medbundles.errors import InputError
from medbundles.simulators import brain_lesion as lesions
from medbundles.simulators import brain_maps as maps
from medbundles.simulators import brain_signal as signals
from medbundles.simulators import brain_tumour as tumours
from medbundles.simulators.brain_anatomy import coverings
from medbundles.simulators.fields import Draws, Grid

GRID = Grid.centred((80, 80, 80), 2.0)
RADIUS = GRID.points().norm(dim=0)


def tissue_block(fluid: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """White matter to the right (x < 0), grey to the left, both deep inside a brain."""
    x = GRID.points()[0]
    csf = torch.zeros(GRID.shape) if fluid is None else fluid.float()
    return {
        "wm": (x < 0) * (1 - csf),
        "gm": (x >= 0) * (1 - csf),
        "csf": csf,
        "ventricle": torch.zeros(GRID.shape),
        "depth": torch.full(GRID.shape, 30.0),
        "interior": torch.zeros(GRID.shape),
    }


def growth(**changes: float) -> tumours.Growth:
    values = {
        "foci": 1,
        "core_ml": 6.0,
        "oedema_ml": 12.0,
        "core_grey": 0.9,
        "oedema_grey": 0.02,
        "push": 0.3,
    }
    return tumours.Growth(**(values | {"uneven": 0.0} | changes))


def ml(mask: torch.Tensor) -> float:
    return float(mask.sum()) * GRID.spacing**3 / 1000


def test_template_is_a_brain_seen_in_the_order_of_the_public_data() -> None:
    average = maps.template()
    part = dict(zip(maps.NAMES, average.maps, strict=True))
    for name in ("wm", "gm", "csf", "ventricle", "interior", "iron"):
        assert part[name].min() >= 0 and part[name].max() <= 1.001
    brain = part["depth"] > 0
    assert 1.5e6 < brain.sum() < 2.2e6
    # The cerebellum lies at the back, which is large y, and below, which is small z.
    _, y, z = average.grid.axes()
    cerebellum = part["interior"] * brain
    assert cerebellum[:, y > 40].sum() > 10 * cerebellum[:, y < -40].sum()
    assert cerebellum[..., z < -30].sum() > 10 * cerebellum[..., z > 30].sum()
    assert 8e3 < part["ventricle"].sum() < 8e4


def test_missing_package_is_said_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "PACKAGE", "no-such-package-of-brains")
    maps.template.cache_clear()
    try:
        with pytest.raises(maps.PackageError, match=r"pip install 'medbundles\[sim\]'") as caught:
            maps.template()
    finally:
        maps.template.cache_clear()
    assert isinstance(caught.value, InputError)


def test_package_of_the_maps_is_in_the_extra_that_the_message_names() -> None:
    needed = metadata.requires("medbundles") or []
    assert any(
        line.startswith(maps.PACKAGE) and "extra == 'sim'" in line.replace('"', "'") for line in needed
    )


def test_tumour_reaches_the_volumes_asked_for() -> None:
    tumour = tumours.grow(growth(), tissue_block(), GRID, Draws(0, "t"))
    assert ml(tumour.core < 0) == pytest.approx(6, rel=0.15)
    assert ml(tumour.whole < 0) == pytest.approx(18, rel=0.15)
    assert bool((tumour.whole <= tumour.core).all())


def test_oedema_follows_white_matter_and_leaves_fluid_free() -> None:
    wall = (GRID.points()[1] - 9).abs() < 3
    parts = tissue_block(wall)
    tumour = tumours.grow(growth(), parts, GRID, Draws(0, "t"))
    oedema = (tumour.whole < 0) & (tumour.core > 0)
    assert ml(oedema & (parts["wm"] > 0.5)) > 3 * ml(oedema & (parts["gm"] > 0.5))
    assert ml((tumour.whole < 0) & wall) < 0.02 * ml(tumour.whole < 0)


def test_oedema_is_connected_to_its_core() -> None:
    tumour = tumours.grow(growth(uneven=0.9, oedema_ml=20.0), tissue_block(), GRID, Draws(1, "t"))
    count = ndimage.label((tumour.whole < 0).numpy())[1]
    assert count == 1


def test_depth_inside_a_core_is_in_millimetres() -> None:
    parts = tissue_block() | {"wm": torch.ones(GRID.shape), "gm": torch.zeros(GRID.shape)}
    core = tumours.grow(growth(core_ml=20.0), parts, GRID, Draws(4, "t")).core
    radius = (3 * ml(core < 0) * 1000 / (4 * np.pi)) ** (1 / 3)
    assert -float(core.min()) == pytest.approx(radius, rel=0.15)


def test_push_moves_tissue_away_from_the_core_and_not_at_the_skull() -> None:
    parts = tissue_block()
    parts["depth"] = 40 - RADIUS
    tumour = tumours.grow(growth(), parts, GRID, Draws(0, "t"))
    centre = GRID.points()[:, tumour.core < 0].mean(dim=1)
    outward = GRID.points() - centre[:, None, None, None]
    shell = (tumour.core > 1) & (tumour.core < 5)
    # What is seen at a point was nearer to the core before.
    assert float((tumour.push * outward).sum(dim=0)[shell].mean()) < 0
    assert float(tumour.push.norm(dim=0)[parts["depth"] <= 0].max()) == 0
    assert 0 < float(tumour.push.norm(dim=0).max()) <= 0.3 * tumour.radius + 1e-4


def test_brain_without_foci_has_no_tumour_and_is_not_pushed() -> None:
    tumour = tumours.grow(growth(foci=0), tissue_block(), GRID, Draws(0, "t"))
    assert not bool((tumour.whole < 0).any()) and not tumour.push.any()
    lesion, *_ = lesions.compose(tumour.maps(), tissue_block(), GRID, Draws(0, "l"), Draws(0, "e"))
    assert not lesion.labels.any()


def ball() -> torch.Tensor:
    """Distances of a core of 14 mm radius and a whole tumour of 24 mm."""
    return torch.stack([RADIUS - 14, RADIUS - 24])


def compose(number: int, agent: int) -> tuple[lesions.Lesion, lesions.Look, lesions.Enhancement]:
    return lesions.compose(ball(), tissue_block(), GRID, Draws(number, "look"), Draws(agent, "enhancement"))


def first(condition: Callable[[lesions.Look, lesions.Enhancement], bool]) -> lesions.Lesion:
    """The lesion of the first seed whose draws fulfil a condition."""
    for seed in range(400):
        look, agent = Draws(seed, "look"), Draws(seed, "enhancement")
        if condition(lesions.Look.draw(look), lesions.Enhancement.draw(agent)):
            return compose(seed, seed)[0]
    raise AssertionError("no seed fulfils the condition")


def test_ring_enhances_at_the_border_and_not_in_the_middle() -> None:
    lesion = first(lambda look, agent: agent.kind == "ring" and agent.from_mm == 0 and agent.width_mm < 4)
    shell, middle = (RADIUS > 11) & (RADIUS < 13), RADIUS < 5
    assert (lesion.enhancing[shell] > 0.5).float().mean() > 0.6
    assert (lesion.labels[middle] == 3).float().mean() < 0.1


def test_low_grade_tumour_has_a_core_and_no_enhancing_label() -> None:
    lesion = first(lambda look, agent: agent.kind == "none" and look.cavity == 1)
    assert not bool((lesion.labels == 3).any())
    assert (lesion.labels[RADIUS < 9] == 1).float().mean() > 0.9
    assert not lesion.enhancing.any()


def test_cavity_is_not_labelled_and_takes_the_place_of_core() -> None:
    lesion = first(lambda look, agent: look.cavity < 0.4)
    cavity = lesion.cavity > 0.6
    assert ml(cavity) > 0.3
    assert not lesion.labels[cavity].any()
    assert float((lesion.core + lesion.cavity + lesion.oedema).max()) < 1.001


def test_visible_parts_do_not_depend_on_the_enhancement() -> None:
    one, other = compose(5, 5)[0], compose(5, 6)[0]
    for name in ("core", "oedema", "fluid", "blood", "cavity"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert not torch.equal(one.enhancing, other.enhancing)


def test_a_quarter_of_the_tumours_does_not_enhance() -> None:
    kinds = [lesions.Enhancement.draw(Draws(seed, "enhancement")).kind for seed in range(400)]
    assert kinds.count("none") / 400 == pytest.approx(0.24, abs=0.06)


def value(sequence: signals.Sequence, name: str) -> float:
    tissue = (signals.HEALTHY | signals.DISEASED)[name]
    return float(sequence.signal(*(torch.tensor(v) for v in (tissue.t1, tissue.t2, tissue.density))))


def test_spin_echo_signal_by_hand() -> None:
    # 0.7 (1 - exp(-500/850)) exp(-10/70) = 0.7 * 0.44472 * 0.86688
    assert value(signals.Sequence("se", 500, 10), "wm") == pytest.approx(0.26986, rel=1e-3)


def test_flair_nulls_the_fluid_it_is_tuned_to() -> None:
    tr = 9000.0
    null = 4200 * np.log(2 / (1 + np.exp(-tr / 4200)))
    assert value(signals.Sequence("flair", tr, 100, null), "csf") < 1e-3


@pytest.mark.parametrize("contrast", ["t1", "t1gd", "t2", "flair"])
def test_every_drawn_sequence_keeps_the_order_of_tissues(contrast: str) -> None:
    for seed in range(60):
        sequence = signals.draw_sequence(contrast, Draws(seed, contrast), 4200)
        wm, gm, csf, oedema = (value(sequence, name) for name in ("wm", "gm", "csf", "oedema"))
        if contrast in ("t1", "t1gd"):
            assert wm > gm > csf and oedema < gm
        elif contrast == "t2":
            assert csf > gm > wm and oedema > gm
        else:
            assert gm > wm > csf and oedema > 1.2 * gm


@pytest.mark.parametrize("kind", ["se", "mprage", "spgr"])
def test_gadolinium_brightens_solid_tumour_above_white_matter(kind: str) -> None:
    for seed in range(200):
        sequence = signals.draw_sequence("t1gd", Draws(seed, "s"), 4200)
        if sequence.kind == kind:
            break
    added = signals.uptake(signals.DISEASED["solid"], sequence, torch.tensor([0.0, 0.3, 1.0]))
    assert float(added[0]) == 0 and 0 < float(added[1]) < float(added[2])
    assert value(sequence, "solid") + float(added[2]) > 1.1 * value(sequence, "wm")


def test_render_mixes_signals_and_texture_moves_them_by_their_slopes() -> None:
    sequence, half = signals.Sequence("se", 500, 10), torch.full((1, 1, 1), 0.5)
    flat = signals.Texture(torch.zeros(3, 1, 1, 1), torch.zeros(3, 1, 1, 1))
    parts = {"wm": half, "csf": half}
    mean = (value(sequence, "wm") + value(sequence, "csf")) / 2
    assert float(signals.render(parts, signals.HEALTHY, sequence, flat)) == pytest.approx(mean, rel=1e-4)
    denser = signals.Texture(torch.tensor([0.0, 0, 1])[:, None, None, None], flat.lesion)
    white = {"wm": 2 * half}
    grain = signals.HEALTHY["wm"].grain
    expected = value(sequence, "wm") * (1 + grain)
    assert float(signals.render(white, signals.HEALTHY, sequence, denser)) == pytest.approx(
        expected, rel=1e-4
    )


def test_coverings_lie_outside_the_brain_only() -> None:
    layers = coverings(30 - RADIUS, GRID, Draws(0, "c"))
    for layer in layers.values():
        assert float(layer[RADIUS < 28].max()) < 0.1
    assert float(sum(layers.values()).max()) < 1.001
    assert float(layers["dura"][(RADIUS > 32) & (RADIUS < 33)].mean()) > 0.3


def test_a_solid_core_can_be_told_from_its_oedema_in_every_patient() -> None:
    patients = [signals.draw_tissues(Draws(seed, "tissues")) for seed in range(200)]
    ratios = [patient["solid"].t2 / patient["oedema"].t2 for patient in patients]
    assert 0.5 < min(ratios) and max(ratios) < 0.85
    spread = np.std([np.log(patient["solid"].t2) for patient in patients])
    assert 0.08 < spread < 0.16  # between patients both differ as much as ever


def test_a_speck_that_enhances_is_labelled_as_core_and_more_than_a_speck_is_not() -> None:
    labels = torch.zeros(10, 10, 10, dtype=torch.uint8)
    labels[:4, :5, :3], labels[0, :4, 0] = 1, 3
    assert lesions.without_specks(labels, 2.0).unique().tolist() == [0, 1]  # 0.032 mL
    assert torch.equal(lesions.without_specks(labels, 2.5), labels)  # 0.0625 mL
