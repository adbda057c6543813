"""The tables of the benchmark of the amniotic fluid index, and what of them is kept."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from afi_measure import DEPTH, DICE, TRUE_DEPTH
from afi_report import (
    ABSOLUTE,
    CLINICIAN,
    RELATIVE,
    dice_summary,
    index_summary,
    kept_rows,
    page,
    patient_rows,
    write_report,
)

from amniotic_fluid.cases import OTHER
from amniotic_fluid.pockets import RULES
from medbundles.evaluation import MEASURED

HAZY = f"{OTHER}, with reverberation"


def frames(variant: str, patient: str, depths: list[float], dice: float, run: str = "seed_0") -> list[dict]:
    """Frames of true depth 10; every rule but the clinician's reads 5 mm more; the last frame is hazy."""
    return [
        {"run": run, "kind": OTHER, "patient": patient, "frame": f"{patient} {number}"}
        | {TRUE_DEPTH: 10.0, "variant": variant, DICE: dice, "hazy": number == len(depths) - 1}
        | {DEPTH.format(rule): depth + 5 * (rule != CLINICIAN) for rule in RULES}
        for number, depth in enumerate(depths)
    ]


def test_an_index_needs_four_frames_and_a_relative_error_an_index() -> None:
    rows = [*frames("unet", "a", [10.0] * 3, dice=1.0), *frames("unet", "b", [0.0, 10, 10, 15], dice=1.0)]
    rows += [row | {"patient": "c", TRUE_DEPTH: 0.0} for row in rows[3:]]
    found = {(row["patient"], row["rule"]): row for row in patient_rows(rows)}
    assert {patient for patient, _ in found} == {"b", "c"}
    assert found["b", CLINICIAN]["AFI" + MEASURED] == 35 and found["b", CLINICIAN][RELATIVE] == 12.5
    assert found["b", "longest column"][ABSOLUTE] == 15
    assert found["c", CLINICIAN][ABSOLUTE] == 35 and RELATIVE not in found["c", CLINICIAN]


def test_hazy_frames_stand_apart_and_variants_are_tested_against_the_one_before() -> None:
    rows = []
    for number, patient in enumerate("abc"):
        rows += frames("unet", patient, [10.0] * 4, dice=0.5)
        rows += frames("atrous", patient, [10.0] * 4, dice=0.6 + 0.1 * number)
        rows += frames("atrous", patient, [10.0] * 4, dice=0.8 + 0.1 * number, run="seed_1")
        rows += frames("side output", patient, [10.0] * 4, dice=0.9)
    found = {(row["frames"], row["variant"]): row for row in dice_summary(rows)}
    assert (found[OTHER, "atrous"]["n"], found[HAZY, "atrous"]["n"]) == (12, 3)
    hazy = found[HAZY, "atrous"]
    assert hazy["mean"] == pytest.approx(0.8) and hazy["sd"] == pytest.approx(0.1)  # 0.7, 0.8, 0.9
    assert hazy["p against variant before"] == 0.25
    assert found[HAZY, "unet"]["p against variant before"] == ""
    assert found[HAZY, "side output"]["p against variant before"] == ""  # the one before was not measured


def test_agreement_is_that_of_each_run_and_errors_are_averaged_over_runs() -> None:
    rows = []
    for patient, first, second in (("a", 11.0, 9.0), ("b", 9.0, 11.0), ("c", 11.0, 10.0)):
        rows += frames("unet", patient, [first] * 4, dice=1.0)
        rows += frames("unet", patient, [second] * 4, dice=1.0, run="seed_1")
    found = {row["rule"]: row for row in index_summary(patient_rows(rows))}
    row = found[CLINICIAN]
    assert row[f"{ABSOLUTE}, n"] == 3 and row[f"{ABSOLUTE}, mean"] == pytest.approx(10 / 3)  # 4, 4 and 2
    assert row[f"{RELATIVE}, mean"] == pytest.approx(25 / 3)
    # Differences of 4, -4, 4 and of -4, 4, 0: means 4/3 and 0, variances 64/3 and 16.
    assert row["bias mm"] == pytest.approx(2 / 3)
    assert row["upper mm"] == pytest.approx(2 / 3 + 1.96 * ((64 / 3) ** 0.5 + 4) / 2)
    assert row["p against rule before"] == 0.25 and found["largest component"]["p against rule before"] == 1
    assert found["longest column"]["p against rule before"] == ""
    assert "Nothing was measured." in page([], index_summary(patient_rows(rows)))  # of the last variant


def test_rows_of_other_runs_are_kept_as_they_were_and_only_of_the_same_frames(tmp_path: Path) -> None:
    others = [
        *frames("unet", "a", [8.0, 9, 10, 11], dice=0.5),
        *frames("unet", "b", [0.0, 10, 10, 15], dice=0.25),
    ]
    old = [
        *frames("shipped", "a", [0.0] * 4, 0.1, "shipped"),
        *frames("shipped", "b", [0.0] * 4, 0.1, "shipped"),
    ]
    del others[0][DICE]
    write_report([*old, *others], tmp_path)
    new = [
        *frames("shipped", "a", [10.0] * 4, 0.9, "shipped"),
        *frames("shipped", "b", [10.0] * 4, 0.9, "shipped"),
    ]
    assert kept_rows(tmp_path, new) == others

    before = (tmp_path / "afi_index.csv").read_text().splitlines()
    write_report([*new, *kept_rows(tmp_path, new)], tmp_path)
    after = (tmp_path / "afi_index.csv").read_text().splitlines()
    assert [line for line in before if "unet" in line] == [line for line in after if "unet" in line]
    assert before != after
    with pytest.raises(SystemExit, match="b 0"):
        kept_rows(tmp_path, new[:4])
