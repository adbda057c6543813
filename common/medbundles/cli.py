"""The command `medbundles`: small functions, bound to the command line by python-fire.

Heavy imports stay inside the functions, so that help and mistyped options answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.decorators import SetParseFns

from medbundles.federated import command as federated
from medbundles.label_app import command as label_app
from medbundles.logs import say, show_log
from medbundles.zoo import find, sharing

PATHS = ("dataset_dir", "output_dir", "weights")


def list_() -> None:
    """The bundles: name, version, task."""
    for folder in find.bundle_folders():
        metadata = find.read_metadata(folder)
        title = metadata.get("medbundles", {}).get("title", metadata.get("task", ""))
        print(f"{folder.name}  {metadata.get('version', '?')}  {title}")


@SetParseFns(str)
def info(bundle: str) -> None:
    """A bundle's inputs, labels, weights, licence and measured figures."""
    from medbundles.zoo import card

    folder = find.find_bundle(bundle)
    print(folder)
    for name, value in card.summary(folder).items():
        print(f"  {name}: {value}")
    for value, name in card.label_names(find.read_metadata(folder)).items():
        print(f"  label {value}: {name}")
    rows = list(card.measured(folder))
    for group, name, figures in rows:
        print(f"  measured on {group}: {name}: {figures}")
    if not rows:
        print("  measured: no figures yet (medbundles evaluate writes them)")


def doctor() -> None:
    """Versions, device, threads, memory, and which optional parts work."""
    from medbundles.zoo.doctor import report

    for line in report():
        print(line)


@SetParseFns(str, output=str)
def demo(bundle: str = "", *, output: str = "demo", **knobs: Any) -> int:
    """Simulates one case per bundle, runs it, and shows what was measured against the known truth.

    Args:
        bundle: one bundle; all if it is left out.
        output: the folder for results, previews and index.html.
    """
    from medbundles.errors import OverrideError
    from medbundles.zoo.demo import comparisons, run_demo
    from medbundles.zoo.workflows import INFERENCE

    if own := [name for name in ("dataset_dir", "output_dir") if name in knobs]:
        raise OverrideError(
            f"--{own[0]} for a demo, which makes its own case",
            expected="--output for the folder of the results",
            source=f"option {own[0]}",
            advice="medbundles predict runs a bundle on your images",
        )
    folders = [find.find_bundle(bundle)] if bundle else find.bundle_folders()
    for folder in folders:
        _checked(folder, INFERENCE, knobs)
    place = Path(output).resolve()
    show_log()
    bad = 0
    for row in run_demo(folders, place, knobs):
        reason = f"\n{row['error']}" if row["error"] else ""
        print(f"{row['bundle']} {row['version']}: {row['status']}{reason}")
        bad += row["status"] == "failed"
        for name, value, truth, unit, agree in comparisons(row):
            shown = "not measured" if value is None else f"{value:.1f} {unit}"
            differs = "DIFFERS" if row["trained"] else "differs: not trained yet"
            verdict = "agrees" if agree else differs
            print(f"  {name}: measured {shown}, expected {truth:.1f} {unit} ({verdict})")
            bad += row["trained"] and not agree
    print(f"results: {place / 'index.html'}")
    return int(bad > 0)


@SetParseFns(str, str, str)
def predict(
    bundle: str,
    input: str,
    output: str,
    *,
    page: bool = True,
    log_json: bool = False,
    store: bool = True,
    plain_http: bool = False,
    **knobs: Any,
) -> int:
    """Runs a bundle on your images.

    Args:
        bundle: the bundle.
        input: an image, a folder of images, a DICOM series or a zip; or a study in an archive (PACS),
            dicomweb[s]://[USER@]HOST[:PORT]/PATH/studies/UID[/series/NUMBER].
        output: the folder for results, previews, report.json, report.csv and the page index.html.
        page: write it.
        log_json: print one JSON object per line, for programs.
        store: put the results of a study in an archive into that study.
        plain_http: speak with an archive on another machine without encryption.
        knobs: options of the bundle, as --name value or name=value.
    """
    from medbundles.dicomweb_address import is_address, parse
    from medbundles.zoo import predicting
    from medbundles.zoo.workflows import INFERENCE

    folder = find.find_bundle(bundle)
    if is_address(input):
        address = parse(input, plain_http=plain_http)
        overrides = _checked(folder, INFERENCE, {"output_format": "dicom", "output_dir": output, **knobs})
        show_log(log_json)
        return predicting.on_study(folder, address, overrides, page=page, store=store)
    overrides = _checked(folder, INFERENCE, {"dataset_dir": input, "output_dir": output, **knobs})
    predicting.require(overrides["dataset_dir"])
    show_log(log_json)
    return predicting.on_files(folder, overrides, page=page)


@SetParseFns(str, str, n=int, seed=int)
def simulate(bundle: str, output: str, *, n: int = 20, seed: int = 0, **knobs: Any) -> None:
    """Writes simulated cases with their exact truth, as the bundle's training reads them.

    Args:
        bundle: the bundle.
        output: the folder for images, labels and cases.json.
        n: how many.
        seed: the same seed gives the same cases.
        knobs: options of the bundle's simulator, as --name value.
    """
    from medbundles.zoo.demo import simulate as write

    cases = write(find.find_bundle(bundle), Path(output).resolve(), n, seed, **knobs)
    print(f"{len(cases)} cases in {Path(output).resolve()}")


@SetParseFns(str, stage=str, tracking=str)
def train(bundle: str, *, stage: str = "", tracking: str = "", log_json: bool = False, **knobs: Any) -> None:
    """Trains a bundle; --resume true continues the run in --output_dir.

    Args:
        bundle: the bundle.
        stage: which part of a bundle that is trained in parts; all for one after the other, each in a folder
            of its own in --output_dir.
        tracking: mlflow records parameters and metrics in OUTPUT_DIR/mlruns.db, or elsewhere with
            --tracking_uri; or a JSON file with settings as MONAI's.
        log_json: print one JSON object per line, for programs.
        knobs: options of the bundle, such as --dataset_dir D --output_dir R --epochs 20.
    """
    from medbundles.shards import rank_and_size
    from medbundles.zoo.workflows import monai_command, run_workflow, training_stages

    folder = find.find_bundle(bundle)
    stages = training_stages(folder, stage)
    tracked: dict[str, Any] = {}
    if tracking:
        from medbundles.tracking import OPTIONS, settings_file

        tracked = {name: knobs.pop(name) for name in OPTIONS if name in knobs}
        tracked["tracking"] = settings_file(tracking)
    options = {name: _checked(folder, files, knobs) for name, files in stages.items()}
    show_log(log_json)
    for name, files in stages.items():
        overrides = options[name]
        if len(stages) > 1 and "output_dir" in overrides:
            overrides["output_dir"] = str(Path(overrides["output_dir"]) / name)
        if rank_and_size()[0] == 0:
            say(f"the same through MONAI: {monai_command(folder, files, {**overrides, **tracked})}")
        run_workflow(folder, files, overrides, logging_file=not log_json, tracked=tracked)


@SetParseFns(str)
def evaluate(bundle: str, *, update_card: bool = False, log_json: bool = False, **knobs: Any) -> None:
    """Measures a bundle on cases with known truth that it was not trained on.

    Args:
        bundle: the bundle.
        update_card: take the figures into the bundle's model card, beside those of other data that were
            measured with the same weights.
        log_json: print one JSON object per line, for programs.
        knobs: options of the bundle, such as --dataset_dir D --output_dir R.
    """
    from medbundles.zoo.workflows import EVALUATE, monai_command, run_workflow

    folder = find.find_bundle(bundle)
    overrides = _checked(folder, EVALUATE, knobs)
    show_log(log_json)
    say(f"the same through MONAI: {monai_command(folder, EVALUATE, overrides)}")
    workflow = run_workflow(folder, EVALUATE, overrides, logging_file=not log_json)
    results = Path(workflow.parser.get_parsed_content("output_dir")) / "evaluation.json"
    say(f"figures: {results}", figures=str(results))
    if update_card:
        from medbundles.zoo.figures import keep

        keep(results, folder, Path(workflow.parser.get_parsed_content("weights")))
        card(str(folder))


@SetParseFns(str)
def check(bundle: str = "", *, all: bool = False) -> int:
    """Checks the files of a bundle against the contract; prints `bundle: file: problem -> what to do`.

    Args:
        bundle: the bundle; all if it is left out.
        all: every bundle, and the shared package.
    """
    from medbundles.zoo.check import check_bundle, check_collection

    folders = [find.find_bundle(bundle)] if bundle else find.bundle_folders()
    problems = check_bundle(folders[0]) if bundle and not all else check_collection()
    for problem in problems:
        print(problem)
    names = ", ".join(folder.name for folder in folders) or "no bundle"
    print(f"{names}: {len(problems)} problems" if problems else f"{names}: no problem")
    return int(bool(problems))


@SetParseFns(str, like=str, home=str, package=str)
def new(name: str, *, like: str = "", home: str = "bundles", package: str = "") -> None:
    """Writes the folder of a new bundle that works at once.

    Args:
        name: <anatomy>_<modality>_<task>, as knee_mr_cartilage_segmentation.
        like: the bundle to start from; left out, the smallest complete one.
        home: the folder that the bundle's folder goes into.
        package: its Python package; left out, the name without its last word.
    """
    from medbundles.zoo.new import new_bundle

    folder = new_bundle(name, Path(home).resolve(), like=like or None, package=package or None)
    print(f"{folder}\nnext: medbundles check {folder}\n      medbundles demo {folder}")


@SetParseFns(str)
def card(bundle: str) -> None:
    """Brings the factual half of a bundle's model card, docs/README.md, and its eval_metrics up to date."""
    from medbundles.zoo.card import write_card
    from medbundles.zoo.figures import write_headline

    folder = find.find_bundle(bundle)
    write_headline(folder)
    print(write_card(folder))


COMMANDS = {
    **{"list": list_, "info": info, "doctor": doctor, "demo": demo, "predict": predict},
    **{"simulate": simulate, "train": train, "evaluate": evaluate, "check": check},
    **{"new": new, "card": card},
    **federated.COMMANDS,
    **label_app.COMMANDS,
    **sharing.COMMANDS,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its status; problems with the input take a few lines."""
    from medbundles.zoo.command_line import run

    sys.exit(run(COMMANDS, list(sys.argv[1:] if argv is None else argv)))


def _checked(folder: Path, names: Sequence[str], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs with types as in the config and absolute paths.

    Raises:
        OverrideError: the bundle has no such knob.
    """
    from medbundles.config_keys import checked
    from medbundles.zoo.workflows import config_files, read_config

    knobs = {key: str(Path(str(v)).resolve()) if key in PATHS else v for key, v in knobs.items()}
    return knobs | checked(read_config(folder, names), knobs, source=config_files(folder, names)[-1])


if __name__ == "__main__":
    main()
