"""Steps on the real stack: GRPO's are verl's own; the rows that CPPO's forwards see, and the gradient they give.

The workers write down what they were given (`instrumented.py`); loss and gradient are worked out again here
from Eq. 9 of the paper, in float64, with transformers' model alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

BETA, CLIP = 0.04, 0.2
VERL_KL_LIMIT = 10
"""Of a token's k3 estimate; verl clamps it there (`low_var_kl`), which Eq. 9 does not."""
B, G, K, MINI = 4, 4, 2, 2
"""Questions a batch, completions a question, of which kept, questions a mini-batch: as in `conftest.SMALL`."""


GRPO = "{pruning_rate:0,allocation:false}"
CPPO = ("{pruning_rate:0.5,allocation:true}", "{pruning_rate:0.5,allocation:false}")
COMMON = (
    f"actor_rollout_ref.actor.kl_loss_coef={BETA}",
    "actor_rollout_ref.actor.grad_clip=1e9",
    "actor_rollout_ref.actor.optim.lr=1e-4",  # far enough that ratios are clipped
    "actor_rollout_ref.actor.ppo_epochs=2",
)


def test_one_rank(train, toy, tmp_path):
    """Three steps of GRPO on replayed rollouts leave verl's weights, to the bit; two of CPPO follow Eq. 9."""
    replayed = (
        *("trainer.experiment_name=parity", "trainer.save_freq=3"),
        *("skip.rollout.enable=true", "skip.rollout.steps=[1,2,3]", f"skip.rollout.dump_dir={tmp_path}/rollouts"),
    )
    verl = train("verl", "+verl_trainer=true", "trainer.total_training_steps=3", *replayed, *COMMON)
    schedule = f"+cppo_by_step=[{','.join((GRPO, GRPO, GRPO, *CPPO))}]"
    ours = train("ours", schedule, "trainer.total_training_steps=5", *replayed, *COMMON)

    assert "Dump generate result at step 3" in verl.output
    assert "Load generate result at step 3" in ours.output
    theirs, mine = weights(verl.folder, 3), weights(ours.folder, 3)
    assert theirs.keys() == mine.keys()
    different = [name for name in theirs if not torch.equal(theirs[name], mine[name])]
    assert not different, f"weights differ: {different}"
    assert_cppo(ours.folder, toy, ranks=1, first_step=4)


def test_two_ranks(train, toy):
    """Two steps of CPPO on two ranks: each sees its half of the planned rows, together they follow Eq. 9."""
    run = train("run", f"+cppo_by_step=[{','.join(CPPO)}]", "trainer.n_gpus_per_node=2", *COMMON)
    assert_cppo(run.folder, toy, ranks=2, first_step=1)


def assert_cppo(folder: Path, toy: Path, ranks: int, first_step: int) -> None:
    """The rows and the gradients of a step with allocation and of one without."""
    calls = [read_calls(folder / "calls" / f"rank_{rank}") for rank in range(ranks)]
    metrics = read_metrics(folder)
    before = sum(call["kind"] == "optimizer step" for call in calls[0]) - 8
    for number, allocation in enumerate((True, False)):
        step = first_step + number
        rows = B * G if allocation else B * K
        mini_rows = MINI * G if allocation else MINI * K
        questions = rows // K
        assert metrics[step]["cppo/questions"] == questions
        assert metrics[step]["cppo/completions_sampled"] == questions * G
        assert metrics[step]["cppo/completions_kept"] == rows
        for kind in ("old", "ref", "update"):
            seen = [of_kind(rank, kind)[step - 1]["rows"] for rank in calls]
            assert seen == [rows // ranks] * ranks, f"{kind}, step {step}"

        batches = [of_kind(rank, "update")[step - 1]["data"] for rank in calls]
        start = before + 4 * number  # two mini-batches, twice, in each step
        updates = of_kind(calls[0], "optimizer step")[start : start + 4]
        assert_mini_batches_follow_eq_9(batches, updates, mini_rows, toy / "model")


def test_lora_and_bypass_mode(train):
    """The old policy's forward is skipped, the reference is the model without its adapter, and only that learns."""
    run = train(
        "run",
        "cppo.pruning_rate=0.5",
        "algorithm.rollout_correction.bypass_mode=true",
        "actor_rollout_ref.rollout.calculate_log_probs=true",
        "actor_rollout_ref.model.lora_rank=8",
        "actor_rollout_ref.model.lora_alpha=8",
        "actor_rollout_ref.rollout.load_format=safetensors",
    )
    calls = read_calls(run.folder / "calls/rank_0")
    assert [call["rows"] for call in calls if call["kind"] in ("old", "ref")] == [B * G] * 2, "the reference's, a step"
    first, *_, last = of_kind(calls, "optimizer step")
    moved = {name for name in first["weights"] if not torch.equal(first["weights"][name], last["weights"][name])}
    assert moved and all("lora_" in name for name in moved)


def of_kind(calls: list[dict], kind: str) -> list[dict]:
    """The calls of a rank that were `kind`."""
    return [call for call in calls if call["kind"] == kind]


def assert_mini_batches_follow_eq_9(batches: list[dict], updates: list[dict], mini_rows: int, model: Path) -> None:
    """Every gradient of a step is that of Eq. 9 over its mini-batch, at the weights it was taken at."""
    reference = log_probs_by(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64))
    old = log_probs_by(network_with(updates[0]["weights"], model))
    per_rank = mini_rows // len(batches)
    mini_batches = len(batches[0]["input_ids"]) // per_rank
    for number, update in enumerate(updates):
        start = number % mini_batches * per_rank
        rows = [row(batch, i) for batch in batches for i in range(start, start + per_rank)]
        network = network_with(update["weights"], model)
        loss = eq_9(rows, log_probs_by(network), old, reference)
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


def eq_9(rows: list[dict], policy, old_policy, reference) -> torch.Tensor:
    """Minus J of the paper's Eq. 9: mean over the kept rows of the mean over their tokens."""
    losses = []
    for completion in rows:
        new, advantage = policy(completion), completion["advantage"]
        ratio = (new - old_policy(completion).detach()).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        towards = reference(completion).detach() - new
        kl = (towards.exp() - towards - 1).clamp(max=VERL_KL_LIMIT)
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


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    """A checkpoint's model, of a run on one rank."""
    path = run / f"global_step_{step}/actor/model_world_size_1_rank_0.pt"
    state = torch.load(path, weights_only=False)
    return {name: getattr(tensor, "_local_tensor", tensor) for name, tensor in state.items()}


def read_calls(folder: Path) -> list[dict]:
    """The calls a rank wrote down, in order."""
    return [torch.load(path, weights_only=False) for path in sorted(folder.glob("*.pt"))]


def read_metrics(folder: Path) -> dict[int, dict]:
    """Logged metrics by step."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len({entry["step"] for entry in entries}) == len(entries), "a step stands there twice"
    return {entry["step"]: entry["data"] for entry in entries}
