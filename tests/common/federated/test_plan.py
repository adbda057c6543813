"""What a job may ask of a site, and what a site keeps to itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medbundles.errors import FederationError, OverrideError
from medbundles.federated.job import restrict, write_job
from medbundles.federated.names import CLIENT, SERVER
from medbundles.federated.plan import Plan, check_knobs, fingerprint, site_names, stage_configs
from medbundles.federated.site import ANY, Site, read_site, write_site
from medbundles.zoo.find import find_bundle
from medbundles.zoo.new import TEMPLATE


def plan(**changes: Any) -> Plan:
    return replace(Plan(TEMPLATE.name, fingerprint(TEMPLATE), rounds=3, local_epochs=2), **changes)


def test_numbers_and_words_may_be_asked_for() -> None:
    check_knobs(
        {"learning_rate": 0.1, "amp": False, "patch": [64, 32], "part": "segmenter", "look_weights": None}
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "$__import__('os').system('id')"),
        ("mode", "@dataset_dir"),
        ("mode", "%train"),
        ("patch", [64, "$print(1)"]),
        ("network_def", {"_target_": "os.system", "command": "id"}),
        ("patch", [{"_target_": "os.system"}]),
        ("train#trainer", 1),
        ("dataset_dir", "data"),
        ("output_dir", "out"),
        ("initial_weights", "w"),
        ("bundle_root", "x"),
        ("resume", True),
    ],
)
def test_code_paths_and_components_may_not(name: str, value: Any) -> None:
    with pytest.raises(FederationError, match=name):
        check_knobs({name: value})


def test_a_site_with_another_version_of_the_bundle_does_not_take_part(tmp_path: Path) -> None:
    own = tmp_path / TEMPLATE.name
    shutil.copytree(TEMPLATE, own, ignore=shutil.ignore_patterns("__pycache__"))
    plan().check(own)
    code = own / "disc_phantom" / "cases.py"
    code.write_text(code.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    with pytest.raises(FederationError, match="another disc_phantom_segmentation"):
        plan().check(own)


@pytest.mark.parametrize("rounds", [0, -1, True, "3"])
def test_a_number_of_rounds_that_is_none_is_refused(rounds: Any) -> None:
    with pytest.raises(FederationError, match="rounds"):
        plan(rounds=rounds).check(TEMPLATE)


def test_the_learning_rate_falls_over_all_rounds_and_no_weights_are_loaded_on_the_way() -> None:
    fetal = find_bundle("fetal_us_biometry_segmentation")
    options = replace(plan(), bundle=fetal.name, knobs={"batch_size": 2}).overrides(fetal)
    assert options == {
        **{"epochs": 6, "schedule_epochs": 6, "val_interval": 7, "batch_size": 2},
        **{"resume": False, "initial_weights": None},
    }
    assert "initial_weights" not in plan().overrides(TEMPLATE)  # the smallest bundle has no such knob


def test_one_stage_of_a_bundle_is_trained_at_a_time() -> None:
    dental = find_bundle("dental_cbct_tooth_segmentation")
    assert stage_configs(dental, "detector")[-1] == "train_detector.json"
    with pytest.raises(OverrideError, match="all stages at once"):
        stage_configs(dental, "all")


def test_sites_have_names_and_may_have_folders() -> None:
    assert site_names("a=/data/x, b=/data/y") == {"a": "/data/x", "b": "/data/y"}
    assert site_names("north,south-2") == {"north": "", "south-2": ""}


@pytest.mark.parametrize("text", ["", "a", "a=x", "a=x,a=y", "a=x,../b=y", "a=x,server=y", "a=x,b c=y"])
def test_names_that_are_no_two_sites_are_refused(text: str) -> None:
    with pytest.raises(OverrideError, match="--sites"):
        site_names(text)


def test_a_site_takes_only_the_bundles_that_it_has_agreed_to(tmp_path: Path) -> None:
    site = Site({TEMPLATE.name: str(TEMPLATE)}, str(tmp_path / "own"), str(tmp_path), {"device": "cpu"})
    write_site(tmp_path / "local", ANY, site)
    assert read_site(tmp_path / "local", "hospital_a") == site
    assert site.folder(TEMPLATE.name) == TEMPLATE
    with pytest.raises(FederationError, match="other_bundle"):
        site.folder("other_bundle")
    with pytest.raises(FederationError, match="no settings"):
        read_site(tmp_path, "hospital_a")


def test_a_job_holds_settings_and_tensors_and_nothing_of_a_site(tmp_path: Path) -> None:
    write_job(tmp_path / "job", plan(), ["a", "b"], {})
    files = {path.relative_to(tmp_path / "job").as_posix() for path in (tmp_path / "job").rglob("*.*")}
    assert files == {
        "meta.json",
        "app_server/config/config_fed_server.json",
        "app_server/config/first_weights.pt",
        "app_sites/config/config_fed_client.json",
    }
    client = json.loads(
        (tmp_path / "job/app_sites/config/config_fed_client.json").read_text(encoding="utf-8")
    )
    assert Plan(**client["executors"][0]["executor"]["args"]["plan"]) == plan()


def test_a_job_does_not_replace_a_folder_that_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"image")
    with pytest.raises(OverrideError, match="no job"):
        write_job(tmp_path, plan(), ["a", "b"], {})
    assert (tmp_path / "scan.nii.gz").is_file()


def test_a_prepared_kit_lets_in_our_components_alone_and_sends_no_log(tmp_path: Path) -> None:
    streamer = {"id": "s", "path": "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"}
    manager = {"id": "m", "path": "nvflare.app_common.resource_managers.x.Y"}
    defaults = {"class_allow_list": ["*"], "allow_log_streaming": True, "components": [streamer, manager]}
    (tmp_path / "resources.json.default").write_text(json.dumps(defaults), encoding="utf-8")
    rights = {"project_admin": "any", "lead": {"submit_job": "any", "byoc": "any"}, "member": {"view": "any"}}
    (tmp_path / "authorization.json.default").write_text(
        json.dumps({"permissions": rights}), encoding="utf-8"
    )
    written, allowed = (json.loads(path.read_text(encoding="utf-8")) for path in restrict(tmp_path))
    assert written["class_allow_list"] == [CLIENT, SERVER]
    assert written["class_list_enforcement_mode"] == "enforce"
    assert written["allow_log_streaming"] is False
    assert written["components"] == [manager]
    none = {"byoc": "none", "shell_commands": "none"}
    assert allowed["permissions"] == {
        "project_admin": {"submit_job": "any", "view": "any", **none},
        "lead": {"submit_job": "any", **none},
        "member": {"view": "any", **none},
    }
