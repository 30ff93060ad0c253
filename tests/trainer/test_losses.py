"""What workers are given for verl's losses, and steps of which the rollout correction leaves nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.utils.config import omega_conf_to_dataclass

from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.trainer.v0.trainer import RayCPPOTrainer
from cppo_verl.trainer.v1 import step as v1_step
from cppo_verl.trainer.v1.cycle import Cycle, RunningStep
from cppo_verl.trainer.v1.trainers import CPPOSync
from cppo_verl.trainer.worker_options import set_worker_options

ROWS, WIDTH = 4, 3
REJECTS = {"rollout_rs": "token_k1", "rollout_rs_threshold": "0.9_1.1", "rollout_is": None, "bypass_mode": False}


@pytest.mark.parametrize(("given", "divided_by"), [("null", 2048), ("512", 512)])
def test_the_norm_is_a_number_of_the_run(config, given, divided_by):
    """verl's V1 trainers would divide by the longest completion of each micro-batch."""
    norm = "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm"
    made = config("recipe=gsm8k", norm, f"actor_rollout_ref.actor.loss_scale_factor={given}")
    set_worker_options(made)
    assert made.data.max_response_length == 2048
    assert made.actor_rollout_ref.actor.loss_scale_factor == divided_by


def test_the_loss_that_corrects_gets_the_correction(config):
    """verl writes it into the driver's config at the first step, when the workers have theirs."""
    correction = "algorithm.rollout_correction"
    made = config(
        *(
            "recipe=gsm8k",
            "actor_rollout_ref.actor.policy_loss.loss_mode=bypass_mode",
            f"{correction}.bypass_mode=true",
        ),
        *(f"{correction}.rollout_rs=seq_max_k2", f"{correction}.rollout_rs_threshold=0.5"),
    )
    set_worker_options(made)
    given = omega_conf_to_dataclass(made.actor_rollout_ref.actor).policy_loss.rollout_correction
    assert (given.get("rollout_rs"), given.get("rollout_rs_threshold"), given.get("rollout_is")) == (
        "seq_max_k2",
        0.5,
        None,
    )


def settings() -> OmegaConf:
    """Of a run that rejects tokens whose probability has changed by a tenth."""
    return OmegaConf.create(
        {
            "algorithm": {"rollout_correction": REJECTS},
            "actor_rollout_ref": {"actor": {"loss_agg_mode": "seq-mean-token-mean"}},
            "cppo": {},
            "critic": {"enable": False},
        }
    )


def columns(difference: float) -> dict[str, torch.Tensor]:
    """Log-probs that differ by so much from the rollout's in all but the first completion's last token."""
    old = torch.full((ROWS, WIDTH), -1.0)
    rollout = old - difference
    rollout[0, -1] = -1.0
    return {
        "old_log_probs": old,
        "rollout_log_probs": rollout,
        "response_mask": torch.ones(ROWS, WIDTH, dtype=torch.long),
    }


@pytest.fixture
def v0_step(monkeypatch):
    """`v0_step(columns)`: the stages of a step of V0's trainer with these, and its metrics."""

    def run(tensors: dict[str, torch.Tensor]) -> tuple[list[str], dict]:
        trainer, done = object.__new__(RayCPPOTrainer), []
        trainer.config, trainer.plan, trainer.use_critic = settings(), SimpleNamespace(dp_size=1), False
        trainer.metrics, trainer.timing_raw = {}, {}
        batch = DataProto.from_dict(tensors, meta_info={"mini_batch_rows": ROWS})
        stages = ("ref_log_prob", "critic", "update_critic", "update_actor")
        for name in ("_begin_step", "_prefetch", "_fit_save_checkpoint", "_fit_update_weights", "_fit_dump_data"):
            setattr(trainer, name, lambda *_: None)
        for name in ("_fit_validate", "_fit_stop_profile", "_fit_experimental", "_fit_postprocess_step"):
            setattr(trainer, name, lambda *_: None)
        for stage in stages:
            name = f"_fit_{stage}" if stage.startswith("update") else f"_fit_compute_{stage}"
            setattr(trainer, name, lambda batch, stage=stage: done.append(stage) or batch)
        trainer._sample_and_prune = lambda questions: (batch, None)
        trainer._gather = lambda sampled, allocation: batch
        trainer._fit_compute_log_prob = lambda batch: batch
        trainer._timing_metrics = lambda *_: {}
        monkeypatch.setattr("cppo_verl.trainer.v0.step.data_metrics", lambda *_: {})
        trainer.fit_step(None)
        return done, trainer.metrics

    return run


def test_v0_updates_with_what_is_left(v0_step):
    done, metrics = v0_step(columns(0.5) | {"old_log_probs": torch.full((ROWS, WIDTH), -1.0)})
    assert "update_actor" in done
    assert (metrics["cppo/rejected/completions"], metrics["cppo/rejected/tokens"], metrics[LEFT_OUT]) == (3, 11, 0)


def test_v0_updates_nothing_where_nothing_is_left(v0_step):
    """The optimiser's momentum would move the weights."""
    made = columns(0.5)
    made["rollout_log_probs"] = made["old_log_probs"] - 0.5
    done, metrics = v0_step(made)
    assert done == []
    assert (metrics["cppo/rejected/completions"], metrics["cppo/rejected/tokens"], metrics[LEFT_OUT]) == (4, 12, 1)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_v1_writes_what_is_left_to_both_masks(monkeypatch, all_of_it):
    """By the one the loss is masked, by the other its engine counts the tokens of a mean over them."""
    tensors, written = columns(0.5), {}
    if all_of_it:
        tensors["rollout_log_probs"] = tensors["old_log_probs"] - 0.5
    ragged = {
        name: torch.nested.as_nested_tensor(list(column), layout=torch.jagged) for name, column in tensors.items()
    }

    def put(fields: TensorDict, **_) -> None:
        written.update({name: fields[name].to_padded_tensor(0) for name in ("response_mask", "loss_mask")})

    queue = SimpleNamespace(kv_batch_get=lambda **_: TensorDict(ragged, batch_size=ROWS), kv_batch_put=put)
    monkeypatch.setattr(v1_step, "tq", queue)
    monkeypatch.setattr("cppo_verl.trainer.v1.rows.tq", queue)
    trainer, keys = object.__new__(CPPOSync), [f"0_{row}_0" for row in range(ROWS)]
    trainer.config, trainer.cycle_plan = settings(), SimpleNamespace(dp_size=1)
    trainer.this_step = RunningStep({})
    allocation = SimpleNamespace(mini_batch_rows=ROWS)
    trainer.this_step.cycles.append(Cycle(None, np.arange(ROWS), allocation, 0, counts={}))
    batch = KVBatchMeta(partition_id="train", keys=keys, tags=[{"response_len": WIDTH}] * ROWS)
    trainer._correct_rollout_mismatch(batch, {})
    left = 0 if all_of_it else 1
    assert int(written["response_mask"].sum()) == left
    assert torch.equal(written["loss_mask"], written["response_mask"])
    counts = trainer.this_step.cycles[0].counts
    assert (counts["cppo/rejected/tokens"], counts[LEFT_OUT]) == (12 - left, int(all_of_it))
    assert trainer.this_step.has_updated != all_of_it
