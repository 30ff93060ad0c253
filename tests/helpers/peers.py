"""What the suites of other graders say is right and wrong, in facts: gold, answer, right or not (`peers.jsonl`)."""

from __future__ import annotations

import json
from pathlib import Path

FACTS = Path(__file__).parents[1] / "rewards/peers.jsonl"


def read_facts() -> list[dict]:
    """Each with a `gold`, an `answer`, whether it is `right`, and the `suite` that says so."""
    return [json.loads(line) for line in FACTS.read_text().splitlines()]


def completion(fact: dict) -> str:
    """What is scored."""
    return rf"So it is $\boxed{{{fact['answer']}}}$."


def wrong_by_reward(reward: object, facts: list[dict]) -> list[dict]:
    """The facts that a reward scores otherwise."""
    return [f for f in facts if reward.compute_score("", completion(f), f["gold"])["acc"] != f["right"]]
