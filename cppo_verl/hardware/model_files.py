"""What can be known of a model before it is loaded: whether it is there, whole, and brings no code of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cppo_verl.algorithm.errors import first_line
from cppo_verl.hardware.hub import downloaded

CONFIGS = ("config.json", "tokenizer_config.json")
TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "tekken.json")
"""Files of which a tokenizer has one at least."""


def is_of_hub(path: str) -> bool:
    """Whether a model's path is a hub id: neither a folder that is there, nor written as one."""
    return not (Path(path).expanduser().is_dir() or path.startswith(("/", ".", "~")) or path.count("/") > 1)


def folder_fault(path: str) -> str | None:
    """Why a folder holds no model, as far as its JSON tells; None of one that does, and of a hub id."""
    if is_of_hub(path):
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return _no_model(path, "there is no such folder")
    try:
        return None if _read_json(folder / "config.json") else _no_model(path, "it has no config.json")
    except ValueError as error:
        return _no_model(path, error)


def model_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why transformers finds no model at a folder or hub id; None where it does."""
    try:
        read_config(path, trust_remote_code=trust_remote_code)
    except ValueError as error:
        return _no_model(path, error)
    return None


def _no_model(path: str, why: object) -> str:
    return (
        f"no model at {path} ({why}); give a folder that holds a model, or a hub id that can be reached or was "
        "downloaded with: hf download ID"
    )


def code_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why a model would run code of its own; verl 0.9.1's reward workers do not ask whether they may."""
    try:
        contents = {name: _read_json(_folder(path) / name) for name in CONFIGS}
    except FileNotFoundError:  # said by `model_fault`
        return None
    except ValueError as error:
        return str(error)
    with_code = ", ".join(name for name, content in contents.items() if "auto_map" in content)
    if trust_remote_code or not with_code:
        return None
    return (
        f"{path} brings code of its own (auto_map in {with_code}), which would be run; look at it, and allow it with "
        "actor_rollout_ref.model.trust_remote_code=true"
    )


def weights_fault(path: str) -> str | None:
    """Why a folder's model cannot be loaded; None of one that can, and of a hub id."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return None
    for kind in ("safetensors", "bin"):
        if any(folder.glob(f"*.{kind}")):
            return _shards_fault(folder, kind)
    return f"{folder} holds a config but no weights (*.safetensors or *.bin)"


def tokenizer_fault(path: str) -> str | None:
    """Why there is no tokenizer in a folder, or no such hub id; None where there is."""
    try:
        folder = _folder(path)
    except FileNotFoundError as error:
        return f"no tokenizer at {path} ({error})"
    is_of_hub = not Path(path).expanduser().is_dir()  # of which only the configs are looked at
    if is_of_hub or any(file for pattern in TOKENIZERS for file in folder.glob(pattern)):
        return None
    return f"{folder} holds no tokenizer ({', '.join(TOKENIZERS)})"


def num_positions(path: str, *, trust_remote_code: bool = False) -> int | None:
    """How long a sequence the model takes; None where its config does not say, or stretches it."""
    try:
        text = read_config(path, trust_remote_code=trust_remote_code).get_text_config()
    except ValueError:
        return None
    # Its name in transformers 5, and before.
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return None if rope.get("factor") else getattr(text, "max_position_embeddings", None)


def num_heads(path: str, *, trust_remote_code: bool = False) -> int | None:
    """Attention heads of a model; None where its config does not say."""
    return _of_text(path, "num_attention_heads", trust_remote_code)


def num_embeddings(path: str, *, trust_remote_code: bool = False) -> int | None:
    """Tokens that a model has embeddings of; None where its config does not say."""
    return _of_text(path, "vocab_size", trust_remote_code)


def _of_text(path: str, name: str, trust_remote_code: bool) -> int | None:
    """A size of a model, or of the part of it that reads text."""
    try:
        return getattr(read_config(path, trust_remote_code=trust_remote_code).get_text_config(), name, None)
    except ValueError:
        return None


def read_config(path: str, *, trust_remote_code: bool = False) -> Any:
    """transformers' config of a folder or hub id.

    Raises:
        ValueError: Why there is none.
    """
    from transformers import AutoConfig

    try:
        folder = _folder(path)
        _read_json(folder / "config.json")
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # a broken config leads transformers to errors of any kind
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{kind}{first_line(error)}") from error


def _folder(path: str) -> Path:
    """Where a model's configs are.

    Raises:
        FileNotFoundError: Nowhere.
    """
    folder = Path(path).expanduser()
    if not is_of_hub(path):
        if folder.is_dir():
            return folder
        raise FileNotFoundError("there is no such folder")
    found = downloaded(path, (*CONFIGS, "*.py"))
    if isinstance(found, str):
        raise FileNotFoundError(found)
    return found


def _read_json(file: Path) -> dict[str, Any]:
    """An object; an empty one of a file that is not there.

    Raises:
        ValueError: It holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a JSON object")
    return content


def _shards_fault(folder: Path, kind: str) -> str | None:
    """Which files an index names that are not there."""
    for index in folder.glob(f"*.{kind}.index.json"):
        try:
            shards = _read_json(index).get("weight_map")
        except ValueError as error:
            return str(error)
        if not isinstance(shards, dict):
            return f"{index} has no weight_map"
        gone = sorted({name for name in map(str, shards.values()) if not (folder / name).is_file()})
        if gone and not (folder / index.name.removesuffix(".index.json")).is_file():
            more = f" and {len(gone) - 1} more" if gone[1:] else ""
            return f"{folder} lacks {gone[0]}{more}, which {index.name} names"
    return None
