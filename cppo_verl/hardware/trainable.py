"""Whether a model is one that verl 0.9.1 and the rollout engine take, as far as its config and its processor tell."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cppo_verl.algorithm.errors import first_line
from cppo_verl.hardware.model_files import read_config

CAUSAL = "ForCausalLM"
BESIDE_IMAGES = frozenset(
    f"{family}{CAUSAL}" for family in ("HCXVisionV2", "MiniMaxM3Sparse", "MuseGlimmer", "Qwen3_5", "Qwen3_5Moe")
)
"""Language models that vLLM 0.28 has in a module with those of images, which imports torchvision."""
GET_TORCHVISION = (
    "device=cpu has no torchvision: train it on GPUs, with torchvision installed, or take a model of text alone"
)


def is_multimodal(config: Any) -> bool:
    """Whether verl loads a model, by transformers' config of it, as one of images and text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

    return config.model_type in NAMES


def architecture_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why verl would not train a folder's or hub id's model as a language model; None where it would, and where there
    is no config to read."""
    try:
        config = read_config(path, trust_remote_code=trust_remote_code)
    except ValueError:  # said by `model_files.model_fault`
        return None
    names = config.architectures or []
    if len(names) != 1:
        return (
            f"{path} names {', '.join(names) or 'nothing'} as architectures in its config.json; verl 0.9.1 needs one, "
            f'such as ["Qwen2{CAUSAL}"]'
        )
    if CAUSAL in names[0] or is_multimodal(config) or getattr(config, "auto_map", None):
        return None
    return (
        f"{path} is a {names[0]} ({config.model_type}), which verl 0.9.1 would load without its output layer: it knows "
        f"a language model by {CAUSAL} in the architecture's name; give a decoder such as Qwen, Llama or Gemma"
    )


def engine_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why the rollout engine cannot start on a model for want of torchvision or of a processor's files, which it loads
    also where only text is asked; None where it can."""
    try:
        config = read_config(path, trust_remote_code=trust_remote_code)
    except ValueError:
        return None
    named = ", ".join(config.architectures or [config.model_type])
    if named in BESIDE_IMAGES and not find_spec("torchvision"):
        return f"{path} is a {named}, which the rollout engine cannot load without torchvision; {GET_TORCHVISION}"
    if not is_multimodal(config):
        return None
    from transformers import AutoProcessor

    folder = Path(path).expanduser()
    try:
        AutoProcessor.from_pretrained(folder if folder.is_dir() else path, trust_remote_code=trust_remote_code)
    except Exception as error:  # noqa: BLE001 - of a file or a package that is missing, in any of its parts
        why, is_missing = first_line(error), "torchvision" in str(error).lower()
        way_out = (
            GET_TORCHVISION
            if is_missing
            else "give the folder its processor's files (preprocessor_config.json), or take a model of text alone"
        )
        return (
            f"{path} is a model of images and text ({named}); the rollout engine loads its processor, and that fails "
            f"({type(error).__name__}: {why}); {way_out}"
        )
    return None
