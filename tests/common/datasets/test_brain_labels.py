"""The meanings of labels: by name, by value, and by what the images show."""

import numpy as np
import pytest

from medbundles.checks import DatasetError
from medbundles.datasets.brain_labels import CONVENTIONS, OURS, enhancement, label_convention, to_our_labels


@pytest.mark.parametrize(
    ("values", "convention"),
    [
        ({0, 1, 2, 4}, "brats2018"),
        ({0, 4}, "brats2018"),
        ({0, 1, 2, 3}, "brats2023"),
        ({0, 3}, "brats2023"),
        ({0, 1, 2, 3, 4}, "brats2015"),
        ({0, 2}, "brats2023"),
        ({0}, "brats2023"),
    ],
)
def test_without_a_name_the_values_tell(values: set[int], convention: str) -> None:
    assert label_convention(values) == convention


def test_a_name_is_believed_until_a_value_contradicts_it() -> None:
    assert label_convention({1, 2, 4}, layout="brats2024") == "brats2024"
    assert label_convention({1, 2}, layout="brats2015") == "brats2015"
    assert label_convention({1, 2, 3}, layout="brats2018") == "brats2023"
    assert label_convention({1, 2, 4}, layout="brats2023") == "brats2018"
    assert label_convention({1, 2, 3}, layout="msd") == "msd"


def test_the_enhancing_label_is_the_one_that_gained_most() -> None:
    assert label_convention({1, 2, 3}, layout="msd", gain={1: 0.1, 2: 2.0, 3: 0.0}) == "msd_swapped"
    assert label_convention({1, 2, 3}, layout="msd", gain={1: 0.1, 2: 0.0, 3: 2.0}) == "msd"
    assert label_convention({1, 2, 3, 4}, gain={2: 0.1, 3: 1.5, 4: -0.2}) == "brats2024"
    assert label_convention({1, 2, 3, 4}, gain={2: 0.1, 3: 0.2, 4: 1.4}) == "brats2015"
    assert label_convention({1, 2, 3}, layout="msd", gain={1: 0.1, 2: 0.2, 3: 0.1}) == "msd"  # undecided


def test_values_of_no_convention_are_refused() -> None:
    for labels in ([0, 1, 7], [-1, 0]):
        with pytest.raises(DatasetError, match="label"):
            to_our_labels(np.array(labels))


def test_every_convention_maps_to_ours() -> None:
    assert to_our_labels([0, 1, 2, 4]).tolist() == [0, 1, 2, 3]
    assert to_our_labels([0, 1, 2, 3], "brats2023").tolist() == [0, 1, 2, 3]
    assert to_our_labels([0, 1, 2, 3, 4], "brats2015").tolist() == [0, 1, 2, 1, 3]
    assert to_our_labels([0, 1, 2, 3, 4], "brats2024").tolist() == [0, 1, 2, 3, 0]
    assert to_our_labels([0, 1, 2, 3], "msd").tolist() == [0, 2, 1, 3]
    assert to_our_labels([0.0, 1.0, 2.0, 3.0], "msd_swapped").tolist() == [0, 2, 3, 1]
    assert to_our_labels(np.zeros((2, 2))).dtype == np.uint8
    assert OURS in CONVENTIONS


def test_enhancement_is_measured_against_the_normal_brain_whatever_the_scales() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4:8], labels[10:14] = 2, 3
    native = rng.normal(100, 10, labels.shape)
    agent = 7 * native + 500 * (labels == 3)
    found = enhancement(native, agent, labels)
    assert found[2] == pytest.approx(0, abs=0.05)
    assert found[3] == pytest.approx(500 / 70, rel=0.05)
    labels[labels == 2] = 0
    labels[0, 0, :5] = 1
    assert set(enhancement(native, agent, labels)) == {3}
