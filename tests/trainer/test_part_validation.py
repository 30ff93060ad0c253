"""Validations of a part of the questions: when, of which, and that nothing else takes them for whole ones."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchdata.stateful_dataloader import StatefulDataLoader

from cppo_verl.algorithm.metrics import SUBSET
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.trainer.part_validation import PartValidation, evenly_spaced
from cppo_verl.trainer.run_folder import STEP_METRICS


class VerlsTrainer:
    """As much of it as validates: the questions, numbers, are noted."""

    def __init__(self, batch_size: int | None = None, test_freq: int = -1, **options):
        trainer = {"test_freq": test_freq, "resume_mode": "auto", "val_only": False, "val_before_train": True}
        data = SimpleNamespace(val_batch_size=batch_size)
        self.config = SimpleNamespace(trainer=SimpleNamespace(**trainer), data=data)
        self.cppo, self.plan = CPPOConfig(pruning_rate=0.5, **options), plan_step(0.5, 4, 4, 4)
        self.val_dataset = list(range(100))
        self.val_dataloader = StatefulDataLoader(self.val_dataset, batch_size=100, collate_fn=torch.tensor)
        self.global_steps, self.metrics, self.unlogged = 1, {"cppo/last_step": 0}, {}
        self.offered = []
        self.best = SimpleNamespace(offer=lambda step, metrics: self.offered.append(step) or {"cppo/best/step": step})
        self.validated = []

    def _validate(self) -> dict[str, float]:
        batches = list(self.val_dataloader)
        self.validated.append([question for batch in batches for question in batch.tolist()])
        return {"val-core/toy/acc/mean@1": 0.5, "batches": len(batches)}


class Trainer(PartValidation, VerlsTrainer):
    """The project's over it."""


@given(st.integers(1, 1000), st.integers(1, 200))
def test_the_part_is_evenly_spaced(total, wanted):
    positions = evenly_spaced(total, wanted)
    assert len(positions) == min(total, wanted)
    assert positions == sorted(set(positions)) and positions[0] == 0 and positions[-1] < total
    gaps = {later - earlier for earlier, later in itertools.pairwise(positions)}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


@given(st.integers(1, 50), st.integers(1, 40), st.integers(-1, 7).filter(bool))
def test_a_part_is_due_after_every_so_many_questions_unless_all_are(every, steps, test_freq):
    """A step has 8 questions."""
    trainer = Trainer(val_every_questions=every, test_freq=test_freq)
    for step in range(1, steps + 1):
        is_last = {"cppo/last_step": int(step == steps)}
        passed = any(number % every == 0 for number in range(8 * (step - 1) + 1, 8 * step + 1))
        whole = test_freq > 0 and (step % test_freq == 0 or step == steps)
        assert trainer._whole_is_due(step, is_last) == whole
        assert trainer._part_is_due(step, is_last) == (passed and not whole)


def test_without_the_option_no_part_is_validated():
    trainer, timing = Trainer(), {}
    assert trainer._validate_part(timing) == {} and not trainer.validated and not timing


@pytest.mark.parametrize(("batch_size", "batches"), [(None, 1), (4, 3)])
def test_a_part_is_validated_and_marked_and_timed_apart(batch_size, batches):
    trainer, timing = Trainer(batch_size, val_every_questions=8, val_subset=12, save_best=True), {}
    found = trainer._validate_part(timing)
    assert found == {"val-core/toy/acc/mean@1": 0.5, "batches": batches, SUBSET: 12}
    assert trainer.validated == [evenly_spaced(100, 12)]
    assert set(timing) == {"testing"}
    assert not trainer.offered, "the best checkpoint is chosen on all questions"
    assert SUBSET not in trainer._validate() and trainer.validated[1] == list(range(100))
    assert trainer.offered == [1]


@pytest.mark.parametrize("subset", [100, 1000, None])
def test_a_part_of_all_questions_is_a_whole_validation(subset):
    trainer = Trainer(val_every_questions=8, val_subset=subset)
    assert SUBSET not in trainer._validate_part({})
    assert trainer.validated == [list(range(100))]


def test_after_an_error_all_questions_are_there_again():
    trainer = Trainer(val_every_questions=8)
    trainer.val_dataset = [*range(99), None]
    with pytest.raises(RuntimeError):
        trainer._validate_part({})
    assert not trainer.of_part and len(list(trainer.val_dataloader)) == 1


@pytest.mark.parametrize(("test_freq", "of_part", "validates"), [(-1, True, True), (4, False, True), (3, True, True)])
def test_a_part_that_a_kill_came_before_is_made_up_for(tmp_path, test_freq, of_part, validates):
    trainer = Trainer(val_every_questions=8, val_subset=12, test_freq=test_freq)
    trainer.config.trainer.default_local_dir, trainer.global_steps = str(tmp_path), 4
    (tmp_path / "global_step_4").mkdir()
    (tmp_path / "global_step_4" / STEP_METRICS).write_text(json.dumps({"cppo/last_step": 0, "actor/lr": 1.0}))
    trainer._find_unlogged(is_logged=False)
    assert (trainer.of_part, trainer.config.trainer.val_before_train) == (of_part, validates)
    found = trainer._validate()
    assert found["actor/lr"] == 1.0 and (SUBSET in found) == of_part
    assert len(trainer.validated[0]) == (12 if of_part else 100)
