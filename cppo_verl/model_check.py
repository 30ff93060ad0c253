"""What can be known of a model before it is loaded: whether it is there, whole, and brings no code of its own."""

from __future__ import annotations

from pathlib import Path


def model_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why there is no model at a folder or hub id; None where there is one."""
    try:
        _config(path, trust_remote_code)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        return (
            f"no model at {path} ({why}); give a folder that holds a model, or a hub id that can be reached or was "
            "downloaded with: hf download ID"
        )
    return None


def tokenizer_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why a tokenizer would run code of the model's; verl 0.9.1's reward workers do not ask whether they may."""
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if trust_remote_code or "auto_map" not in get_tokenizer_config(Path(path).expanduser()):
        return None
    return (
        f"the tokenizer of {path} brings code of its own (auto_map in tokenizer_config.json), which would be run; look "
        "at it, and allow it with actor_rollout_ref.model.trust_remote_code=true"
    )


def weights_fault(path: str) -> str | None:
    """Why a folder's model cannot be loaded; None of one that can, and of a hub id."""
    folder = Path(path).expanduser()
    if not folder.is_dir() or any(file for kind in ("safetensors", "bin") for file in folder.glob(f"*.{kind}")):
        return None
    return f"{folder} holds a config but no weights (*.safetensors or *.bin)"


def num_positions(path: str, *, trust_remote_code: bool = False) -> int | None:
    """How long a sequence the model takes; None where its config does not say, or stretches it."""
    try:
        text = _config(path, trust_remote_code).get_text_config()
    except (OSError, ValueError):
        return None
    # Its name in transformers 5, and before.
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return None if rope.get("factor") else getattr(text, "max_position_embeddings", None)


def _config(path: str, trust_remote_code: bool):
    from transformers import AutoConfig

    local = Path(path).expanduser()
    return AutoConfig.from_pretrained(local if local.is_dir() else path, trust_remote_code=trust_remote_code)
