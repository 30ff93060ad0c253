"""A warm start that is stopped anywhere and started again takes the steps that an undisturbed one takes.

The trainer, its dataloader and its checkpoints are verl's; of the engine only what they call is there.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils.tensordict_utils import get_tensordict

from cppo_verl.runs.checkpoints import LATEST, Checkpoints
from cppo_verl.sft.trainer import WarmStart, learning

ROWS, BATCH, EPOCHS = 20, 4, 3
PER_EPOCH = ROWS // BATCH
STEPS = PER_EPOCH * EPOCHS


class Stopped(Exception):
    """What comes in the middle of a run."""


class Engine:
    """verl's engine and the worker around it: takes batches, and saves a file."""

    def __init__(self, stop_after: int | None, metrics: dict[str, float]):
        self.taken, self.stop_after, self.engine, self.metrics = [], stop_after, self, metrics
        self.module = torch.nn.Linear(1, 1)

    def train_batch(self, data):
        if len(self.taken) == self.stop_after:
            raise Stopped
        self.taken.append([row.tolist() for row in data["input_ids"].unbind()])
        return get_tensordict({}, {"metrics": self.metrics.copy()})

    def save_checkpoint(self, local_path: str, **_):
        Path(local_path).mkdir(parents=True, exist_ok=True)
        (Path(local_path) / "weights").write_text("w")

    def load_checkpoint(self, *_): ...
    def reset(self): ...
    def step_profile(self): ...
    def is_mp_src_rank_with_outputs(self):
        return True

    def get_data_parallel_rank(self):
        return 0

    def get_data_parallel_size(self):
        return 1

    def get_data_parallel_group(self):
        return None


@pytest.fixture(scope="module", autouse=True)
def process_group(tmp_path_factory):
    """Of one rank, without a port."""
    store = tmp_path_factory.mktemp("store") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def start(sft, model, tmp_path, monkeypatch):
    """`start("folder", "key=value", ..., stop_after=None)`: a start's batches, by step; `of_verl` is without ours, and
    `metrics` are those of each step."""
    chats = [[{"role": "user", "content": f"{row}?"}, {"role": "assistant", "content": "a"}] for row in range(ROWS)]
    pd.DataFrame({"messages": chats}).to_parquet(tmp_path / "train.parquet")
    for of_gpu in ("aggressive_empty_cache", "log_gpu_memory_usage"):  # asked of CUDA: this process has no platform
        monkeypatch.setattr(f"verl.trainer.sft_trainer.{of_gpu}", lambda *_, **__: None)
    files = (f"data.train_files={tmp_path}/train.parquet", "data.val_files=null", "trainer.test_freq=-1")
    sizes = (f"data.train_batch_size={BATCH}", "data.max_length=64", f"trainer.total_epochs={EPOCHS}")
    always = ("device=cpu", f"model.path={model}", *files, *sizes, "trainer.logger=[]")

    def started(
        folder: str, *overrides: str, stop_after: int | None = None, of_verl: bool = False, **metrics: float
    ) -> dict[int, list]:
        def build_engine(trainer: SFTTrainer) -> None:
            trainer.training_client = trainer.engine = Engine(stop_after, {"loss": 1.0, "grad_norm": 1.0} | metrics)

        monkeypatch.setattr(SFTTrainer, "_build_engine", build_engine)
        config = sft(*always, f"trainer.default_local_dir={tmp_path}/{folder}", *overrides)
        OmegaConf.resolve(config)
        trainer = (SFTTrainer if of_verl else WarmStart)(config)
        with suppress(Stopped):
            trainer.fit()
        return dict(enumerate(trainer.engine.taken, start=trainer.resume_global_step + 1))

    return started


@pytest.fixture
def undisturbed(start) -> dict[int, list]:
    taken = start("undisturbed")
    assert list(taken) == list(range(1, STEPS + 1))
    for epoch in range(EPOCHS):
        rows = [row for step in range(PER_EPOCH) for row in taken[epoch * PER_EPOCH + step + 1]]
        assert len({tuple(row) for row in rows}) == ROWS, "every demonstration once an epoch"
    return taken


@pytest.mark.parametrize(
    ("stops", "overrides"),
    [
        ([(8, 5)], ()),
        ([(5, 5), (3, 5)], ()),
        ([(3, 0), (10, 10), (3, 10)], ()),
        ([(9, 8), (2, 8)], ("trainer.save_freq=4",)),
        ([(9, 8), (3, 10)], ("trainer.save_freq=2", "data.num_workers=2")),
    ],
    ids=["in the second epoch", "at an epoch's end", "at its beginning", "in the middle", "with workers"],
)
def test_stopped_and_started_again(start, undisturbed, tmp_path, stops, overrides):
    """A start each of `stops`: after so many steps of it, and the step that the next one goes on from."""
    taken, run = {}, tmp_path / "run"
    for after, goes_on_after in stops:
        taken |= start("run", *overrides, stop_after=after)
        last = Checkpoints(run).recover()
        assert (last is None and not goes_on_after) or last.name == f"global_step_{goes_on_after}"
    taken |= start("run", *overrides)
    assert taken == undisturbed
    assert (run / LATEST).read_text() == str(STEPS)
    assert [path.name for path in run.glob("global_step_*")] == [f"global_step_{STEPS}"], "max_ckpt_to_keep=1"


def test_a_finished_run_goes_on_for_further_epochs(start, undisturbed):
    first = start("run", "trainer.total_epochs=1")
    assert list(first) == list(range(1, PER_EPOCH + 1))
    assert not start("run", "trainer.total_epochs=1"), "all steps are done"
    assert first | start("run") == undisturbed


def test_another_batch_size_takes_the_steps_that_are_left(start):
    start("run", stop_after=6)
    assert list(start("run", "data.train_batch_size=2")) == list(range(6, 31))


def test_verls_own_skips_an_epoch(start):
    """Why the place in the data follows from the step here; where this fails, verl's own may do."""
    start("run", "trainer.total_epochs=1", of_verl=True)
    assert list(start("run", of_verl=True)) == list(range(6, 11))


def test_a_run_does_not_end_before_its_planned_steps(start):
    with pytest.raises(SystemExit, match="the data were used up after step 15 of 20"):
        start("run", "trainer.total_training_steps=20")


@pytest.mark.parametrize("of_step", [{"loss": float("nan")}, {"grad_norm": float("inf")}])
def test_a_step_that_is_not_finite_ends_the_run(start, tmp_path, of_step):
    """verl's own leaves such an update out, goes on, and saves."""
    with pytest.raises(SystemExit, match=r"error: in a step (loss is nan|grad_norm is inf); no checkpoint of it"):
        start("run", **of_step)
    assert not list((tmp_path / "run").glob("global_step_*"))
    assert len(start("verls", of_verl=True, **of_step)) == STEPS


def test_weights_that_are_not_finite_are_not_saved(start, tmp_path, monkeypatch):
    start("run", "trainer.total_epochs=1")
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: layer.weight.data.fill_(math.inf))
    with pytest.raises(SystemExit, match=r"error: step 10: weights are not finite: weight; no checkpoint of it"):
        start("run")
    assert Checkpoints(tmp_path / "run").last_complete().name == f"global_step_{PER_EPOCH}", "the last good one"


def test_what_is_no_sign_of_a_lost_model_is_not_taken_for_one():
    """A rank without outputs, and a gradient beyond float16 while the loss's scale is being found."""
    assert learning(lambda: None, lambda: False)() is None
    overflown = get_tensordict({}, {"metrics": {"loss": 1.0, "grad_norm": math.inf}})
    assert learning(lambda: overflown, lambda: True)() is overflown
