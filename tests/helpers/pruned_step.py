"""A pruned step in float64 without workers: from rewards to the gradients of verl's loss by its log-probs.

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
import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.trainer.batch_advantages import finish_advantages
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

    def gradients(self, mini: int, ragged: bool = False) -> Gradients:
        """verl's, of one mini-batch in several micro-batches, over one rank or the mean over several.

        Args:
            mini: Number of the mini-batch.
            ragged: The columns come as V1's workers get them, each row as long as its completion.
        """
        actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        rows = slice(mini * MINI * K, (mini + 1) * MINI * K)
        whole = self.kept.select_idxs(torch.arange(len(self.kept))[rows])
        leaves = [whole.batch[name].clone().requires_grad_() for name in ("new", "entropy")]
        told = update_settings(self.config, self.allocation.mini_batch_rows)["global_batch_size"]
        size = self.plan.dp_size
        for first, last in pairwise(MICRO):
            micro = whole.select_idxs(torch.arange(first, last))
            micro.batch = micro.batch.exclude("new", "entropy")
            data = as_ragged(micro) if ragged else left_right_2_no_padding(micro.to_tensordict())
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


def as_ragged(rows: DataProto) -> TensorDict:
    """What V1's workers get of them."""
    lengths = rows.batch["responses"].sum(dim=1).tolist()
    names = {"response_mask", "old_log_probs", "advantages", "rollout_is_weights"} & set(rows.batch.keys())
    columns = {name: [row[:n] for row, n in zip(rows.batch[name], lengths, strict=True)] for name in names}
    columns |= {"prompts": list(rows.batch["prompts"]), "responses": [torch.ones(n) for n in lengths]}
    nested = {name: torch.nested.as_nested_tensor(parts, layout=torch.jagged) for name, parts in columns.items()}
    return TensorDict(nested, batch_size=len(rows))
