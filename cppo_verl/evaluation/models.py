"""What may be evaluated: a hub model, a local one, or a run's checkpoint, which is exported first."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.evaluation.prompts import note_settings
from cppo_verl.runs.checkpoints import find_checkpoint

EXPORT = "huggingface_export"
"""Folder in a `global_step_N` that holds the exported model."""
STAMP = "exported_from.txt"
"""File in an export: the digest of the checkpoint it was made of."""


@dataclass(frozen=True)
class Model:
    """A model that vLLM can load."""

    path: str
    """Hub id or folder."""
    name: str
    """For people and folder names."""
    version: str
    """Changes when the weights do: a digest of the files' names, sizes and times; empty for a hub id."""
    checkpoint: Path | None = None
    """The `global_step_N` it was exported from."""


def find_model(model: str) -> Model:
    """The model that `model` names; a run's checkpoint is exported beside itself unless it was before.

    Args:
        model: hub id, folder of a Hugging Face model, a run's folder (its last checkpoint), a run's `best`,
            or one `global_step_N`.

    Raises:
        ConfigError: There is a folder that holds none of these, or a path that does not exist.
    """
    folder = Path(model).expanduser().absolute()
    if not folder.is_dir():
        if model.startswith(("/", ".", "~")) or model.count("/") > 1:
            raise ConfigError(f"model={model}: there is no such folder")
        return Model(path=model, name=model, version="")
    if (folder / "config.json").is_file():
        return Model(str(folder), "/".join(folder.parts[-2:]), _version(folder.glob("*.safetensors")))
    checkpoint = find_checkpoint(folder)
    exported = export(checkpoint)
    name = "/".join(checkpoint.relative_to(checkpoint.parents[1]).parts)
    return Model(str(exported), name, _version((checkpoint / "actor").glob("model_*.pt")), checkpoint)


def export(checkpoint: Path, target: Path | None = None) -> Path:
    """Write a sharded FSDP checkpoint as a Hugging Face model, by verl's model merger, in bfloat16.

    A LoRA adapter is merged into its model, and how the run put its questions is noted beside it. The
    folder appears when it is complete; an export of the same
    checkpoint that is there is taken as it is.

    Args:
        checkpoint: A `global_step_N`.
        target: By default a folder in the checkpoint.

    Raises:
        ConfigError: The target holds something else, or the merger failed (the message holds its last lines).
    """
    actor, target = checkpoint / "actor", target or checkpoint / EXPORT
    stamp = _version(actor.glob("model_*.pt"))
    exported = (target / STAMP).read_text() if (target / STAMP).is_file() else None
    if exported == stamp:
        note_settings(checkpoint, target)
        return target
    if exported is None and target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty and not an export; give another folder")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    print(f"exporting {checkpoint} to {target}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    merger = subprocess.run(
        [*command, "--local_dir", str(actor), "--target_dir", str(partial)], capture_output=True, text=True
    )
    if merger.returncode:
        raise ConfigError(f"{checkpoint} could not be exported:\n{merger.stderr[-2000:]}")
    if (partial / "lora_adapter").is_dir():
        _merge_adapter(partial)
    (partial / STAMP).write_text(stamp)
    note_settings(checkpoint, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def _merge_adapter(folder: Path) -> None:
    """Add a LoRA adapter to the weights of the model that it stands with."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    PeftModel.from_pretrained(base, folder / "lora_adapter").merge_and_unload().save_pretrained(folder)
    shutil.rmtree(folder / "lora_adapter")


def _version(files) -> str:
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
