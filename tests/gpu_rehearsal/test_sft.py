"""Every shipped script for supervised fine-tuning with `device=gpu`, to verl's own options of its engine."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf
from shipped import scripts, stand_in
from verl.trainer.sft_trainer import SFTTrainer

from cppo_verl.config.compose import compose
from cppo_verl.sft import checks, command

CONFIG = Path(command.__file__).parent / "conf"


class Planned(BaseException):
    """The ranks would start; what follows needs GPUs."""


@pytest.mark.parametrize("script", scripts("sft"), ids=lambda script: script.name)
def test_verl_takes_it(script, tmp_path, monkeypatch):
    def stop(file: Path, *_) -> None:
        raise Planned(file)

    monkeypatch.setattr(command, "run_ranks", stop)
    monkeypatch.setattr(checks, "weights_fault", lambda _: None)  # the model that stands in has none
    chosen = compose([*script.overrides, "device=gpu"], CONFIG, "sft")
    model, rows = stand_in(chosen.model.path, tmp_path), demonstrations(tmp_path / "rows.parquet")
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"trainer.default_local_dir={tmp_path}/run")
    with pytest.raises(Planned) as planned:
        command.run(compose([*script.overrides, "device=gpu", f"model.path={model}", *files], CONFIG, "sft"))

    trainer = object.__new__(SFTTrainer)
    trainer.config = OmegaConf.load(planned.value.args[0])  # as each rank reads it
    trainer._build_config()
    assert trainer.config.trainer.device == "cuda" and trainer.engine_config.strategy == "fsdp2"
    assert trainer.model_config.override_config["attn_implementation"] in ("sdpa", "flash_attention_2")
    assert trainer.model_config.use_remove_padding and trainer.model_config.enable_gradient_checkpointing
    assert trainer.optimizer_config.lr == chosen.optim.lr


def demonstrations(path: Path) -> Path:
    """As many as a step takes, and more."""
    chat = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    pd.DataFrame({"messages": [chat] * 256}).to_parquet(path)
    return path
