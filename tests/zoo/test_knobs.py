from pathlib import Path
from typing import Any

from medbundles.zoo.knobs import knob_table, knobs
from medbundles.zoo.workflows import EVALUATE, INFERENCE, TRAIN


def test_knobs_are_what_stands_above_the_components(bundle: Path) -> None:
    names = [knob.name for knob in knobs(bundle, INFERENCE)]
    assert names[:3] == ["bundle_root", "dataset_dir", "output_dir"]
    assert "device" in names and "network_def" not in names


def test_every_knob_of_the_template_has_a_meaning(bundle: Path) -> None:
    for workflow in (INFERENCE, TRAIN, EVALUATE):
        assert all(knob.meaning for knob in knobs(bundle, workflow))


def test_defaults_are_shown_as_a_user_would_type_them(bundle: Path) -> None:
    shown = {knob.name: knob.shown_default for knob in knobs(bundle, INFERENCE)}
    assert shown["device"] == "auto"
    assert shown["overwrite"] == "false"
    assert shown["pixel_mm"] == "not set"
    assert shown["output_dir"] == "<bundle>/eval"


def test_a_bundle_describes_its_own_knobs(bundle: Path, edit: Any) -> None:
    edit(bundle / "configs" / "metadata.json", lambda c: c["medbundles"]["knobs"].update(seed="my seed"))
    assert "| `seed` | `0` | my seed |" in knob_table(bundle, TRAIN)
