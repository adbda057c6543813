import hashlib
import json
from pathlib import Path

from medbundles.zoo.card import BEGIN, END, describe_input, updated_card, write_card


def test_a_card_that_is_up_to_date_stays_as_it_is(bundle: Path) -> None:
    before = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert write_card(bundle).read_text(encoding="utf-8") == before


def test_what_was_written_by_hand_stays(bundle: Path) -> None:
    path = bundle / "docs" / "README.md"
    text = (
        path.read_text(encoding="utf-8").replace("## Limits", "By hand above.\n\n## Limits")
        + "By hand below.\n"
    )
    path.write_text(text, encoding="utf-8")
    (bundle / "models" / "model.pt").write_bytes(b"other weights")
    after = updated_card(bundle)
    assert "By hand above." in after and after.endswith("By hand below.\n")
    assert after.count(BEGIN) == after.count(END) == 1


def test_the_card_states_the_weights_that_are_there(bundle: Path) -> None:
    content = (bundle / "models" / "model.pt").read_bytes()
    assert hashlib.sha256(content).hexdigest() in updated_card(bundle)


def test_a_card_is_made_where_there_is_none(bundle: Path) -> None:
    (bundle / "docs" / "README.md").unlink()
    text = write_card(bundle).read_text(encoding="utf-8")
    assert text.startswith("# Ellipse in noise") and "## Intended use" in text
    assert "| 1 | ellipse |" in text


def test_measured_figures_come_from_the_evaluation(bundle: Path) -> None:
    figures = {"groups": {"simulated": {"Dice": {"n": 4, "mean": 0.98765}}}}
    (bundle / "docs" / "evaluation.json").write_text(json.dumps(figures), encoding="utf-8")
    assert "| simulated | Dice | n 4, mean 0.9876 |" in updated_card(bundle).replace("0.9877", "0.9876")


def test_the_input_is_described_in_words() -> None:
    spec = {
        "spatial_dims": 2,
        "channels": 1,
        "modality": ["US"],
        "calibration": "optional",
        "size_px": [64, 4096],
    }
    text = "2D US, 1 channel, 64 to 4096 pixels a side, without calibration: pixels"
    assert describe_input(spec) == text
