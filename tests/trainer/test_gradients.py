"""Which of verl's estimators, losses and corrections go together with pruning: the gradient of a step of each is, to
float64's precision, that of its formula by hand on the completions that are kept, whatever the micro-batches.

The rows go the way of V0's trainer: advantages, pruning, weights, correction, and `verl.workers.utils.losses.ppo_loss`,
called as verl's FSDP engine calls it.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import by_hand
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan, plan_step
from cppo_verl.preflight.choices import CHOICES
from cppo_verl.preflight.verl_options import OUTCOME_ESTIMATORS, OVER_THE_BATCH
from cppo_verl.trainer.batch_advantages import finish_advantages
from cppo_verl.trainer.rejected import LEFT_OUT
from cppo_verl.trainer.rows import select_rows, weigh_advantages
from cppo_verl.trainer.sampling import sample_and_prune
from cppo_verl.trainer.stages import outcome_advantages, update_settings
from cppo_verl.trainer.v0.step import CPPOStep
from cppo_verl.trainer.worker_options import set_worker_options

G, K, QUESTIONS, MINI, WIDTH, PROMPT = 4, 2, 4, 2, 6, 2
REWARDS = [1.0, 0.0, 3.0, 0.5, 0.0, 0.0, 2.0, 1.0, 3.0, 2.5, 0.0, 1.0, 0.0, 1.0, 0.25, 0.0]
LENGTHS = [2, 6, 4, 1, 3, 5, 2, 6, 4, 3, 6, 1, 2, 5, 3, 4]
MICRO = [0, 2, 4]
"""Where micro-batches begin and end in a mini-batch. `kl_cov` draws no lots only where a micro-batch has several A."""
LOSSES = [loss for loss in CHOICES["actor_rollout_ref.actor.policy_loss.loss_mode"] if loss != "bypass_mode"]
AGGREGATIONS = CHOICES["actor_rollout_ref.actor.loss_agg_mode"]


class Gradients(NamedTuple):
    """Of one mini-batch, by the log-probs and the entropies of its tokens, `(num_rows, width)`."""

    log_probs: torch.Tensor
    entropies: torch.Tensor


class Step:
    """A step, sampled and pruned, as V0's trainer hands it to the workers.

    Args:
        options: Of `actor_rollout_ref.actor`, and the blocks `algorithm`, `cppo` and `policy_loss`.
    """

    def __init__(self, algorithm=(), cppo=(), policy_loss=(), dp_size: int = 1, **actor):
        self.config = made_config(dict(algorithm), dict(policy_loss), actor)
        self.cppo = CPPOConfig(**{"pruning_rate": 0.5, "allocation": False, **dict(cppo)})
        self.plan = plan_step(0.5, G, QUESTIONS, MINI, dp_size, allocation=False)
        sampled, allocation = sample(self.plan, self.cppo, self.config)
        self.sampled, self.allocation = sampled, allocation
        self.kept = select_rows(sampled, allocation.rows)
        weigh_advantages(self.kept, allocation.weights)
        self.kept.meta_info["mini_batch_rows"] = allocation.mini_batch_rows
        trainer = SimpleNamespace(config=self.config, metrics={}, plan=self.plan)
        self.kept = CPPOStep._correct_rollout_mismatch(trainer, self.kept)
        self.metrics = trainer.metrics
        set_worker_options(self.config)

    def rows(self, mini: int) -> list[by_hand.Row]:
        """A mini-batch's rows, with the advantages that a formula by hand gives."""
        made = by_hand.advantages(self.estimator, REWARDS, LENGTHS, G)
        batch, weights = self.kept.batch, self.kept.batch.get("rollout_is_weights", None)
        first = mini * MINI * K
        found = []
        for place in range(first, first + MINI * K):
            row, counts = int(self.allocation.rows[place]), batch["response_mask"][place].bool().tolist()
            weight = weights[place].tolist() if weights is not None else [1.0] * WIDTH
            advantage = made[row] * self.allocation.weights[place].item()
            columns = (batch[name][place].tolist() for name in ("new", "old_log_probs"))
            found.append(by_hand.Row(advantage, *columns, weight, counts))
        return found

    @property
    def estimator(self) -> str:
        """In the words of `by_hand`."""
        algorithm = self.config.algorithm
        return algorithm.adv_estimator if algorithm.norm_adv_by_std_in_grpo else "dr_grpo"

    def gradients(self, mini: int) -> Gradients:
        """verl's, of one mini-batch in several micro-batches, over one rank or the mean over several."""
        actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        rows = slice(mini * MINI * K, (mini + 1) * MINI * K)
        whole = self.kept.select_idxs(torch.arange(len(self.kept))[rows])
        leaves = [whole.batch[name].clone().requires_grad_() for name in ("new", "entropy")]
        told = update_settings(self.config, self.allocation.mini_batch_rows)["global_batch_size"]
        size = self.plan.dp_size
        for first, last in pairwise(MICRO):
            micro = whole.select_idxs(torch.arange(first, last))
            micro.batch = micro.batch.exclude("new", "entropy")
            data = left_right_2_no_padding(micro.to_tensordict())
            tokens = whole.batch["response_mask"].sum().item()
            tu.assign_non_tensor(data, dp_size=size, batch_num_tokens=tokens, global_batch_size=told)
            output = {
                name: as_output(leaf[first:last], micro)
                for name, leaf in zip(("log_probs", "entropy"), leaves, strict=True)
            }
            (ppo_loss(actor, output, data)[0] / size).backward()
        return Gradients(*(leaf.grad for leaf in leaves))


def made_config(algorithm: dict, policy_loss: dict, actor: dict) -> DictConfig:
    correction = {"rollout_is": None, "rollout_rs": None, "bypass_mode": False, **algorithm.pop("correction", {})}
    return OmegaConf.create(
        {
            "algorithm": {
                "adv_estimator": "grpo",
                "norm_adv_by_std_in_grpo": True,
                "rollout_correction": correction,
                **algorithm,
            },
            "cppo": {"pruning_rate": 0.5},
            "data": {"max_response_length": WIDTH},
            "actor_rollout_ref": {
                "rollout": {"n": G, "temperature": 1.0},
                "model": {"external_lib": None},
                "actor": {
                    "_target_": "verl.workers.config.ActorConfig",
                    "strategy": "fsdp2",
                    "rollout_n": 1,
                    "ppo_micro_batch_size_per_gpu": 1,
                    "loss_agg_mode": "seq-mean-token-mean",
                    "loss_scale_factor": None,
                    "entropy_coeff": 0.0,
                    "calculate_entropy": False,
                    "shuffle": False,
                    "ppo_epochs": 1,
                    "data_loader_seed": 1,
                    "tau_pos": by_hand.TAU_POS,
                    "tau_neg": by_hand.TAU_NEG,
                    "optim": {"_target_": "verl.workers.config.OptimizerConfig", "lr": 1e-6},
                    "policy_loss": {
                        "_target_": "verl.workers.config.PolicyLossConfig",
                        "loss_mode": "vanilla",
                        "dro_beta": by_hand.BETA,
                        "clip_cov_ratio": 1.0,  # all that are in the range: else it draws lots
                        "clip_cov_lb": by_hand.COV_LOW,
                        "clip_cov_ub": by_hand.COV_HIGH,
                        "kl_cov_ratio": by_hand.KL_SHARE,
                        "ppo_kl_coef": by_hand.KL_COEF,
                        **policy_loss,
                    },
                    **actor,
                },
            },
        }
    )


def sample(plan: StepPlan, cppo: CPPOConfig, config: DictConfig) -> tuple[DataProto, Allocation]:
    """All completions of a step, pruned as the trainers do it, by advantages that came question by question."""
    generator = torch.Generator().manual_seed(3)
    mask = (torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]).long()
    scores = torch.nn.functional.one_hot(torch.tensor(LENGTHS) - 1, WIDTH) * torch.tensor(REWARDS).double()[:, None]
    attention = torch.cat([torch.ones(len(REWARDS), PROMPT, dtype=torch.long), mask], dim=1)
    draw = partial(torch.rand, mask.shape, generator=generator, dtype=torch.float64)
    old = -2 * draw() - 0.05
    tensors = {
        "prompts": torch.ones(len(REWARDS), PROMPT, dtype=torch.long),
        "responses": mask,
        "input_ids": attention,
        "attention_mask": attention,
        "position_ids": attention.cumsum(dim=1) - 1,
        "response_mask": mask,
        "token_level_scores": scores,
        "token_level_rewards": scores,
        "old_log_probs": old,
        "rollout_log_probs": old - 0.5 * (draw() - 0.5),
        "new": (old + 1.6 * (draw() - 0.5)).clamp(max=-0.01),
        "entropy": draw(),
    }
    uids = np.array([f"1:{row // G}" for row in range(len(REWARDS))], dtype=object)
    row_ids = np.array([f"1:{row // G}:{row % G}" for row in range(len(REWARDS))], dtype=object)
    batch = DataProto.from_dict(tensors, non_tensors={"uid": uids, "row_id": row_ids})
    questions = iter(range(QUESTIONS))

    def ask(wanted: int) -> DataProto | None:
        question = next(questions, None)
        rows = None if question is None else batch.select_idxs(torch.arange(question * G, question * G + G))
        return rows and outcome_advantages(rows, config)

    allocator = Allocator(plan, cppo)
    return sample_and_prune(
        allocator, allocator.questions_missing, ask, finish=partial(finish_advantages, config=config)
    )


def as_output(columns: torch.Tensor, rows: DataProto) -> torch.Tensor:
    """What a model gives for prompt and response, of the columns of the response: a token is told by the one before."""
    lengths = rows.batch["response_mask"].shape[1] - (rows.batch["responses"] == 0).sum(dim=1)
    parts = [
        torch.nn.functional.pad(row[:n], (PROMPT - 1, 1)) for row, n in zip(columns, lengths.tolist(), strict=True)
    ]
    return torch.nested.as_nested_tensor(parts, layout=torch.jagged)


def assert_is_by_hand(step: Step, loss: str = "vanilla", aggregation: str = "seq-mean-token-mean") -> None:
    """Each mini-batch's gradient, and that the step has pruned half."""
    assert len(step.kept) == len(REWARDS) // 2 and step.allocation.mini_batch_rows == MINI * K
    micro = [list(range(first, last)) for first, last in pairwise(MICRO)]
    for mini in range(QUESTIONS // MINI):
        rows = step.rows(mini)
        shares = by_hand.shares(aggregation, rows, MINI * K, WIDTH)
        slopes = by_hand.slopes(loss, rows, micro)
        expected = torch.tensor([[s * share for s in row] for row, share in zip(slopes, shares, strict=True)])
        found = step.gradients(mini).log_probs
        assert torch.allclose(found, expected.double(), rtol=1e-6, atol=1e-9), f"mini-batch {mini}"
        assert expected.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss(loss):
    assert_is_by_hand(Step(policy_loss={"loss_mode": loss}), loss)


@pytest.mark.parametrize("loss", ["vanilla", "geo_mean"])
def test_the_mean_over_two_ranks(loss):
    """That FSDP takes of their gradients, of which each is of a part of the mini-batch."""
    step, alone = (Step(policy_loss={"loss_mode": loss}, dp_size=ranks) for ranks in (2, 1))
    assert torch.allclose(step.gradients(0).log_probs, alone.gradients(0).log_probs, rtol=1e-12)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_each_aggregation(aggregation):
    assert_is_by_hand(Step(loss_agg_mode=aggregation), aggregation=aggregation)


@pytest.mark.parametrize("estimator", [*OUTCOME_ESTIMATORS, *OVER_THE_BATCH])
def test_each_estimator(estimator):
    assert_is_by_hand(Step({"adv_estimator": estimator}))


def test_dr_grpo():
    dr_grpo = {"norm_adv_by_std_in_grpo": False}
    assert_is_by_hand(Step(dr_grpo, loss_agg_mode="seq-mean-token-sum-norm"), aggregation="seq-mean-token-sum-norm")


@pytest.mark.parametrize("loss", ["vanilla", "gspo", "sapo", "cispo", "geo_mean"])
def test_weights_of_the_drawing(loss):
    """`metric=unbiased`: the advantages are those of all G, times a weight each."""
    step = Step(policy_loss={"loss_mode": loss}, cppo={"metric": "unbiased"})
    assert (step.allocation.weights != 1).any()
    assert_is_by_hand(step, loss)


def test_the_entropy_bonus():
    step = Step(entropy_coeff=0.25)
    assert update_settings(step.config, 4)["calculate_entropy"]
    assert_is_by_hand(step)
    for mini in range(QUESTIONS // MINI):
        rows = step.rows(mini)
        shares = by_hand.shares("seq-mean-token-mean", rows, MINI * K, WIDTH)
        expected = [[-0.25 * share * c for c in row.counts] for row, share in zip(rows, shares, strict=True)]
        assert torch.allclose(step.gradients(mini).entropies, torch.tensor(expected).double(), rtol=1e-7)


@pytest.mark.parametrize("weights", ["token", "sequence"])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "geo_mean"])
def test_importance_weights(weights, loss):
    """pi_old / pi_rollout, of a token or of a whole completion, at most 1.1."""
    correction = {"rollout_is": weights, "rollout_is_threshold": 1.1}
    step = Step({"correction": correction}, policy_loss={"loss_mode": loss})
    batch = step.kept.batch
    difference = (batch["old_log_probs"] - batch["rollout_log_probs"]) * batch["response_mask"]
    ratio = difference.exp() if weights == "token" else difference.sum(dim=1, keepdim=True).exp()
    assert torch.allclose(batch["rollout_is_weights"], ratio.clamp(max=1.1) * batch["response_mask"])
    assert (ratio > 1.1).any() and "cppo/rejected/tokens" not in step.metrics
    assert_is_by_hand(step, loss)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("words", "limit"), [("token_k1", "0.93_1.07"), ("seq_mean_k3", 0.008), ("seq_max_k2", 0.017)])
def test_rejection_and_veto(words, limit, aggregation):
    """The others' gradient is what it would be without; only a mean over tokens is one over those that are left."""
    correction = {"rollout_rs": words, "rollout_rs_threshold": limit}
    step = Step({"correction": correction}, loss_agg_mode=aggregation)
    left, before = step.kept.batch["response_mask"], step.sampled.batch["response_mask"][step.allocation.rows]
    assert 0 < left.sum() < before.sum(), "some are rejected"
    assert step.metrics["cppo/rejected/tokens"] == int(before.sum() - left.sum())
    assert step.metrics["cppo/rejected/completions"] == int((left.sum(dim=1) == 0).sum())
    assert step.metrics[LEFT_OUT] == 0
    assert_is_by_hand(step, aggregation=aggregation)


def test_rejection_by_the_loss_itself_and_its_weights():
    """`bypass_mode`: the old log-probs are the rollout's, and the loss compares with the policy as it is."""
    correction = {"bypass_mode": True, "loss_type": "reinforce", "rollout_is": "token", "rollout_rs": "token_k1"}
    correction |= {"rollout_rs_threshold": "0.7_1.4", "rollout_is_threshold": 1.2}
    step = Step({"correction": correction}, policy_loss={"loss_mode": "bypass_mode"}, loss_agg_mode="token-mean")
    batch = step.kept.batch
    batch["old_log_probs"] = batch["rollout_log_probs"]
    whole = batch["response_mask"].double()
    ratio = (batch["new"] - batch["rollout_log_probs"]).exp()
    left = whole * ((1 / ratio >= 0.7) & (1 / ratio <= 1.4))
    assert 0 < left.sum() < whole.sum()
    for mini in range(QUESTIONS // MINI):
        rows = slice(mini * MINI * K, (mini + 1) * MINI * K)
        advantage = torch.tensor([row.advantage for row in step.rows(mini)])[:, None]
        expected = -advantage * (ratio.clamp(max=1.2) * left)[rows] / whole[rows].sum()
        assert torch.allclose(step.gradients(mini).log_probs, expected, rtol=1e-6, atol=1e-9)
