"""Dental work in the simulated jaws."""

import numpy as np
import pytest

from medbundles.simulators.jaw import Jaw, jaw
from medbundles.simulators.jaw_arch import draw_patient
from medbundles.simulators.jaw_metal import CLASSES, plan_metal
from medbundles.simulators.jaw_teeth import draw_teeth

SEEDS = range(40)


def works(seed: int, level: str) -> tuple[list, object]:
    teeth = draw_teeth(seed, draw_patient(seed, 1.0, True), None)
    return teeth, plan_metal(seed, level, teeth, implants=True)


@pytest.fixture(scope="module")
def cases() -> dict[str, Jaw]:
    return {
        level: jaw(3, size_mm=(76, 70, 52), spacing_mm=1.0, metal=level, closed=True)
        for level in ("none", "some", "heavy")
    }


def test_the_level_leaves_the_teeth_as_they_are(cases: dict[str, Jaw]) -> None:
    assert np.array_equal(cases["none"].labels, cases["heavy"].labels)
    assert np.array_equal(cases["none"].labels, cases["some"].labels)


def test_none_means_none(cases: dict[str, Jaw]) -> None:
    assert set(cases["none"].materials) == {"soft", "mineral"}
    assert not any(tooth.metal for tooth in cases["none"].teeth)


def test_heavy_holds_more_than_some(cases: dict[str, Jaw]) -> None:
    def amount(case: Jaw) -> float:
        return sum(float(v.sum()) for name, v in case.materials.items() if name not in ("soft", "mineral"))

    assert amount(cases["heavy"]) > 2 * amount(cases["some"]) > 0


def test_fractions_share_the_voxels(cases: dict[str, Jaw]) -> None:
    materials = cases["heavy"].materials
    metal = sum(values for name, values in materials.items() if name not in ("soft", "mineral"))
    assert set(materials) <= {"soft", "mineral", *CLASSES}
    assert metal.min() >= 0 and metal.max() <= 1 + 1e-5
    full = metal > 0.999
    assert full.any()
    assert materials["mineral"][full].max() < 0.01 and materials["soft"][full].max() < 0.01


def test_metal_is_told_where_it_is(cases: dict[str, Jaw]) -> None:
    case = cases["heavy"]
    named = {name for tooth in case.teeth for name in tooth.metal}
    assert named == set(case.materials) - {"soft", "mineral"}
    for tooth in case.teeth:
        if tooth.state == "present" and "amalgam" in tooth.metal:
            assert case.materials["amalgam"][case.labels == tooth.fdi].max() > 0.4


def test_every_kind_of_work_appears_somewhere() -> None:
    kinds, bars = set(), set()
    for seed in SEEDS:
        _, done = works(seed, "heavy")
        kinds |= {piece.kind for row in done.teeth.values() for piece in row}
        bars |= {bar[0] for bar in done.bars}
    assert kinds == {"filling", "crown", "root_filling", "implant", "pontic", "bracket"}
    assert bars == {"bridge", "wire"}


def test_implants_stand_only_where_a_tooth_is_gone() -> None:
    for seed in SEEDS:
        teeth, done = works(seed, "heavy")
        states = {tooth.fdi: tooth.state for tooth in teeth}
        for fdi, row in done.teeth.items():
            gone = any(piece.kind in ("implant", "pontic") for piece in row)
            assert gone == (states[fdi] == "missing")


def test_a_bridge_rests_on_both_neighbours() -> None:
    found = 0
    for seed in SEEDS:
        teeth, done = works(seed, "heavy")
        states = {tooth.fdi: tooth.state for tooth in teeth}
        for kind, codes, _ in done.bars:
            if kind == "bridge":
                found += 1
                assert [states[code] for code in codes] == ["present", "missing", "present"]
                assert codes[0] + 1 == codes[1] == codes[2] - 1
    assert found


def test_brackets_stand_on_the_front_of_the_crowns() -> None:
    seed = next(s for s in SEEDS if any(bar[0] == "wire" for bar in works(s, "heavy")[1].bars))
    options = {"size_mm": (60, 50, 40), "spacing_mm": 0.8, "closed": True, "shift_mm": (0, 10, 0)}
    case, bare = (jaw(seed, metal=level, **options) for level in ("heavy", "none"))
    steel = case.materials["cobalt_chrome"] * (bare.labels == 0)
    bracketed = [t.fdi for t in case.teeth if t.fdi in (11, 21) and "cobalt_chrome" in t.metal]
    for fdi in bracketed:
        tooth = np.argwhere(bare.labels == fdi)
        x = slice(int(tooth[:, 0].mean()) - 1, int(tooth[:, 0].mean()) + 2)
        front = steel[x, : int(tooth[:, 1].mean())].sum()
        assert front > 5 * steel[x, int(tooth[:, 1].max()) : int(tooth[:, 1].max()) + 6].sum()
        assert front > 0
    assert bracketed
