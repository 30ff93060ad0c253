"""`trainer.val_only`: a validation changes nothing of a run."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from cppo_verl.runs.checkpoints import LATEST, Checkpoints
from cppo_verl.runs.folder import save_config
from cppo_verl.runs.metrics_log import MetricsLog
from cppo_verl.trainer.run_folder import RunFolder

ACCURACY = {"val-core/toy/acc/mean@1": 1.0}


class Verl:
    """verl's side of a trainer that validates, as far as it touches the run's folder."""

    def __init__(self, config):
        self.config, self.cppo, self.global_steps = config, SimpleNamespace(save_best=True), 0
        self._open_run_folder(config)

    def start(self, path: str) -> None:
        """Open the log as verl's file logger does, load, validate, log."""
        with open(path, "wb") as file:
            self.logger = SimpleNamespace(logger={"file": SimpleNamespace(fp=file)})
            self._load_checkpoint()
            self._continue_log()
            metrics = self._validate()
            file.write(json.dumps({"step": self.global_steps, "data": metrics}).encode() + b"\n")

    def _load_checkpoint(self) -> None:
        trainer = self.config.trainer
        self.loaded = {
            "disable": lambda: None,
            "auto": lambda: f"global_step_{(Path(trainer.default_local_dir) / LATEST).read_text()}",
            "resume_path": lambda: Path(trainer.resume_from_path).name,
        }[trainer.resume_mode]()
        self.global_steps = int(self.loaded.removeprefix("global_step_")) if self.loaded else 0

    def _validate(self) -> dict:
        return ACCURACY


class Trainer(RunFolder, Verl):
    """The mixin over it."""


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run of 6 steps, whose last checkpoint a kill left half-written, and with it verl's tracker."""
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 4, 6):
        with checkpoints.saving(step) as folder:
            (folder / "data.pt").write_text(str(step))
    (tmp_path / "global_step_6/complete.json").unlink()
    (tmp_path / LATEST).write_text("6")
    (tmp_path / "best").mkdir()
    (tmp_path / "best/best.json").write_text('{"step": 2, "accuracy": 0.5}')
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {step}, "data": {{}}}}\n' for step in range(1, 7)))
    (tmp_path / "config.yaml").write_text("the run's\n")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def options(run: Path, mode: str, step: int | None = None):
    trainer = {
        "default_local_dir": str(run),
        "resume_mode": mode,
        "resume_from_path": f"{run}/global_step_{step}" if step else None,
        "max_actor_ckpt_to_keep": 1,
        "max_critic_ckpt_to_keep": None,
        "val_only": True,
        "val_before_train": True,
        "validation_data_dir": f"{run}/validations",
        "logger": ["file"],
    }
    return OmegaConf.create({"trainer": trainer})


@pytest.mark.parametrize(
    ("mode", "step", "loaded"),
    [("auto", None, "global_step_4"), ("resume_path", 2, "global_step_2"), ("disable", None, None)],
)
def test_a_validation_changes_nothing_of_a_run(run, monkeypatch, mode, step, loaded):
    before = files(run)
    for number in (1, 2):
        monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
        monkeypatch.setenv("TENSORBOARD_DIR", "the run's")
        config = options(run, mode, step)
        save_config(config)
        trainer = Trainer(config)
        assert config.trainer.validation_data_dir == f"{run}/validations/validation_{number}"
        assert os.environ["VERL_FILE_LOGGER_PATH"] == f"{run}/validation_{number}.jsonl"
        assert os.environ["TENSORBOARD_DIR"] == f"{run}/validation_{number}"
        trainer.start(os.environ["VERL_FILE_LOGGER_PATH"])
        assert trainer.loaded == loaded, "the last complete one"
        after = files(run)
        line = json.loads(after[f"validation_{number}.jsonl"])
        assert line == {"step": int(loaded[-1]) if loaded else 0, "data": ACCURACY}
    assert {name: content for name, content in after.items() if not name.startswith("validation_")} == before


def test_what_a_start_that_failed_left_of_the_log_outlives_a_validation(run, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", "")
    whole = (run / "metrics.jsonl").read_bytes()
    MetricsLog(str(run))
    (run / "metrics.jsonl").write_bytes(b"")  # verl's file logger opened it, then the start failed
    Trainer(options(run, "auto")).start(f"{run}/validation_1.jsonl")
    assert (run / "metrics.jsonl.before").read_bytes() == whole


def test_a_validation_of_a_folder_without_a_run_saves_its_config(tmp_path):
    save_config(options(tmp_path, "disable"))
    assert OmegaConf.load(tmp_path / "config.yaml").trainer.val_only
