"""A model of the hub: where its files were downloaded to, without a minute's wait for a hub that does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cppo_verl.algorithm.errors import first_line
from cppo_verl.hardware.network import no_answer

SECONDS = 10.0
"""For the first answer. huggingface_hub 1.x, which a run would ask for each file, tries five times and longer."""


@cache
def downloaded(repo: str, patterns: Sequence[str]) -> Path | str:
    """The folder that a hub id's files of these names were downloaded to, or why not; asked once.

    A hub that does not answer is not waited for, also where the model is in the cache: the run's processes would wait
    for it, each for itself. `HF_HUB_OFFLINE=1` is how to say that it need not be asked.
    """
    from huggingface_hub import constants, snapshot_download

    if not constants.HF_HUB_OFFLINE and (why := no_answer(constants.ENDPOINT, SECONDS)):
        way_on = (
            "the model is in the cache: set HF_HUB_OFFLINE=1 to use it as it is"
            if _is_cached(repo)
            else "the model is not in the cache; download it where there is a network, and set HF_HUB_OFFLINE=1 here"
        )
        return f"the hub, {constants.ENDPOINT}, does not answer: {why}; {way_on}"
    try:
        return Path(snapshot_download(repo, allow_patterns=list(patterns)))
    except Exception as error:  # noqa: BLE001 - also those of its HTTP library
        return first_line(error)


def _is_cached(repo: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(repo, "config.json"), str)
    except ValueError:  # no hub id
        return False
