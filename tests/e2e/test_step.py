"""One step on the real stack: the rows that the forwards see, and the gradient that they give.

The workers write down what they were given (`instrumented.py`); loss and gradient are worked out again here
from Eq. 9 of the paper, in float64, with transformers' model alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

BETA, CLIP = 0.04, 0.2
B, G, K, MINI = 4, 4, 2, 2
"""Questions a batch, completions a question, of which kept, questions a mini-batch: as in `conftest.SMALL`."""


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("allocation", [True, False])
def test_rows_and_gradient(train, toy, ranks, allocation):
    run = train(
        "run",
        "cppo.pruning_rate=0.5",
        f"cppo.allocation={allocation}",
        f"trainer.n_gpus_per_node={ranks}",
        f"actor_rollout_ref.actor.kl_loss_coef={BETA}",
        "actor_rollout_ref.actor.grad_clip=1e9",
        "actor_rollout_ref.actor.optim.lr=1e-4",  # far enough to clip ratios, near enough for verl not to clamp k3
        "trainer.total_training_steps=1",
        "actor_rollout_ref.actor.ppo_epochs=2",
    )
    calls = [read_calls(run.folder / "calls" / f"rank_{rank}") for rank in range(ranks)]
    rows = B * G if allocation else B * K
    mini_rows = MINI * G if allocation else MINI * K
    metrics = read_metrics(run.folder)[1]

    questions = rows // K
    assert metrics["cppo/questions"] == questions
    assert metrics["cppo/completions_sampled"] == questions * G
    assert metrics["cppo/completions_kept"] == rows
    for kind in ("old", "ref", "update"):
        seen = [call["rows"] for rank in calls for call in rank if call["kind"] == kind]
        assert seen == [rows // ranks] * ranks, kind

    updates = [[call for call in rank if call["kind"] == "optimizer step"] for rank in calls]
    assert [len(u) for u in updates] == [2 * rows // mini_rows] * ranks
    batches = [next(call["data"] for call in rank if call["kind"] == "update") for rank in calls]
    assert_mini_batches_follow_eq_9(batches, updates[0], mini_rows, toy / "model")


def assert_mini_batches_follow_eq_9(batches: list[dict], updates: list[dict], mini_rows: int, model: Path) -> None:
    """Every gradient of the step is that of Eq. 9 over its mini-batch, at the weights it was taken at."""
    reference = log_probs_by(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64))
    per_rank = mini_rows // len(batches)
    mini_batches = len(batches[0]["input_ids"]) // per_rank
    for number, update in enumerate(updates):
        start = number % mini_batches * per_rank
        rows = [row(batch, i) for batch in batches for i in range(start, start + per_rank)]
        network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
        network.load_state_dict({name: weight.double() for name, weight in update["weights"].items()}, strict=False)
        network.tie_weights()
        loss = eq_9(rows, log_probs_by(network), reference)
        loss.backward()
        for name, parameter in network.named_parameters():
            gradient = update["gradients"][name].double()
            error = (gradient - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-12)
            assert error < 2e-3, f"update {number}, {name}: {error:.1e}"


def eq_9(rows: list[dict], policy, reference) -> torch.Tensor:
    """Minus J of the paper's Eq. 9: mean over the kept rows of the mean over their tokens.

    The old policy is the initial one: a single step, so the reference serves for both.
    """
    losses = []
    for completion in rows:
        new, old = policy(completion), reference(completion).detach()
        ratio, advantage = (new - old).exp(), completion["advantage"]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        kl = (old - new).exp() - (old - new) - 1
        losses.append((-surrogate + BETA * kl).mean())
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


def read_calls(folder: Path) -> list[dict]:
    """The calls a rank wrote down, in order."""
    return [torch.load(path, weights_only=False) for path in sorted(folder.glob("*.pt"))]


def read_metrics(folder: Path) -> dict[int, dict]:
    """Logged metrics by step."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len({entry["step"] for entry in entries}) == len(entries), "a step stands there twice"
    return {entry["step"]: entry["data"] for entry in entries}
