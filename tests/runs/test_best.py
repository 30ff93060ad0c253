"""`cppo.save_best`: the best checkpoint is complete at every moment, and outlives rotation and resume."""

import json
import shutil

import pytest

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.metrics import validation_accuracy
from cppo_verl.evaluation.models import find_checkpoint
from cppo_verl.runs import best as best_module
from cppo_verl.runs.best import BestCheckpoint
from cppo_verl.runs.checkpoints import Checkpoints


@pytest.fixture
def save(tmp_path):
    """`save(step)`: save what looks like a checkpoint, as the trainer does."""

    def checkpoint(step: int, weights: str | None = None) -> None:
        actor = tmp_path / f"global_step_{step}/actor"
        with Checkpoints(tmp_path).saving(step):
            actor.mkdir(parents=True, exist_ok=True)
            (actor / "model_world_size_1_rank_0.pt").write_text(weights or f"weights {step}")
            (actor / "fsdp_config.json").write_text("{}")

    return checkpoint


def validated(accuracy: float) -> dict[str, float]:
    return {"val-core/openai/gsm8k/acc/mean@1": accuracy, "val-core/openai/gsm8k/reward/mean@1": 9.0}


def kept(folder) -> dict[int, str]:
    files = (folder / "best").glob("global_step_*/actor/model_world_size_1_rank_0.pt")
    return {int(file.parts[-3].removeprefix("global_step_")): file.read_text() for file in files}


def test_only_a_better_step_replaces_the_best(tmp_path, save):
    best = BestCheckpoint(tmp_path)
    for step, accuracy in ((10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6)):
        save(step)
        metrics = best.offer(step, validated(accuracy))
        shutil.rmtree(tmp_path / f"global_step_{step}")  # as verl rotates them
    assert kept(tmp_path) == {20: "weights 20"}
    assert metrics == {"cppo/best/accuracy": 0.7, "cppo/best/step": 20}
    assert find_checkpoint(tmp_path / "best") == tmp_path / "best/global_step_20"


def test_the_validation_before_training_has_no_checkpoint(tmp_path):
    assert BestCheckpoint(tmp_path).offer(0, validated(0.9)) == {}
    assert not (tmp_path / "best").exists()


def test_a_reward_function_without_accuracy_is_refused(tmp_path, save):
    save(10)
    with pytest.raises(ValueError, match="reports no `acc`"):
        BestCheckpoint(tmp_path).offer(10, {"val-core/openai/gsm8k/reward/mean@1": 9.0})


def test_a_step_that_is_trained_again_does_not_write_into_the_best(tmp_path, save):
    """verl writes into the files that are there, and the best shares them."""
    best = BestCheckpoint(tmp_path)
    save(10)
    best.offer(10, validated(0.5))
    again = BestCheckpoint(tmp_path)
    save(10, "other weights")
    again.offer(10, validated(0.4))
    assert kept(tmp_path) == {10: "weights 10"}
    save(10, "better weights")
    again.offer(10, validated(0.6))
    assert kept(tmp_path) == {10: "better weights"}


def test_a_best_step_that_the_run_does_not_go_on_from_is_forgotten(tmp_path, save):
    save(20)
    BestCheckpoint(tmp_path).offer(20, validated(0.9))
    best = BestCheckpoint(tmp_path)
    best.forget_after(10)
    assert kept(tmp_path) == {20: "weights 20"}, "until there is another"
    save(20)
    best.offer(20, validated(0.3))
    assert (best.step, best.accuracy) == (20, 0.3)
    best.forget_after(20)
    assert best.accuracy == 0.3


def test_accuracy_over_several_sources_counts_their_questions():
    metrics = {"val-core/a/acc/mean@1": 0.5, "val-core/b/acc/mean@1": 0.9}
    assert validation_accuracy(metrics) == pytest.approx(0.7)
    counts = {"val-aux/a/num_questions": 900, "val-aux/b/num_questions": 100}
    assert validation_accuracy(metrics | counts) == pytest.approx(0.54)


def test_the_accuracy_to_beat_survives_a_resume(tmp_path, save):
    save(10)
    BestCheckpoint(tmp_path).offer(10, validated(0.5))
    save(20)
    BestCheckpoint(tmp_path).offer(20, validated(0.4))
    assert kept(tmp_path) == {10: "weights 10"}
    save(30)
    BestCheckpoint(tmp_path).offer(30, validated(0.6))
    assert kept(tmp_path) == {30: "weights 30"}


def test_a_kill_while_keeping_leaves_the_old_best(tmp_path, save, monkeypatch):
    best = BestCheckpoint(tmp_path)
    save(10)
    best.offer(10, validated(0.5))
    save(20)

    def killed(*args) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(best_module, "_link_or_copy", killed)
        best.offer(20, validated(0.9))
    assert kept(tmp_path) == {10: "weights 10"}
    assert json.loads((tmp_path / "best/best.json").read_text()) == {"step": 10, "accuracy": 0.5}

    BestCheckpoint(tmp_path).offer(20, validated(0.9))  # the resumed run comes to the same step again
    assert kept(tmp_path) == {20: "weights 20"}
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["best.json", "global_step_20"]


def test_a_kill_between_the_renames_of_the_same_step_is_mended(tmp_path, save):
    save(20)
    BestCheckpoint(tmp_path).offer(20, validated(0.9))
    (tmp_path / "best/global_step_20").rename(tmp_path / "best/.global_step_20.old")
    best = BestCheckpoint(tmp_path)
    assert kept(tmp_path) == {20: "weights 20"} and best.accuracy == 0.9
    shutil.rmtree(tmp_path / "best/global_step_20")
    assert BestCheckpoint(tmp_path).accuracy == float("-inf"), "what is not there need not be beaten"


def test_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"neither a model .* nor a run's checkpoint"):
        find_checkpoint(tmp_path)
