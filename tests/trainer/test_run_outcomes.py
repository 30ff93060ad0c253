"""A run that goes on counts outcomes by the words by which it counted them before."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from cppo_verl.algorithm.metrics import MOST_OUTCOMES
from cppo_verl.trainer.run_folder import OUTCOMES, RunFolder

MODES = ["auto", "resume_path"]


class Verl:
    """verl's side of a trainer, as far as it touches checkpoints: it is told from which step it goes on."""

    def __init__(self, folder, mode: str, done: int):
        told = {"resume_mode": mode, "resume_from_path": f"{folder}/global_step_{done}", "logger": ["file"]}
        kept = {"max_actor_ckpt_to_keep": None, "max_critic_ckpt_to_keep": None}
        options = {
            "default_local_dir": str(folder),
            "val_only": False,
            "val_before_train": False,
            "test_freq": -1,
            **told,
            **kept,
        }
        self.config, self.metrics, self.global_steps = OmegaConf.create({"trainer": options}), {}, done
        self._open_run_folder(self.config)
        self._load_checkpoint()

    def _load_checkpoint(self) -> None: ...

    def _save_checkpoint(self) -> None: ...


class Trainer(RunFolder, Verl):
    """The mixin over it."""


def made(trainer: Trainer, *words: str) -> dict[str, int]:
    """A further step with these outcomes, saved: how they are counted."""
    trainer.global_steps += 1
    counted = trainer.outcomes.count(np.array(words, dtype=object))
    trainer._save_checkpoint()
    return dict(counted)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_has_seen_too_many_words_names_none_again(tmp_path, mode):
    first = Trainer(tmp_path, "auto", 0)
    assert made(first, "equal", *(f"w{n}" for n in range(MOST_OUTCOMES))) == {"other": MOST_OUTCOMES + 1}
    assert made(Trainer(tmp_path, mode, 1), "equal", "equal") == {"other": 2}


@pytest.mark.parametrize("mode", MODES)
def test_words_of_several_starts_are_counted_together(tmp_path, mode):
    names = [f"w{n}" for n in range(MOST_OUTCOMES)]
    assert made(Trainer(tmp_path, "auto", 0), *names[:-1])["w0"] == 1
    resumed = Trainer(tmp_path, mode, 1)
    assert made(resumed, "w0", names[-1]) == {"w0": 1, names[-1]: 1}
    assert made(resumed, "w0", "one_more") == {"other": 2}


def test_a_checkpoint_of_an_earlier_version_does_not_tell(tmp_path):
    made(Trainer(tmp_path, "auto", 0), "equal")
    (tmp_path / "global_step_1" / OUTCOMES).unlink()
    assert Trainer(tmp_path, "auto", 1).outcomes.words == []
