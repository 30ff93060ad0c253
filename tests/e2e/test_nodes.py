"""The command for several nodes, of both recipes, on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import pytest
from cluster import two_nodes
from recorded import read_metrics


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gsm8k", "math"])
def test_a_recipe_on_two_nodes(recipe, repo, runner, toy, tmp_path):
    """It trains to its end, with half of the rows on each node."""
    run = tmp_path / "run"
    options = (
        *("device=cpu", "trainer.nnodes=2", "trainer.n_gpus_per_node=1", f"trainer.default_local_dir={run}"),
        *(f"actor_rollout_ref.model.path={toy}/model", f"data.train_files={toy}/train.parquet"),
        *(f"data.val_files={toy}/validation.parquet", "data.val_max_samples=4", "trainer.val_before_train=false"),
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "actor_rollout_ref.rollout.n=4"),
        *("data.max_prompt_length=960", "data.max_response_length=32", "trainer.total_training_steps=2"),
        "trainer.save_freq=2",
    )
    with two_nodes(repo, tmp_path) as cluster:
        runner(["bash", f"recipe/cppo/{recipe}_cppo.sh", *options], tmp_path / "log", env=cluster.env)
        left = [process.name() for process in cluster.runner.processes() if "VLLM::" in process.name()]
        assert not left, "the cluster stays, the run's actors go"
    steps = read_metrics(run)
    assert list(steps) == [1, 2]
    kept = 16  # B * G, with allocation
    assert all(step["cppo/completions_kept"] == kept for step in steps.values())
    parts = sorted(path.name for path in (run / "global_step_2/actor").glob("model_world_size_*"))
    assert len(parts) == 2, "a part of the weights for each rank"
