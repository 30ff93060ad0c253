"""P = 0 without allocation is verl's own GRPO, to the bit."""

from pathlib import Path

import torch


def weights(run: Path, step: int, rank: int = 0) -> dict[str, torch.Tensor]:
    """A rank's shard of a checkpoint's model."""
    path = run / f"global_step_{step}/actor/model_world_size_1_rank_{rank}.pt"
    state = torch.load(path, weights_only=False)
    return {name: getattr(tensor, "_local_tensor", tensor) for name, tensor in state.items()}


def test_grpo_is_verls_own(train, tmp_path):
    """Three steps of both trainers on the same replayed rollouts end in bit-identical weights."""
    common = (
        *("trainer.total_training_steps=3", "trainer.save_freq=3", "cppo.pruning_rate=0", "cppo.allocation=false"),
        *("skip.rollout.enable=true", "skip.rollout.steps=[1,2,3]", f"skip.rollout.dump_dir={tmp_path}/rollouts"),
        "trainer.experiment_name=parity",
    )
    verl = train("verl", "+verl_trainer=true", *common)
    ours = train("ours", *common)
    assert "Dump generate result at step 3" in verl.output
    assert "Load generate result at step 3" in ours.output
    theirs, mine = weights(verl.folder, 3), weights(ours.folder, 3)
    assert theirs.keys() == mine.keys()
    different = [name for name in theirs if not torch.equal(theirs[name], mine[name])]
    assert not different, f"weights differ: {different}"
