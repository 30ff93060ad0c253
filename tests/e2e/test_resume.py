"""`zero_variance=drop` with further rounds, the best checkpoint, the same command twice, a resume in between."""

from __future__ import annotations

import json
import shutil

import torch

from cppo_verl.metrics import validation_accuracy

OVERRIDES = (
    "cppo.pruning_rate=0.5",
    "cppo.zero_variance=drop",
    "cppo.max_gen_rounds=3",
    "trainer.total_training_steps=4",
    "trainer.save_freq=2",
    "trainer.test_freq=2",
    "cppo.save_best=true",
)


def test_a_resumed_run_goes_on_as_if_undisturbed(train, tmp_path):
    """A run that lost its last two steps trains them again, to bit-identical weights and metrics."""
    whole = train("whole", *OVERRIDES)
    for step in metrics(whole.folder).values():
        assert_room_went_to_other_questions(step)
    assert_best_is_kept(whole.folder)
    shutil.copytree(whole.folder, tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/global_step_4")
    keep_best_until(2, tmp_path / "resumed")
    (tmp_path / "resumed/latest_checkpointed_iteration.txt").write_text("2")
    resumed = train("resumed", *OVERRIDES)

    assert "Setting global step to 2" in resumed.output
    expected, found = metrics(whole.folder), metrics(resumed.folder)
    assert list(found) == list(expected) == [1, 2, 3, 4]
    for step in expected:
        assert without_timing(found[step]) == without_timing(expected[step]), f"step {step}"
    one, other = weights(whole.folder), weights(resumed.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert best(resumed.folder) == best(whole.folder)
    assert_best_is_kept(resumed.folder)


def assert_room_went_to_other_questions(step: dict) -> None:
    """What a step with `zero_variance=drop` logs adds up: G = 4, k = 2, room for 16 rows, mini-batches of 8."""
    assert 1 <= step["cppo/rounds"] <= 3
    assert step["cppo/completions_sampled"] == 4 * step["cppo/questions"]
    kept_by_the_rule = 2 * (step["cppo/questions"] - step["cppo/zero_variance_questions"])
    assert step["cppo/completions_kept"] + step["cppo/surplus"] == kept_by_the_rule <= 16
    assert step["cppo/completions_kept"] in (16, 8, *range(8))
    assert step["cppo/completions_kept"] == 16 or step["cppo/rounds"] == 3


def assert_best_is_kept(folder) -> None:
    """`best` holds the first checkpoint of the highest accuracy on the validation questions, and no other."""
    accuracies = {step: validation_accuracy(data) for step, data in metrics(folder).items()}
    assert [step for step, accuracy in accuracies.items() if accuracy is not None] == [2, 4]
    highest = max(accuracies[2], accuracies[4])
    step = 2 if accuracies[2] == highest else 4
    assert best(folder) == {"step": step, "accuracy": highest}
    assert [path.name for path in (folder / "best").glob("global_step_*")] == [f"global_step_{step}"]


def best(folder) -> dict:
    return json.loads((folder / "best/best.json").read_text())


def keep_best_until(step: int, folder) -> None:
    """Make `best` what it was at `step`, the first validated one."""
    accuracy = validation_accuracy(metrics(folder)[step])
    shutil.rmtree(folder / "best")
    shutil.copytree(folder / f"global_step_{step}", folder / f"best/global_step_{step}")
    (folder / "best/best.json").write_text(json.dumps({"step": step, "accuracy": accuracy}))


def metrics(folder) -> dict[int, dict]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in entries]
    assert steps == sorted(set(steps)), "each step once, in order"
    return {entry["step"]: entry["data"] for entry in entries}


def without_timing(step: dict) -> dict:
    """What does not depend on the clock or on the machine's memory."""
    return {k: v for k, v in step.items() if "timing" not in k and "perf/" not in k}


def weights(folder) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "global_step_4/actor/model_world_size_1_rank_0.pt", weights_only=False)
    return {name: getattr(tensor, "_local_tensor", tensor) for name, tensor in state.items()}
