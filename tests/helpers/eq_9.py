"""Eq. 9 of the paper by hand, in float64, with transformers' model alone, against what workers recorded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from recorded import of_kind, read_calls, read_metrics
from transformers import AutoModelForCausalLM

from cppo_verl.algorithm.metrics import PLACES

BETA, CLIP = 0.04, 0.2
VERL_KL_LIMIT = 10
"""Of a token's k3 estimate; verl clamps it there (`low_var_kl`), which Eq. 9 does not."""
B, G, K, MINI = 4, 4, 2, 2
"""Questions a batch, completions a question, of which kept, questions a mini-batch: as in e2e's `SMALL`."""
EPOCHS = 2
"""PPO epochs."""


class CheckedStep(NamedTuple):
    """A step, by its `cppo_by_step`, and what it should be of."""

    options: str
    questions: int
    rows: int
    mini_rows: int


CHECKED = (
    CheckedStep("{pruning_rate:0.5,allocation:true}", B * G // K, B * G, MINI * G),
    CheckedStep("{pruning_rate:0.5,allocation:false}", B, B * K, MINI * K),
    CheckedStep("{pruning_rate:0.5,allocation:true,mini_batch:questions}", B * G // K, B * G, MINI * K),
    CheckedStep("{pruning_rate:0.5,allocation:false,metric:unbiased}", B, B * K, MINI * K),
)
STEPS = tuple(step.options for step in CHECKED)
OVERRIDES = (
    f"actor_rollout_ref.actor.kl_loss_coef={BETA}",
    "actor_rollout_ref.actor.optim.clip_grad=1e9",
    "actor_rollout_ref.actor.optim.lr=1e-4",  # far enough that ratios are clipped
    f"actor_rollout_ref.actor.ppo_epochs={EPOCHS}",
)
"""What a run needs for `assert_steps_follow_eq_9`."""


def assert_steps_follow_eq_9(folder: Path, model: Path, ranks: int, first_step: int, steps_before: int = 0) -> None:
    """The rows and the gradients of `STEPS`, which a run took from `first_step` on.

    Args:
        folder: The run's.
        model: The model that it started from.
        ranks: Its data-parallel size.
        first_step: Number of the first of them; the ones before it made as many updates as GRPO's.
        steps_before: Such steps of another run on the same workers, recorded before.
    """
    calls = [read_calls(folder / "calls" / f"rank_{rank}") for rank in range(ranks)]
    metrics = read_metrics(folder)
    start = (steps_before + first_step - 1) * B // MINI * EPOCHS
    for number, checked in enumerate(CHECKED):
        step = first_step + number
        recorded = steps_before + step - 1
        assert metrics[step]["cppo/questions"] == checked.questions
        assert metrics[step]["cppo/completions_sampled"] == checked.questions * G
        assert metrics[step]["cppo/completions_kept"] == checked.rows
        for kind in ("old", "ref", "update"):
            seen = [of_kind(rank, kind)[recorded]["rows"] for rank in calls]
            assert seen == [checked.rows // ranks] * ranks, f"{kind}, step {step}"

        batches = [of_kind(rank, "update")[recorded]["data"] for rank in calls]
        assert_advantages_are_those_of_the_rule(batches, metrics[step], is_drawn="unbiased" in checked.options)
        number_of_updates = checked.rows // checked.mini_rows * EPOCHS
        updates = of_kind(calls[0], "optimizer step")[start : start + number_of_updates]
        start += number_of_updates
        assert_mini_batches_follow_eq_9(batches, updates, checked.mini_rows, model)
        places = [name for name in metrics[step] if name.startswith("cppo/pg_clipfrac/")]
        assert len(places) == min(number_of_updates, PLACES)
        assert metrics[step]["cppo/pg_clipfrac/1"] == 0, "the first update is at the old policy"


def assert_advantages_are_those_of_the_rule(batches: list[dict], metrics: dict, is_drawn: bool) -> None:
    """What is trained on has the A of what was kept; or, where that was drawn, is weighted to the mean |A| of all G."""
    rows = [row(batch, i) for batch in batches for i in range(len(batch["input_ids"]))]
    trained = torch.stack([completion["advantage"] for completion in rows]).abs().mean().item()
    whose = "sampled" if is_drawn else "kept"
    assert abs(trained - metrics[f"cppo/{whose}/abs_advantage"]) < 1e-5


def assert_mini_batches_follow_eq_9(
    batches: list[dict],
    updates: list[dict],
    mini_rows: int,
    model: Path,
    old_weights: dict | None = None,
    beta: float = BETA,
    clip: tuple[float, float] = (CLIP, CLIP),
    dual_clip: float = torch.inf,
) -> None:
    """Every gradient of a step is that of Eq. 9 over its mini-batch, at the weights it was taken at.

    Args:
        batches: What each rank's update was given.
        updates: Weights and gradients of its optimiser steps.
        mini_rows: Completions of a mini-batch, over all ranks.
        model: The folder of the reference.
        old_weights: Of the old policy; by default those before the first update.
        beta: Weight of the KL term.
        clip: How far below and above 1 the ratio is clipped.
        dual_clip: verl's `clip_ratio_c`, which Eq. 9 does not have: the largest ratio that counts where A < 0.
    """
    reference = log_probs_by(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64))
    old = log_probs_by(network_with(old_weights or updates[0]["weights"], model))
    per_rank = mini_rows // len(batches)
    mini_batches = len(batches[0]["input_ids"]) // per_rank
    for number, update in enumerate(updates):
        start = number % mini_batches * per_rank
        rows = [row(batch, i) for batch in batches for i in range(start, start + per_rank)]
        network = network_with(update["weights"], model)
        loss = eq_9(rows, log_probs_by(network), old, reference, beta, clip, dual_clip)
        loss.backward()
        for name, parameter in network.named_parameters():
            gradient = update["gradients"][name].double()
            error = (gradient - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-12)
            assert error < 2e-3, f"update {number}, {name}: {error:.1e}"


def network_with(weights: dict[str, torch.Tensor], model: Path) -> torch.nn.Module:
    """The model of the folder `model` in float64, with other weights."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    network.load_state_dict({name: weight.double() for name, weight in weights.items()}, strict=False)
    network.tie_weights()
    return network


def eq_9(
    rows: list[dict], policy, old_policy, reference, beta: float, clip: tuple[float, float], dual_clip: float
) -> torch.Tensor:
    """Minus J of the paper's Eq. 9: mean over the kept rows of the mean over their tokens."""
    losses = []
    for completion in rows:
        new, advantage = policy(completion), completion["advantage"]
        ratio = (new - old_policy(completion).detach()).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip[0], 1 + clip[1]) * advantage)
        if advantage < 0:
            surrogate = surrogate.clamp(min=dual_clip * advantage)
        towards = reference(completion).detach() - new
        kl = (towards.exp() - towards - 1).clamp(max=VERL_KL_LIMIT)
        losses.append((-surrogate + beta * kl).mean())
    return torch.stack(losses).mean()


def log_probs_by(network):
    """`completion -> log-probs (num_tokens,)` of its response tokens under `network`."""

    def log_probs(completion: dict) -> torch.Tensor:
        logits = network(completion["ids"][None]).logits[0, :-1].log_softmax(-1)
        token = completion["ids"][1:]
        return logits.gather(1, token[:, None])[-completion["num_tokens"] :, 0]

    return log_probs


def row(batch: dict, i: int) -> dict:
    """Row i of what a worker was given, without padding."""
    mask = batch["response_mask"][i].bool()
    return {
        "ids": batch["input_ids"][i],
        "num_tokens": int(mask.sum()),
        "advantage": batch["advantages"][i][mask][0].double(),
    }
