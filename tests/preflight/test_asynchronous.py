"""Asynchronous modes of V1: what they correct, what is refused, what their checkpoints hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from verl_rows import TINY, write_rows

from cppo_verl.hardware.estimates import checkpoint_bytes
from cppo_verl.preflight.asynchronous import places_faults, uncorrected
from cppo_verl.preflight.data import data_faults
from cppo_verl.preflight.outputs import room_faults
from cppo_verl.preflight.plan import plan_from_config, queue_bytes
from cppo_verl.preflight.refusals import refusals

SYNC = ("trainer.use_v1=true",)
COLOCATED = ("trainer.use_v1=true", "trainer.v1.trainer_mode=cppo_colocate_async")
SEPARATE = ("mode=separate_async",)
CYCLES = (*SEPARATE, "actor_rollout_ref.actor.ppo_mini_batch_size=4", "trainer.v1.separate_async.parameter_sync_step=2")
CORRECTION = "algorithm.rollout_correction"
NOT_KEPT = "actor_rollout_ref.rollout.calculate_log_probs=false"
SAVED = "trainer.save_freq=4", "trainer.max_actor_ckpt_to_keep=2"
"""In 8 steps: 2 checkpoints."""
LORA = "actor_rollout_ref.model.lora_rank=8"


@pytest.mark.parametrize(
    ("mode", "corrected"), [((), None), (SYNC, None), (COLOCATED, "token"), (SEPARATE, "token"), (CYCLES, "token")]
)
@pytest.mark.parametrize("recipe", ["gsm8k", "toy"])
def test_stale_completions_are_corrected(config, mode, corrected, recipe):
    mode = tuple(
        option for option in mode if recipe == "gsm8k" or ("ppo_mini" not in option and "sync_step" not in option)
    )
    made = config(f"recipe={recipe}", *mode)
    assert made.algorithm.rollout_correction.rollout_is == corrected
    assert made.actor_rollout_ref.rollout.calculate_log_probs == (recipe == "gsm8k" or bool(corrected))
    assert refusals(made) == []
    none = config(f"recipe={recipe}", *mode, f"{CORRECTION}.rollout_is=null")
    assert none.algorithm.rollout_correction.rollout_is is None and refusals(none) == []


@pytest.mark.parametrize(
    ("given", "is_uncorrected"),
    [
        ((*COLOCATED, f"{CORRECTION}.rollout_is=null"), True),
        ((*SEPARATE, f"{CORRECTION}.rollout_is=null"), True),
        (COLOCATED, False),
        ((*COLOCATED, f"{CORRECTION}.bypass_mode=true"), False),
        (SYNC, False),
        ((), False),
    ],
)
def test_a_trainer_says_that_it_corrects_nothing(config, given, is_uncorrected, capsys, monkeypatch):
    """verl's own command leaves `rollout_is` at verl's null."""
    from cppo_verl.trainer.v1.trainers import CPPOColocateAsync

    monkeypatch.setattr("cppo_verl.trainer.v1.trainers.plan_from_config", lambda _: 1 / 0)  # what comes next
    made = config("recipe=gsm8k", *given)
    assert uncorrected(made) == is_uncorrected
    with pytest.raises(ZeroDivisionError):
        CPPOColocateAsync(made)
    assert ("trained on uncorrected" in capsys.readouterr().out) == is_uncorrected


@pytest.mark.parametrize(
    ("mode", "given", "says"),
    [
        (COLOCATED, {"n": 16, "places": 64, "workers": 8}, "agent.num_workers to at most 4"),
        (COLOCATED, {"n": 16, "places": 8, "workers": 1}, "max_num_seqs to at least 16"),
        (COLOCATED, {"n": 16, "places": 64, "workers": 4}, None),
        (SEPARATE, {"n": 16, "places": 64, "workers": 8}, "agent.num_workers to at most 4"),
        (SYNC, {"n": 16, "places": 64, "workers": 8}, None),
        ((*COLOCATED, "trainer.n_gpus_per_node=4"), {"n": 16, "places": 64, "workers": 16}, None),
        (
            (*COLOCATED, "trainer.n_gpus_per_node=4"),
            {"n": 16, "places": 64, "workers": 17},
            "agent.num_workers to at most 16",
        ),
    ],
)
def test_a_question_has_places_at_the_engines(config, mode, given, says):
    """Else the bound to what is in flight would let its completions in together."""
    rollout = "actor_rollout_ref.rollout"
    options = f"{rollout}.n={given['n']}", f"{rollout}.max_num_seqs={given['places']}"
    made = config(
        "recipe=gsm8k", "trainer.n_gpus_per_node=1", *mode, *options, f"{rollout}.agent.num_workers={given['workers']}"
    )
    found = list(places_faults(made))
    assert (says is None and not found) or (len(found) == 1 and says in found[0])


@pytest.mark.parametrize(("mode", "seed"), [((), 0), (SYNC, 0), (COLOCATED, None), (SEPARATE, None)])
def test_requests_have_seeds_where_they_can(config, mode, seed):
    made = config("recipe=toy", "device=cpu", *mode)
    assert made.cppo.rollout_seed == seed and refusals(made) == []


@pytest.mark.parametrize("mode", [COLOCATED, SEPARATE])
def test_where_the_ratio_corrects_nothing_else_does(config, mode):
    bypassed = config("recipe=gsm8k", *mode, f"{CORRECTION}.bypass_mode=true")
    assert bypassed.algorithm.rollout_correction.rollout_is is None and refusals(bypassed) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((*COLOCATED, NOT_KEPT), "rollout_is=token: the rollout's log-probs"),
        ((*SEPARATE, LORA, "actor_rollout_ref.model.lora.merge=false"), "sample from the base model for ever"),
        (
            (*SEPARATE, "actor_rollout_ref.model.lora_adapter_path=a", "actor_rollout_ref.model.lora.merge=false"),
            "lora.merge=false",
        ),
        (
            (*SEPARATE, LORA, "actor_rollout_ref.rollout.checkpoint_engine.backend=delta_sharded"),
            "without LoRA's adapters; set it to nccl",
        ),
        (("actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",), "backend=nccl is a way of weights to"),
        ((*SYNC, "actor_rollout_ref.hybrid_engine=false"), "hybrid_engine=false is for engines on"),
        ((*COLOCATED, "cppo.rollout_seed=7"), "cppo.rollout_seed=7 with trainer.v1.trainer_mode=cppo_colocate_async"),
        ((*CYCLES, "cppo.scope=batch"), "cppo.scope=batch with trainer.v1.separate_async.parameter_sync_step=2"),
    ],
)
def test_refusals(config, overrides, says):
    (message,) = refusals(config("recipe=gsm8k", *overrides))
    assert says in message


@pytest.mark.parametrize(
    "overrides", [(*SEPARATE, LORA), (*COLOCATED, LORA), (*SYNC, LORA), (LORA,), (*SEPARATE, "cppo.scope=batch")]
)
def test_what_works_is_not_refused(config, overrides):
    assert refusals(config("recipe=gsm8k", *overrides)) == []


def test_the_mode_merges_adapters(config):
    assert config("recipe=gsm8k", *SEPARATE, LORA).actor_rollout_ref.model.lora.merge


def test_a_checkpoint_of_an_asynchronous_run_holds_completions(config):
    """Those of its step, which are trained on already, and those sampled ahead."""
    assert queue_bytes(config("recipe=gsm8k")) == queue_bytes(config("recipe=gsm8k", *SYNC)) == 0
    ahead = (*COLOCATED, "cppo.pruning_rate=0.5", "trainer.v1.colocate_async.num_warmup_batches")
    none, two = (config("recipe=gsm8k", *ahead[:-1], f"{ahead[-1]}={number}") for number in (0, 2))
    plan = plan_from_config(none)
    assert queue_bytes(none) == plan.rows * 4096 * 72
    assert queue_bytes(two) - queue_bytes(none) == 2 * plan.sampled * 4096 * 72
    separate = config("recipe=gsm8k", *SEPARATE, "trainer.v1.separate_async.num_warmup_batches=1")
    assert queue_bytes(separate) > 0


def test_room_is_reckoned_with_them(config, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(64)])
    made = config(
        "recipe=gsm8k", *COLOCATED, f"data.train_files={rows}", *SAVED, f"trainer.default_local_dir={tmp_path}"
    )
    monkeypatch.setattr("cppo_verl.preflight.outputs.read_model", lambda *_, **__: TINY)
    of_two = 2 * checkpoint_bytes(made, TINY)
    for free, fits in ((of_two + queue_bytes(made), False), (of_two + 2 * queue_bytes(made), True)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("cppo_verl.preflight.outputs.shutil.disk_usage", lambda _, usage=usage: usage)
        assert bool(list(room_faults(made))) != fits


def test_a_column_that_changes_g_is_refused(config, tmp_path):
    rows = write_rows(tmp_path / "rows.parquet", list("ab"), __rollout_n__=[4, 8])
    made = config("recipe=gsm8k", f"data.train_files={rows}", f"data.val_files={rows}")
    (message,) = data_faults(made, "train")
    assert "column __rollout_n__" in message
    assert list(data_faults(made, "val")) == [], "a validation may sample questions as often as it likes"
