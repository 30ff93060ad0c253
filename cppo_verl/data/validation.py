"""Holding out a part of the train set, to choose a checkpoint by without looking at the test set."""

from __future__ import annotations

from hashlib import sha256

from cppo_verl.data.rows import collapse

SEED = 0


def hold_out(rows: list[dict], count: int, seed: int = SEED) -> tuple[list[dict], list[dict]]:
    """Split built train rows into (train, validation), each in the order of `rows`.

    The questions held out are the `count` of smallest seeded hash. So they are the same in whatever order the
    rows come, and a question asked twice has all its rows on one side.

    Raises:
        ValueError: `count` is negative, or would leave no question to train on.
    """
    ranked = sorted({_question(row) for row in rows}, key=lambda text: sha256(f"{seed}:{text}".encode()).digest())
    if not 0 <= count < len(ranked):
        raise ValueError(
            f"{count} validation questions do not fit {len(ranked):,} train questions; "
            f"the largest number that works is {len(ranked) - 1}"
        )
    held = set(ranked[:count])
    validation = [
        row | {"extra_info": row["extra_info"] | {"split": "validation"}} for row in rows if _question(row) in held
    ]
    return [row for row in rows if _question(row) not in held], validation


def _question(row: dict) -> str:
    return collapse(row["extra_info"]["question"])
