"""The whole of a CycleGAN can be stated in JSON: `test_adversarial_config.json` beside this file."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from monai.bundle import ConfigParser

torch.set_num_threads(1)


def test_everything_is_a_component_of_a_json_configuration(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (2, 1, 24, 24)
    data = [{"low": torch.rand(shape), "routine": torch.rand(shape)} for _ in range(3)]
    config = ConfigParser.load_config_file(Path(__file__).with_suffix(".json"))
    parser = ConfigParser(config | {"data": data, "events": str(tmp_path)})
    engine = parser.get_parsed_content("trainer")
    generators = parser.get_parsed_content("generators")
    before = copy.deepcopy(generators)
    engine.run()
    assert engine.generators["up"] is generators["up"]
    assert not torch.equal(generators["up"].weight, before["up"].weight)
    assert engine.optimizers["generator"].param_groups[0]["lr"] == 0
    assert engine.judgements["judged"].pool is parser.get_parsed_content("pool")
    assert len(engine.judgements["judged"].pool.images) == 12
    assert parser.get_parsed_content("validator").state.metrics["error"] > 0
    assert {path.name for path in tmp_path.iterdir()} > {"checkpoint.pt"}
    assert any("tfevents" in path.name for path in tmp_path.iterdir())
