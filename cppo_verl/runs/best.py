"""`RUN/best`: the checkpoint of best validation accuracy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cppo_verl.algorithm.metrics import validation_accuracy
from cppo_verl.runs.checkpoints import BEST
from cppo_verl.runs.files import write_whole
from cppo_verl.runs.notices import notice


class BestCheckpoint:
    """Keeps `RUN/best/global_step_N`, and `best.json` with its step and accuracy.

    The checkpoint that the step saved is linked (copied where the file system has no hard links), so it costs no
    time, and outlives the rotation of checkpoints. Invariants:

    - `best.json` names a complete checkpoint: the new one is in place before it is named, and the old one goes after
      that; where both are of the same step, a kill between the two renames is mended at the next start;
    - a linked file is never written to: what an earlier start saved as a step is removed before it is saved again
      (`Checkpoints.saving`);
    - the accuracy to beat is read from `best.json`, so that it survives a resume; one of a step that the run
      does not go on from is forgotten (`forget_after`);
    - of equal accuracies the earlier step stays.
    """

    def __init__(self, run_folder: str | Path):
        self.run_folder, self.folder = Path(run_folder), Path(run_folder) / "best"
        self.step, self.accuracy = 0, float("-inf")
        if best := self._recorded():
            name = f"global_step_{best['step']}"
            if (replaced := self.folder / f".{name}.old").exists() and not (self.folder / name).exists():
                replaced.rename(self.folder / name)  # a kill came between the old one's going and the new one's coming
            if (self.folder / name).exists():
                self.step, self.accuracy = best["step"], best["accuracy"]

    def _recorded(self) -> dict | None:
        try:
            return json.loads((self.folder / BEST).read_text())
        except (OSError, ValueError):  # none, or a machine stopped while an earlier version wrote it
            return None

    def forget_after(self, step: int) -> None:
        """Do not try to beat what a later step once reached that is now trained again, or not at all.

        Its checkpoint stays until a better one of this run takes its place, at the first validation.
        """
        if self.step > step:
            notice(f"{self.folder}: its step {self.step} is after step {step}, from which this run goes on")
            self.step, self.accuracy = 0, float("-inf")

    def offer(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Keep the checkpoint of `step` if its validation accuracy is above the best; returns metrics to log.

        Does nothing at a step without a checkpoint (the validation before training).

        Raises:
            ValueError: The validation has no accuracy: the reward function reports no `acc`.
        """
        if not (self.run_folder / f"global_step_{step}").is_dir():
            return {}
        accuracy = validation_accuracy(metrics)
        if accuracy is None:
            raise ValueError("cppo.save_best=true, but the reward function reports no `acc` to choose by")
        if accuracy > self.accuracy:
            self._keep(step, accuracy)
        return {"cppo/best/accuracy": self.accuracy, "cppo/best/step": self.step}

    def _keep(self, step: int, accuracy: float) -> None:
        name = f"global_step_{step}"
        kept, partial, old = self.folder / name, self.folder / f".{name}.partial", self.folder / f".{name}.old"
        for left_by_a_kill in (partial, old):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
        shutil.copytree(self.run_folder / name, partial, copy_function=_link_or_copy)
        if kept.exists():  # of the same step, by an earlier start
            kept.rename(old)
        partial.rename(kept)
        write_whole(self.folder / BEST, json.dumps({"step": step, "accuracy": accuracy}) + "\n")
        self.step, self.accuracy = step, accuracy
        for other in self.folder.glob("*global_step_*"):
            if other != kept:
                shutil.rmtree(other)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
