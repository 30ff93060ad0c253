"""verl's data set of questions, with the system messages that a chat template may not know folded away."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from omegaconf import DictConfig, open_dict
from verl.utils.dataset.rl_dataset import RLHFDataset

from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.data.prompts import fold_system


class FoldedDataset(RLHFDataset):
    """verl's, of `data.system=fold`: its prompts are folded before verl takes their lengths."""

    def maybe_filter_out_long_prompts(self, dataframe: Dataset = None) -> Dataset:
        """verl's, of the folded prompts, which are also what `__getitem__` gives."""
        return super().maybe_filter_out_long_prompts(dataframe.map(self._folded, desc="Folding system messages"))

    def _folded(self, row: dict[str, Any]) -> dict[str, Any]:
        return {self.prompt_key: fold_system(row[self.prompt_key])}


def choose_dataset(config: DictConfig) -> None:
    """Have verl take the data set above where a run folds, in its config, in place."""
    if PromptSettings.of(config).system == "fold":
        with open_dict(config.data):
            config.data.custom_cls = {"path": f"pkg://{__name__}", "name": FoldedDataset.__name__}
