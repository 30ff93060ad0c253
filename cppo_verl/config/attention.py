"""Which attention GPUs train with, by what is installed. Nothing is imported to find out."""

from __future__ import annotations

from importlib.util import find_spec

FLASH, SDPA = "flash_attention_2", "sdpa"
EXTENSION = "flash_attn_2_cuda"
"""Module that flash-attn 2 was compiled into; flash-attn 4 has none of that name."""


def installed_attention() -> str:
    """transformers' name of flash-attn 2 where it is there, else of torch's own attention."""
    return FLASH if find_spec(EXTENSION) else SDPA
