"""PPO with a critic: verl's own, bit for bit, and its script to the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

import torch
from recorded import different, of_kind, read_calls, read_metrics, weights

GAMMA, LAM = 0.99, 0.9
BATCH, MINI = 8, 4


def test_ppo_is_verls_and_the_critic_learns(train, repo):
    """Two steps of verl's PPO, then two of ours from the same weights on the same rollouts."""
    run = train(
        "run",
        f"hydra.searchpath=[pkg://verl.trainer.config,file://{repo}/recipe/ppo/config]",
        *(
            "recipe=ppo_gsm8k",
            "+own.verl_first=2",
            "+own.cppo_by_step=[{},{}]",
            "trainer.total_training_steps=2",
            "trainer.test_freq=-1",
        ),
        *(f"algorithm.gamma={GAMMA}", f"algorithm.lam={LAM}", f"data.train_batch_size={BATCH}"),
        *("actor_rollout_ref.rollout.n=1", f"actor_rollout_ref.actor.ppo_mini_batch_size={MINI}"),
        *("data.max_prompt_length=64", "data.max_response_length=64", "critic.optim.lr=1e-3"),
        *("reward.custom_reward_function.path=pkg://cppo_verl.rewards.gsm8k", "trainer.save_freq=2"),
        *(
            "skip.rollout.enable=true",
            "skip.rollout.steps=[1,2]",
            "skip.rollout.dump_dir=${trainer.default_local_dir}/r",
        ),
    )
    for model in ("actor", "critic"):
        assert not different(weights(run.folder / "verl", 2, model), weights(run.folder, 2, model))
    calls = read_calls(run.folder / "calls/rank_0")
    assert not of_kind(calls, "ref"), "no reference where there is no KL"
    assert [call["rows"] for call in of_kind(calls, "values")] == [BATCH] * 4, "once a step, of all completions"
    updates = of_kind(calls, "critic update")
    assert len(updates) == 4, "one call a step, for all its mini-batches"
    for verls, ours in zip(updates[:2], updates[2:], strict=True):
        assert_advantages_are_gae(verls["data"])
        for column in ("advantages", "returns"):
            assert_equal_rows(verls["data"][column], ours["data"][column])
    for update in updates:
        assert "score.weight" in {name.split("module.")[-1] for name in different(update["before"], update["after"])}
    steps = read_metrics(run.folder)
    assert list(steps) == [1, 2]
    for step in steps.values():
        assert math.isfinite(step["critic/vf_loss"]) and math.isfinite(step["critic/values/mean"])
        assert step["cppo/completions_kept"] == BATCH
        assert "cppo/sampled/abs_advantage" not in step and "timing_s/ref" not in step


def assert_equal_rows(expected: Iterable[torch.Tensor], found: Iterable[torch.Tensor]) -> None:
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


def assert_advantages_are_gae(data: dict) -> None:
    """`returns` and `advantages` of a step are those of Schulman et al. (1506.02438), token by token, whitened."""
    advantages, returns = [], []
    for row, mask in enumerate(data["response_mask"]):
        length = int(mask.sum())
        rewards, values = (data[name][row][:length].double() for name in ("token_level_rewards", "values"))
        assert values.isfinite().all()
        following, found = torch.zeros(()), []
        for t in reversed(range(length)):
            delta = rewards[t] + (GAMMA * values[t + 1] if t + 1 < length else 0) - values[t]
            following = delta + GAMMA * LAM * following
            found.insert(0, following)
        advantages.append(torch.stack(found))
        returns.append(advantages[-1] + values)
    every = torch.cat(advantages)
    white = (every - every.mean()) / (every.var() + 1e-8).sqrt()
    for name, wanted in (("advantages", white), ("returns", torch.cat(returns))):
        given = torch.cat([row[: int(m.sum())] for row, m in zip(data[name], data["response_mask"], strict=True)])
        torch.testing.assert_close(given.double(), wanted, rtol=1e-3, atol=1e-4)


def test_a_script(runner, toy, tmp_path):
    """Prepare the embedded default's problems in the recipe's answer style, and train to the end."""
    data, run = tmp_path / "data", tmp_path / "run"
    prepare = [sys.executable, "examples/data_preprocess/gsm8k.py", "--local_dir", str(data)]
    runner([*prepare, "--source", str(toy / "raw"), "--style", "hash"], tmp_path / "prepare")
    small = (
        *("device=cpu", f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={run}"),
        *(f"data.train_files={data}/train.parquet", f"data.val_files={data}/test.parquet", "data.val_max_samples=4"),
        *("data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8", "data.max_response_length=32"),
        "data.max_prompt_length=512",
        *("trainer.total_training_steps=2", "trainer.save_freq=2", "trainer.val_before_train=false"),
    )
    train = runner(["bash", "recipe/ppo/gsm8k_ppo.sh", *small], run)
    assert "PPO with a critic: 8 questions x G=1 = 8 completions sampled" in train.output
    steps = read_metrics(run)
    assert list(steps) == [1, 2]
    assert all(math.isfinite(step["critic/vf_loss"]) and "timing_s/ref" not in step for step in steps.values())
    assert weights(run, 2, "critic")["0:score.weight"].shape[0] == 1
    report = runner([sys.executable, "-m", "cppo_verl", "report", str(run), "--out", str(tmp_path / "report")], run)
    assert "PPO" in report.output
