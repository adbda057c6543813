"""Every rule is broken once, on purpose, in a copy of a bundle that keeps them all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medbundles.zoo import rules_code
from medbundles.zoo.check import RULES, check_bundle, check_collection
from medbundles.zoo.find import PATH_VARIABLE

META, INFER, TRAIN = "configs/metadata.json", "configs/inference.json", "configs/train.json"
EVALUATE = "configs/evaluate.json"

# what is changed in which JSON file, and what the check says about it
JSON_BREAKS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    (META, lambda c: c.update(version="0.10.0", changelog={"0.10.0": "x"}), "not three numbers"),
    (META, lambda c: c.update(changelog={"0.0.1": "x"}), "changelog has no entry"),
    (META, lambda c: c.update(schema="https://x/meta_schema_20220324.json"), "the schema is"),
    (META, lambda c: c.pop("authors"), "authors is missing"),
    (META, lambda c: c["medbundles"].pop("terminology"), "terminology is missing"),
    (META, lambda c: c["medbundles"]["terminology"].pop("procedure"), "procedure is missing"),
    (
        META,
        lambda c: c["medbundles"]["terminology"]["segments"].clear(),
        "segments has none, the labels",
    ),
    (
        META,
        lambda c: c["medbundles"]["terminology"]["segments"]["1"].update(colour="red"),
        "segments.1.colour is 'red'",
    ),
    (
        META,
        lambda c: c["medbundles"]["terminology"]["segments"]["1"].update(type=["1", "S" * 17, "x"]),
        "segments.1.type is",
    ),
    (
        META,
        lambda c: c["medbundles"]["terminology"]["measurements"]["circumference"].update(segment=7),
        "circumference.segment is '7'",
    ),
    (META, lambda c: c.update(eval_metrics=[]), "eval_metrics has the wrong type"),
    (META, lambda c: c.update(optional_packages_version={}), "older schema"),
    (META, lambda c: c["required_packages_version"].update(scipy=">=1.2"), "the version of scipy"),
    (META, lambda c: c["network_data_format"]["inputs"]["image"].pop("dtype"), "dtype is missing"),
    (META, lambda c: c["network_data_format"]["inputs"]["image"].update(spatial_shape=["*", 8]), "has '*'"),
    (
        META,
        lambda c: c["network_data_format"]["outputs"].update(
            seg=c["network_data_format"]["outputs"].pop("pred")
        ),
        "the first of outputs is 'seg'",
    ),
    (
        META,
        lambda c: c["network_data_format"]["outputs"]["pred"].update(
            channel_def={"0": "background", "2": "ellipse"}
        ),
        "the labels are 0, 2",
    ),
    (META, lambda c: c["medbundles"].update(package="scripts"), "is taken by others"),
    (META, lambda c: c["medbundles"]["input"].update(calibration="maybe"), "calibration is 'maybe'"),
    (META, lambda c: c["medbundles"]["input"].update(spatial_dims=3), "disagree"),
    (META, lambda c: c["medbundles"].update(simulator="disc_phantom.simulator.nothing"), "does not exist"),
    (META, lambda c: c["medbundles"].update(stages={"first": ["train_first.json"]}), "names no training"),
    (META, lambda c: c["medbundles"].update(exceptions={"no_rule": "because"}), "is no rule"),
    (META, lambda c: c["medbundles"].pop("knobs"), "is not described"),
    (INFER, lambda c: c.pop("seed"), "the knob 'seed' is missing"),
    (INFER, lambda c: c.update(device="cpu"), "chosen in another way"),
    (INFER, lambda c: c.update(threshold=0.5), "nothing uses 'threshold'"),
    (INFER, lambda c: c.update(seed=c.pop("seed")), "stands below"),
    (TRAIN, lambda c: c["validate"].update(extra=1), "nothing uses 'validate#extra'"),
    (INFER, lambda c: c["network_def"].update(out_channels="@classes"), "'@classes' does not exist"),
    (INFER, lambda c: c.update(metadata="@_meta_#version"), "refers to the metadata"),
    (INFER, lambda c: c.update(network_def="%train.json#network_def"), "refers to another file"),
    (TRAIN, lambda c: c["network_def"].update(channels=[8, 16, 64]), "network_def differs"),
    (TRAIN, lambda c: c["train"]["deterministic_transforms"].pop(2), "train#deterministic_transforms"),
    (TRAIN, lambda c: c["train"]["deterministic_transforms"][3].update(k=8), "DivisiblePadd"),
    (INFER, lambda c: c.update(dataset_dir="/home/somebody/data"), "a path of one computer"),
    (INFER, lambda c: c.update(output_dir="$@bundle_root + '/e' + '/v'"), "2 operations"),
    (INFER, lambda c: c.update(output_dir="$(lambda x: x)(@bundle_root)"), "a function or loop"),
    (INFER, lambda c: c.update(output_dir="$@bundle_root + '/" + 90 * "x" + "'"), "characters"),
    (INFER, lambda c: c.update(initialize=["$import os"]), "an import"),
    (INFER, lambda c: c.update(initialize=["$@network.eval()"]), "initialize uses medbundles"),
    (INFER, lambda c: c["run"].pop(0), "mistyped options are not refused"),
    (INFER, lambda c: c["run"].pop(), "do not set the exit status"),
    (INFER, lambda c: c["evaluator"].pop("network"), "needs the argument 'network'"),
    (INFER, lambda c: c["inferer"].update(ampp=True), "takes no argument 'ampp'"),
    (INFER, lambda c: c["inferer"].update(_target_="SimpelInferer"), "does not exist"),
    (INFER, lambda c: c["inferer"].update(_target_="disc_phantom.nothing.Inferer"), "does not exist"),
    (INFER, lambda c: c.update(forward=c.pop("inferer")), "MONAI's property 'inferer' is missing"),
    (TRAIN, lambda c: c["train"]["handlers"].insert(0, "@loss"), "check_properties fails"),
    (
        TRAIN,
        lambda c: c["train"]["trainer"].update(train_handlers="@validate#handlers"),
        "'train_handlers' is referred to by another id",
    ),
    (EVALUATE, lambda c: c.update({"vaildate#dataset": 1}), "does not have"),
    (EVALUATE, lambda c: c["validate#preprocessing"]["transforms"].pop(2), "validate#preprocessing"),
    (EVALUATE, lambda c: c.update(spilt="test"), "nothing uses 'spilt'"),
]
FILE_BREAKS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("LICENSE", Path.unlink, "the file is missing"),
    ("docs/data_license.txt", lambda p: p.write_text(""), "the file is empty"),
    ("configs/logging.conf", lambda p: p.write_text("[loggers]\nkeys=a\n"), "the root logger is missing"),
    (INFER, lambda p: p.write_text(p.read_text()[:-5]), "cannot be read as JSON"),
    (
        INFER,
        lambda p: p.write_text(p.read_text().replace('"seed": 0', '"seed": 0, "seed": 1')),
        "stands twice",
    ),
    (INFER, lambda p: p.write_text(json.dumps(json.loads(p.read_text()), indent=4)), "not formatted"),
    (EVALUATE, lambda p: p.write_text(p.read_text() + 60 * "\n"), "the limit is 60"),
    ("models/extra.pt", lambda p: p.write_bytes(b"x"), "only model.pt"),
    ("models/model.pt", lambda p: torch.save({"a": torch.zeros(2)}, p), "do not fit the network"),
    ("models/model.pt", lambda p: torch.save({"epoch": lambda_free}, p), "models/model.pt"),
    ("models/model.pt", lambda p: p.write_bytes(b"\0" * (21 * 2**20)), "the limit is 20 MB"),
    ("scripts/__init__.py", lambda p: (p.parent.mkdir(), p.write_text("")), "would share it"),
    ("notes.txt", lambda p: p.write_text("x"), "belongs to no part"),
    ("disc_phantom/a.py", lambda p: p.write_text("def f(:\n"), "syntax error"),
    ("disc_phantom/a.py", lambda p: p.write_text("x = 1\n" * 301), "the limit is 300"),
    ("disc_phantom/a.py", lambda p: p.write_text("from . import cases\n"), "relative or star import"),
    ("disc_phantom/a.py", lambda p: p.write_text("print(1)\n"), "line 1 prints"),
    (
        "disc_phantom/a.py",
        lambda p: p.write_text("import yaml_x, pytest\n"),
        "pytest is imported but not pinned",
    ),
    ("disc_phantom/__init__.py", Path.unlink, "the package is missing"),
    ("docs/README.md", lambda p: p.write_text("# Title\n\n## Limits\n"), "'Limits' is empty"),
    ("docs/README.md", lambda p: p.write_text("# Title\n"), "'Results' is missing"),
    ("docs/README.md", lambda p: p.write_text(p.read_text() + "\n[x](gone.md)\n"), "links to 'gone.md'"),
    ("docs/README.md", lambda p: p.write_text(p.read_text() + "\nTODO\n"), "'TODO' stands"),
    ("docs/README.md", lambda p: p.write_text(p.read_text().replace("`0.005`", "`1`")), "out of date"),
]


class _Unsafe:
    """An object that no weights file may hold."""


lambda_free = _Unsafe()


def problems(bundle: Path) -> list[str]:
    return [str(problem) for problem in check_bundle(bundle)]


def test_a_bundle_that_keeps_the_contract_has_no_problem(bundle: Path) -> None:
    assert problems(bundle) == []


@pytest.mark.parametrize(
    ("file", "change", "said"), JSON_BREAKS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_broken_config_is_reported_with_file_and_advice(
    bundle: Path, edit: Any, file: str, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    edit(bundle / file, change)
    found = [line for line in problems(bundle) if said in line]
    assert found
    assert all(line.startswith(f"{bundle.name}: ") and " -> " in line and "\n" not in line for line in found)


@pytest.mark.parametrize(
    ("file", "change", "said"), FILE_BREAKS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_broken_file_is_reported(bundle: Path, file: str, change: Callable[[Path], Any], said: str) -> None:
    change(bundle / file)
    assert any(said in line for line in problems(bundle)), problems(bundle)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Knee_mr_cartilage", "not of the form"),
        ("knee_segmentation", "not of the form"),
        ("fetal_us_view_classification", "begins with v"),
        ("spleen_ct_segmentation", "same name"),
        ("brats_mri_segmentation_imputed", "contained in, that of brats_mri_segmentation"),
    ],
)
def test_a_name_that_breaks_monai_is_refused(bundle: Path, name: str, said: str) -> None:
    assert any(said in line for line in problems(bundle.rename(bundle.parent / name)))


def test_an_overlay_cannot_change_a_part_of_a_macro(bundle: Path, edit: Any) -> None:
    edit(
        bundle / "configs" / "train.json",
        lambda c: c["validate"].update(preprocessing="%train#preprocessing"),
    )
    edit(bundle / "configs" / "evaluate.json", lambda c: c.update({"validate#preprocessing#transforms": []}))
    said = "'validate#preprocessing#transforms' changes what train.json does not have"
    assert any(said in line for line in problems(bundle)), problems(bundle)


def test_a_bundle_may_not_import_its_neighbour(bundle: Path, edit: Any) -> None:
    other = shutil.copytree(bundle, bundle.parent / "knee_mr_cartilage_segmentation")
    (other / "disc_phantom").rename(other / "knee")
    edit(other / META, lambda c: c["medbundles"].update(package="knee"))
    (bundle / "disc_phantom" / "a.py").write_text("from knee.cases import find_cases\n")
    said = "imports the bundle knee_mr_cartilage_segmentation"
    assert any(said in line for line in problems(bundle))


def test_an_exception_with_a_reason_silences_one_rule(bundle: Path, edit: Any) -> None:
    edit(bundle / TRAIN, lambda c: c["train"]["deterministic_transforms"].pop(2))
    assert problems(bundle)
    reason = {"preprocessing_equal": "the network is trained on values as they are"}
    edit(bundle / META, lambda c: c["medbundles"].update(exceptions=reason))
    assert problems(bundle) == []


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip() for rule in RULES)
    assert len({rule.__name__ for rule in RULES}) == len(RULES)


def test_the_shared_package_names_no_bundle() -> None:
    assert [str(p) for p in check_collection() if p.bundle == "medbundles"] == []


def test_naming_a_bundle_in_the_shared_package_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("NAME = 'knee_mr_cartilage_segmentation'\n")
    found = rules_code.shared_code_names_no_bundle(tmp_path, {"knee_mr_cartilage_segmentation": "knee_mr"})
    assert [p.file for p in found] == ["cli.py"]


def test_the_whole_collection_is_checked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(bundle.parent))
    (bundle / "LICENSE").unlink()
    assert any(p.bundle == bundle.name and p.file == "LICENSE" for p in check_collection())
