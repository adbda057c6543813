"""Training across hospitals on NVFLARE's simulator: a process for each site, real messages between them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from medbundles.datasets.simulated import TABLE, write_table
from medbundles.errors import FederationError
from medbundles.federated.exchange import Contribution
from medbundles.federated.names import LOG
from medbundles.federated.networks import first_weights
from medbundles.federated.plan import Plan, fingerprint
from medbundles.federated.running import federate, join
from medbundles.federated.simulation import JOB_ID, prepare, run
from medbundles.federated.site import Site, read_site
from medbundles.io import read_image, write_image
from medbundles.zoo.demo import simulate as simulate_cases
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.workflows import EVALUATE, TRAIN, open_workflow, run_workflow

pytestmark = [pytest.mark.fl, pytest.mark.timeout(1200)]

CASES, ROUNDS, LOCAL_EPOCHS = 30, 16, 1
PATIENT = "DOE_JANE"
KNOBS = {"device": "cpu", "amp": False, "batch_size": 4, "learning_rate": 0.004}


def as_it_is(image: np.ndarray) -> np.ndarray:
    return image


def inverted(image: np.ndarray) -> np.ndarray:
    """A scanner whose vendor shows bright what others show dark, and smooths along one axis."""
    return 255 - (image + np.roll(image, 1, axis=1)) / 2


def hospital(folder: Path, seed: int, scanner: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Writes the cases of a hospital, in files that somebody has named after patients."""
    simulate_cases(TEMPLATE, folder, CASES, seed)
    content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    for i, case in enumerate(content["cases"]):
        image = read_image(folder / case["image"])
        (folder / case["image"]).unlink()
        case["image"] = f"images/{PATIENT}_{seed}_{i}.nii.gz"
        pixels = np.clip(scanner(np.asarray(image.array, np.float32)), 0, 255).astype(np.uint8)
        write_image(pixels, folder / case["image"], affine=image.affine)
    write_table(folder, content["simulator"], seed, content["cases"])
    return folder


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("cases")
    north = hospital(home / f"{PATIENT}_north", 1, as_it_is)
    return {"north": north, "south": hospital(home / "south", 2, inverted)}


@pytest.fixture(scope="module")
def pooled(hospitals: dict[str, Path]) -> Path:
    """All cases in one folder, which no site of the federation has."""
    home, cases = hospitals["north"].parent, []
    for folder in hospitals.values():
        content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        for case in content["cases"]:
            places = {key: f"{folder.name}/{case[key]}" for key in ("image", "label")}
            cases.append({**case, **places})
    write_table(home, content["simulator"], 0, cases)
    return home


@pytest.fixture(scope="module")
def federation(hospitals: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a federated training has left its results."""
    output = tmp_path_factory.mktemp("federation")
    sites = ",".join(f"{name}={folder}" for name, folder in hospitals.items())
    federate(str(TEMPLATE), sites, ROUNDS, LOCAL_EPOCHS, "", output, "", KNOBS)
    return output


def dice_of(weights: Path, cases: Path, output: Path) -> float:
    """The mean Dice on the test cases, as `medbundles evaluate` measures it."""
    options = {"dataset_dir": str(cases), "output_dir": str(output), "weights": str(weights), "device": "cpu"}
    run_workflow(TEMPLATE, EVALUATE, options, logging_file=False)
    figures = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    return figures["groups"]["simulated"]["Dice"]["mean"]


def trained_alone(folder: Path, output: Path) -> Path:
    """The best weights of one hospital after as many steps as it takes in the federation."""
    options = {"dataset_dir": str(folder), "output_dir": str(output), "weights": str(output / "model.pt")}
    options |= {"epochs": ROUNDS * LOCAL_EPOCHS, "val_interval": LOCAL_EPOCHS, **KNOBS}
    run_workflow(TEMPLATE, TRAIN, options, logging_file=False)
    return output / "model.pt"


def holds(folder: Path, words: Sequence[str]) -> list[str]:
    """The files whose bytes hold one of the words, but the settings that each site has of its own."""
    files = [p for p in folder.rglob("*") if p.is_file() and "local" not in p.relative_to(folder).parts]
    assert files
    return [str(path) for path in files if any(word.encode() in path.read_bytes() for word in words)]


def test_the_federated_weights_are_better_on_all_patients_than_those_of_either_hospital(
    hospitals: dict[str, Path], pooled: Path, federation: Path, tmp_path: Path
) -> None:
    together = dice_of(federation / "model.pt", pooled, tmp_path / "together")
    alone = {
        name: dice_of(trained_alone(folder, tmp_path / f"train_{name}"), pooled, tmp_path / name)
        for name, folder in hospitals.items()
    }
    assert together > 0.85, (together, alone)
    assert together > max(alone.values()) + 0.1, (together, alone)


def test_every_round_is_told_with_the_steps_of_each_site(federation: Path) -> None:
    rows = json.loads((federation / "rounds.json").read_text(encoding="utf-8"))
    rounds = [row for row in rows if "round" in row]
    assert [row["round"] for row in rounds] == list(range(1, ROUNDS + 1))
    assert all(set(row["steps"]) == {"north", "south"} and min(row["steps"].values()) > 0 for row in rounds)
    scores = [row for row in rows if row.get("metric") == "val_dice"]
    assert [row["after_round"] for row in scores] == list(range(ROUNDS + 1))  # the first and last ones, too


def test_the_weights_file_holds_tensors_alone(federation: Path) -> None:
    state = torch.load(federation / "model.pt", weights_only=True)
    assert state
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_no_name_of_a_patient_or_folder_reaches_what_nvflare_sends_or_logs(
    federation: Path, hospitals: dict[str, Path]
) -> None:
    words = [PATIENT, str(hospitals["north"].parent)]
    assert holds(federation / "nvflare", words) == []
    assert holds(federation / "job", words) == []


def test_the_error_of_a_site_is_told_there_and_nowhere_else(
    hospitals: dict[str, Path], tmp_path: Path
) -> None:
    broken = hospital(tmp_path / "broken", 3, as_it_is)
    for image in (broken / "images").iterdir():
        image.write_bytes(image.read_bytes()[:200])
    sites = f"north={hospitals['north']},broken={broken}"
    with pytest.raises(FederationError, match=r"did not come to its end:\nbroken: "):
        federate(str(TEMPLATE), sites, 1, 1, "", tmp_path / "out", "", KNOBS)
    assert PATIENT in (tmp_path / "out" / "sites" / "broken" / JOB_ID / LOG).read_text(encoding="utf-8")
    assert holds(tmp_path / "out" / "nvflare", [PATIENT, str(broken)]) == []


def test_a_message_holds_weights_steps_and_one_metric(hospitals: dict[str, Path], tmp_path: Path) -> None:
    from medbundles.federated.client import algorithm, reply

    site = Site({TEMPLATE.name: str(TEMPLATE)}, str(tmp_path), str(hospitals["north"]), {"device": "cpu"})
    algo = algorithm(Plan(TEMPLATE.name, fingerprint(TEMPLATE), 1), site, tmp_path / "own")
    weights = {key: value.clone() for key, value in algo.networks.exchanged().items()}
    metrics = algo.score(weights)
    trained, steps = algo.train_from(weights)
    monai = algo.get_weights()
    assert monai.statistics.keys() > {"num_executed_iterations"}  # MONAI would send the trainer's state, too
    message = reply(Contribution(trained, steps, metrics))
    content = message["DXO"]
    assert content["kind"] == "WEIGHTS"
    assert set(content["data"]) == set(weights)
    assert all(isinstance(value, np.ndarray) for value in content["data"].values())
    assert content["meta"] == {"NUM_STEPS_CURRENT_ROUND": steps, "initial_metrics": metrics}
    assert list(metrics) == ["val_dice"]


@pytest.fixture
def registered() -> None:
    """The decoders that NVFLARE has in a real process."""
    from nvflare.apis.utils.decomposers import flare_decomposers
    from nvflare.app_common.decomposers import common_decomposers, numpy_decomposers

    flare_decomposers.register()
    common_decomposers.register()
    numpy_decomposers.register()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


def test_a_message_with_pickled_code_is_refused_and_nothing_runs(registered: None, tmp_path: Path) -> None:
    from nvflare.app_common.decomposers import numpy_decomposers

    stream = io.BytesIO()
    np.save(stream, np.array([Payload(tmp_path / "ran")], dtype=object), allow_pickle=True)
    decoder = numpy_decomposers.NumpyArrayDecomposer()
    with pytest.raises(ValueError, match="allow_pickle=False"):
        decoder.native_recompose(stream.getvalue())
    assert not (tmp_path / "ran").exists()
    np.load(io.BytesIO(stream.getvalue()), allow_pickle=True)  # the payload does work where pickles are read
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["subprocess.Popen", "medbundles.federated.site.Site", "builtins.eval"])
def test_a_message_cannot_name_a_class_to_be_made(registered: None, kind: str) -> None:
    import msgpack
    from nvflare.fuel.utils import fobs
    from nvflare.fuel.utils.fobs import lobs

    generic = "nvflare.fuel.utils.fobs.decomposer.DataClassDecomposer"
    item = {"__fobs_type__": kind, "__fobs_data__": {"data": {"args": "id"}}, "__fobs_dc__": generic}
    honest = fobs.dumps({"weights": np.ones(3)})
    assert fobs.loads(honest)["weights"].tolist() == [1, 1, 1]
    body = msgpack.packb({"weights": item})
    with pytest.raises(ValueError, match="is not allowed"):
        fobs.loads(lobs.HEADER_STRUCT.pack(lobs.MARKER_MAIN, 0, len(body)) + body)


def test_a_job_with_a_foreign_component_is_not_run(hospitals: dict[str, Path], tmp_path: Path) -> None:
    workflow = open_workflow(TEMPLATE, TRAIN, KNOBS, logging_file=False)
    plan = Plan(TEMPLATE.name, fingerprint(TEMPLATE), 1)
    sites = {name: str(folder) for name, folder in hospitals.items()}
    prepare(TEMPLATE, plan, sites, first_weights(workflow), tmp_path)
    config = tmp_path / "job" / "app_sites" / "config" / "config_fed_client.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    trainer = {
        "path": "nvflare.app_common.np.np_trainer.NPTrainer",
        "args": {},
    }  # NVFLARE allows it by itself
    content["executors"][0]["executor"] = trainer
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FederationError, match="did not come to its end"):
        run(tmp_path, list(sites))
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "nvflare").rglob("*log*.txt")]
    assert any("NPTrainer' at config path" in log and "is not in allow_list" in log for log in logs)


def test_joining_prepares_the_kit_of_a_site_and_checks_its_cases(
    hospitals: dict[str, Path], tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_client.json").write_text("{}", encoding="utf-8")
    join(kit, str(TEMPLATE), str(hospitals["north"]), str(tmp_path / "own"), {"device": "cpu"})
    site = read_site(kit / "local", "whatever_nvflare_calls_it")
    assert site.dataset_dir == str(hospitals["north"])
    assert site.knobs == {"device": "cpu"}
    assert site.folder(TEMPLATE.name) == TEMPLATE
