"""The body without its table, and tissues, in a drawn chest."""

import numpy as np
import pytest
from scipy import ndimage

from medbundles.ct_regions import body_mask, tissue_regions

SHAPE = (256, 220)


def ellipse(centre: tuple[float, float], axes: tuple[float, float]) -> np.ndarray:
    x, y = (np.arange(n) - c for n, c in zip(SHAPE, centre, strict=True))
    return (x[:, None] / axes[0]) ** 2 + (y[None] / axes[1]) ** 2 <= 1


BODY = ellipse((128, 105), (100, 75))
LUNG = ellipse((80, 100), (30, 45)) | ellipse((176, 100), (30, 45))
AORTA = ellipse((128, 80), (11, 11))
VERTEBRA = ellipse((128, 145), (17, 14))
CORTEX = VERTEBRA & ~ndimage.binary_erosion(VERTEBRA, iterations=3)


def chest(noise: float = 0.0, table: bool = True) -> np.ndarray:
    rng = np.random.default_rng(0)
    hu = np.full(SHAPE, -1000.0)
    hu[BODY], hu[LUNG], hu[AORTA] = 45.0, -850.0, 330.0
    hu[VERTEBRA] = 400 + 380 * ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 1.2)[VERTEBRA]
    hu[CORTEX] = 800.0
    if table:
        hu[20:236, 181:184] = -100.0
        hu[20:236, 196:199] = 200.0
    return ndimage.gaussian_filter(hu, 0.8) + rng.normal(0, noise, SHAPE)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize("noise", [0.0, 60.0])
def test_the_body_is_found_with_its_lungs_and_without_the_table_it_lies_on(noise: float) -> None:
    assert overlap(body_mask(chest(noise)), BODY) > 0.995


def test_the_skin_is_not_moved_by_the_search_for_thin_things() -> None:
    found = body_mask(chest(table=False))
    depth = ndimage.distance_transform_edt(found) + ndimage.distance_transform_edt(~found)
    assert depth[found ^ BODY].max(initial=0) <= 2


def test_each_slice_of_a_volume_has_its_own_body() -> None:
    volume = np.stack([chest(), np.where(LUNG, 40.0, -1000.0)], axis=-1)
    found = body_mask(volume)
    np.testing.assert_array_equal(found[..., 0], body_mask(chest()))
    assert found[..., 1].any() and not (found[..., 1] & ~ndimage.binary_dilation(LUNG)).any()


def test_a_slice_of_tissue_alone_is_all_body() -> None:
    assert body_mask(np.full((64, 64), 40.0)).all()


def test_air_has_no_body() -> None:
    assert not body_mask(np.full((64, 64), -1000.0)).any()


def test_a_line_has_no_body_mask() -> None:
    with pytest.raises(ValueError, match="1 dimensions"):
        body_mask(np.zeros(10))


@pytest.mark.parametrize(
    ("name", "tissue"),
    [("lung", LUNG), ("contrast", AORTA), ("bone", VERTEBRA), ("water", BODY & ~LUNG & ~AORTA & ~VERTEBRA)],
)
@pytest.mark.parametrize("noise", [0.0, 12.0])
def test_each_tissue_is_found_inside_its_own_borders(name: str, tissue: np.ndarray, noise: float) -> None:
    found = tissue_regions(chest(noise))[name]
    core = ndimage.binary_erosion(tissue, iterations=8 if name != "contrast" else 6)
    assert not (found & ~ndimage.binary_erosion(tissue)).any()
    assert found[core].mean() > 0.5 if core.any() else found.any()


def test_tissues_share_no_pixel() -> None:
    assert np.sum(list(tissue_regions(chest(12.0)).values()), axis=0).max() == 1
