"""An exported network answers as the original does, for sizes that the export never saw."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from medbundles import cli
from medbundles.errors import BundleError, OverrideError
from medbundles.zoo.export import TOLERANCE, Exported, export
from medbundles.zoo.export_formats import FORMATS
from medbundles.zoo.export_networks import WHOLE, exportables
from medbundles.zoo.find import bundle_folders
from medbundles.zoo.new import TEMPLATE

BUNDLES = {folder.name: folder for folder in bundle_folders()}
SEVERAL = [name for name, folder in BUNDLES.items() if len(list(exportables(folder))) > 3]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Exported]]]:
    """The smallest bundle in every format."""
    folder = tmp_path_factory.mktemp("exports")
    return {name: export(TEMPLATE, name, folder) for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_answers_are_those_of_the_original_for_other_batches_and_sizes(
    exports: dict[str, tuple[Path, list[Exported]]], name: str
) -> None:
    folder, (result,) = exports[name]
    (item,) = exportables(TEMPLATE)
    assert result.size == "any"
    run = FORMATS[name].read(folder / result.file)
    for batch, size in ((1, (112, 48)), (3, (48, 80)), (2, (96, 80))):
        inputs = item.inputs(batch, size, seed=9)
        with torch.no_grad():
            wanted, found = item.network(*inputs), run(*inputs)
        assert found.shape == wanted.shape == (batch, 2, *size)
        assert torch.allclose(found, wanted, atol=TOLERANCE * max(1.0, float(wanted.abs().max())))


def test_torchscript_carries_configs_where_clients_look_for_them(
    exports: dict[str, tuple[Path, list[Exported]]],
) -> None:
    from monai.data import load_net_with_metadata

    folder, (result,) = exports["torchscript"]
    assert result.file == "model.ts"
    with zipfile.ZipFile(folder / "model.ts") as archive:
        assert {"model/extra/inference.json", "model/extra/metadata.json"} <= set(archive.namelist())
    _, metadata, extra = load_net_with_metadata(
        str(folder / "model.ts"), more_extra_files=("inference.json",)
    )
    inference = json.loads((TEMPLATE / "configs" / "inference.json").read_text())
    assert json.loads(extra["inference.json"]) == inference
    assert metadata["version"] == "0.1.0"


def test_onnx_and_pt2_carry_the_metadata(exports: dict[str, tuple[Path, list[Exported]]]) -> None:
    import onnx

    model = onnx.load(exports["onnx"][0] / "model.onnx")
    told = {entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key == "metadata"}
    assert told["metadata"]["medbundles"]["package"] == "disc_phantom"
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["image", "pred"]
    files = {"metadata.json": ""}
    torch.export.load(str(exports["pt2"][0] / "model.pt2"), extra_files=files)
    assert json.loads(files["metadata.json"])["version"] == "0.1.0"


def test_the_record_tells_of_each_network(exports: dict[str, tuple[Path, list[Exported]]]) -> None:
    for name, (folder, results) in exports.items():
        record = json.loads((folder / "export.json").read_text())
        assert (record["format"], record["version"]) == (name, "0.1.0")
        (network,) = record["networks"]
        assert network["file"] == results[0].file and len(network["sha256"]) == 64
        assert len({tuple(shape) for shape in network["shapes"]}) == 3
        assert network["difference"] <= TOLERANCE


def test_what_a_bundle_of_several_networks_cannot_export_says_why() -> None:
    assert SEVERAL
    for name in SEVERAL:
        items = {item.name: item for item in exportables(BUNDLES[name])}
        assert items[WHOLE].network is None and "one by one" in items[WHOLE].reason
        for item in items.values():
            assert bool(item.network) != bool(item.reason)
            if item.network is None and item.name != WHOLE:
                assert "only training" in item.reason


def test_a_network_with_more_inputs_than_an_image_is_exported_with_all_of_them(tmp_path: Path) -> None:
    """The one that imputes: what is wanted and what there is must stay inputs, not become constants."""
    found = [
        (folder, item)
        for folder in BUNDLES.values()
        if json.loads((folder / "configs/metadata.json").read_text())["medbundles"].get("export")
        for item in exportables(folder)
        if item.others and item.network
    ]
    assert found
    form = FORMATS["torchscript"]
    for _, item in found:
        path = tmp_path / f"{item.file_stem}.ts"
        form.write(item, item.sizes()[0], True, path, {})
        run = form.read(path)
        answers = []
        for seed in range(3):
            image, *_ = item.inputs(3, item.sizes()[1], seed=0)
            _, *others = item.inputs(3, item.sizes()[1], seed=seed)
            with torch.no_grad():
                wanted, answer = item.network(image, *others), run(image, *others)
            assert torch.allclose(wanted, answer, atol=1e-4)
            answers.append(answer)
        assert not torch.allclose(answers[0], answers[1])


def test_an_unknown_format_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OverrideError, match="did you mean onnx"):
        export(TEMPLATE, "onx", tmp_path)
    taken = tmp_path / f"{TEMPLATE.name}_onnx"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="there already"):
        export(TEMPLATE, "onnx", tmp_path)
    assert (taken / "mine.txt").read_text() == "mine"


def test_the_command_says_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(TEMPLATE), "--to", "torchscript", "--output", str(tmp_path)])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "network: model.ts (" in out and "on 3 shapes" in out
