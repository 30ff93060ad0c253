"""Parts of V0's trainer that verl's own has and the class below ours lacks, and what is sent to workers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.separation.ray_trainer import SeparateRayPPOTrainer
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.utils import tensordict_utils as tu

from cppo_verl.trainer.rows import PICTURES, SCORES, read_by_workers, together
from cppo_verl.trainer.stages import SPECULATED, data_metrics
from cppo_verl.trainer.v0 import trainer as v0_trainer
from cppo_verl.trainer.v0.loop_times import over_rounds
from cppo_verl.trainer.v0.trainer import RayCPPOTrainer


def times(seconds: list[float], lengths: list[int]) -> dict[str, float]:
    """verl's own, of completions that take so long and have so many tokens."""
    from verl.experimental.agent_loop import AgentLoopManager

    told = [{"generate_sequences": t, "tool_calls": 0.0, "compute_score": 1.0, "num_preempted": -1} for t in seconds]
    mask = (torch.arange(6) < 2 + torch.tensor(lengths)[:, None]).long()
    output = DataProto.from_dict({"prompts": torch.zeros(len(seconds), 2), "attention_mask": mask})
    return AgentLoopManager._performance_metrics(None, [told], output)


@pytest.mark.parametrize("rounds", [[[4.0, 1.0], [2.0]], [[1.0], [2.0, 4.0]], [[1.0], [2.0], [4.0]], [[4.0, 1.0, 2.0]]])
def test_times_of_several_rounds_are_those_of_one_with_all_their_completions(rounds):
    together, rows, lengths = {"gen": 9.0}, 0, {1.0: 1, 2.0: 2, 4.0: 4}
    for seconds in rounds:
        last = times(seconds, [lengths[t] for t in seconds])
        together |= over_rounds(together, rows, last, len(seconds))
        rows += len(seconds)
    of_all = times([4.0, 1.0, 2.0], [4, 1, 2])
    assert together == pytest.approx({"gen": 9.0, **of_all})
    assert together["agent_loop/slowest/response_length"] == 4


def scored(rows: int = 2, width: int = 3) -> DataProto:
    mask = torch.ones(rows, width, dtype=torch.long)
    tensors = {name: torch.rand(rows, width) for name in (*SCORES, "advantages", "returns")}
    tensors |= {"responses": mask, "response_mask": mask, "attention_mask": torch.cat([mask, mask], 1)}
    return DataProto.from_dict(tensors | {"prompts": mask}, meta_info={"temperature": 1.0})


@pytest.mark.parametrize(
    "sends", ["_compute_old_log_prob", "_compute_ref_log_prob", "_compute_values", "_update_critic"]
)
def test_no_worker_is_sent_scores(sends, monkeypatch):
    sent = []
    monkeypatch.setattr(SeparateRayPPOTrainer, sends, lambda self, batch: sent.append(batch))
    batch = scored()
    getattr(object.__new__(RayCPPOTrainer), sends)(batch)
    assert not set(SCORES) & set(sent[0].batch.keys()) and sent[0].meta_info is batch.meta_info
    assert set(SCORES) <= set(batch.batch.keys()), "the metrics need them"
    assert sent[0].batch["advantages"].data_ptr() == batch.batch["advantages"].data_ptr(), "not copied"


def test_of_what_is_no_tensor_workers_are_sent_only_pictures():
    batch = scored()
    batch.non_tensor_batch |= {name: np.array([{}, {}], dtype=object) for name in ("extra_info", PICTURES)}
    assert not read_by_workers(batch).non_tensor_batch, "and those only where there are some"
    batch.non_tensor_batch[PICTURES][1] = {"pixel_values": torch.ones(1)}
    assert [*read_by_workers(batch).non_tensor_batch] == [PICTURES]


def test_the_actors_update_is_sent_no_scores(monkeypatch):
    sent = {}

    def packed(data):
        sent.update(data.items())
        raise StopIteration

    monkeypatch.setattr("cppo_verl.trainer.v0.step.left_right_2_no_padding", packed)
    monkeypatch.setattr("cppo_verl.trainer.v0.step.update_settings", lambda *args: {"temperature": 1.0})
    trainer = object.__new__(RayCPPOTrainer)
    trainer.config = None
    batch = scored()
    batch.meta_info["mini_batch_rows"] = 2
    with pytest.raises(StopIteration):
        trainer._update_actor(batch)
    assert "advantages" in sent and not set(SCORES) & set(sent)


def test_the_updates_of_a_step_are_its_mini_batches_times_the_epochs(monkeypatch):
    monkeypatch.setattr("cppo_verl.trainer.v0.step.left_right_2_no_padding", lambda data: data)
    monkeypatch.setattr("cppo_verl.trainer.v0.step.update_settings", lambda *args: {"temperature": 1.0})
    monkeypatch.setattr("cppo_verl.trainer.v0.step.forward_metrics", lambda *args: {})
    trainer = object.__new__(RayCPPOTrainer)
    trainer.config = OmegaConf.create({"actor_rollout_ref": {"actor": {"ppo_epochs": 2, "optim": {"clip_grad": 1.0}}}})
    reported = tu.get_tensordict({}, {"metrics": {"grad_norm": [0.5], "mfu": 0.5}})
    trainer.progress = SimpleNamespace(tell=lambda *_, **__: None)
    trainer.actor_rollout_wg = SimpleNamespace(update_actor=lambda data: reported)
    trainer.metrics = {}
    batch = scored(rows=6)
    batch.meta_info |= {"mini_batch_rows": 2, "global_token_num": [1] * 6}
    assert trainer._update_actor(batch).meta_info["metrics"]["cppo/updates"] == 3 * 2


def test_one_round_is_not_copied():
    batch = scored()
    assert together([batch]) is batch
    assert len(together([batch, scored(3)])) == 5


def test_what_a_speculating_engine_tells_is_logged_of_all_that_was_sampled():
    batch = scored()
    assert not any(name.startswith("rollout/") for name in data_metrics(batch, batch, None))
    for name, numbers in zip(SPECULATED, ([4, 8], [2, 2], [2, 1]), strict=True):
        batch.non_tensor_batch[name] = np.array(numbers, dtype=object)
    metrics = data_metrics(batch, batch.select_idxs([0]), None)
    assert (metrics["rollout/spec_accept_rate"], metrics["rollout/spec_accept_length"]) == (0.375, 2.5)


@pytest.mark.parametrize(("steps", "last", "runs_after"), [([2, 3], 5, 3), ([2, 9], 2, 2), ([2, 9], 5, None)])
def test_the_finish_hook_of_the_profiler_runs_once_after_the_last_profiled_step(steps, last, runs_after, monkeypatch):
    """verl's condition: the largest of the steps, or the run's last where that is profiled."""
    told = {}
    monkeypatch.setattr(
        RayPPOTrainer, "_stop_profiling", lambda self, do, run_command: told.update({self.global_steps: run_command})
    )
    trainer = object.__new__(RayCPPOTrainer)
    trainer.config = OmegaConf.create({"global_profiler": {"steps": steps, "profile_continuous_steps": False}})
    trainer.timing_raw, trainer.curr_step_profile = {}, False
    for step in range(1, last + 1):
        trainer.global_steps, trainer.is_last_step = step, step == last
        trainer._fit_stop_profile()
    assert [step for step, run_command in told.items() if run_command] == ([runs_after] if runs_after else [])


@pytest.fixture
def trainer(monkeypatch):
    """A trainer whose steps only note their number; the checkpoint is of step 4."""
    monkeypatch.setattr(
        v0_trainer, "Tracking", lambda *args, **kwargs: SimpleNamespace(log=lambda **of: logged.append(of))
    )
    monkeypatch.setattr(v0_trainer.SkipManager, "init", lambda config: None)
    monkeypatch.setattr(v0_trainer, "count_forwards", lambda *_: None)
    logged: list[dict] = []
    made = object.__new__(RayCPPOTrainer)
    options = {"project_name": "p", "experiment_name": "e", "logger": ["file"], "val_before_train": True}
    made.actor_rollout_wg, made.use_reference_policy = None, False
    made.config = OmegaConf.create({"trainer": {**options, "val_only": False}, "global_profiler": {"steps": [6]}})
    made.total_training_steps, made.train_dataloader, made.logged, made.done = 7, None, logged, []
    made.checkpoint_manager = SimpleNamespace(update_weights=lambda step: made.done.append(f"weights of {step}"))
    made._load_checkpoint = lambda: setattr(made, "global_steps", 4)
    made._validate = lambda: {"accuracy": 0.5}
    made._shutdown_dump_executor = lambda: made.done.append("shut down")

    def fit_step(questions):
        made.done.append((made.global_steps, made.curr_step_profile))
        made.global_steps += 1

    made.fit_step = fit_step
    return made


def test_training_goes_on_from_the_checkpoint_to_the_last_step(trainer, capsys):
    trainer.fit()
    assert trainer.done == ["weights of 4", (5, False), (6, False), (7, False), "shut down"]
    assert trainer.logged == [{"data": {"accuracy": 0.5}, "step": 4}]
    assert "note:" not in capsys.readouterr().out


def test_the_first_step_after_a_checkpoint_may_be_profiled(trainer):
    trainer.config.global_profiler.steps = [5]
    trainer.fit()
    assert trainer.done[1] == (5, True)


def test_a_run_that_is_at_its_end_trains_no_more_and_says_so(trainer, capsys):
    trainer.total_training_steps = 4
    trainer.fit()
    assert trainer.done == ["weights of 4", "shut down"]
    assert "note: All 4 steps are done" in capsys.readouterr().out


def test_a_validation_alone_trains_nothing(trainer):
    trainer.config.trainer.val_only = True
    trainer.fit()
    assert trainer.done == ["weights of 4", "shut down"] and len(trainer.logged) == 1
