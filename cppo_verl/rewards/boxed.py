r"""The reward of an answer in `\boxed{}`: format 0/1 plus accuracy 2 or 0, whatever the comparison with the gold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cppo_verl.rewards.copied import is_copied
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.numbers import gold_text
from cppo_verl.rewards.result import Outcome, result
from cppo_verl.rewards.symbolic import TIME_LIMIT_S
from cppo_verl.rewards.tags import has_format, whole_turn

EQUAL = 2.0
READ = ("unit", "error", "question")
"""What a judgement reads of a question's `extra_info`."""

Judge = Callable[[str, str | None, Mapping[str, Any], float], Outcome]
"""From the gold, what the last box holds (None without a closed one), the question's `extra_info`, and the seconds that
one symbolic comparison may take."""


@dataclass(frozen=True)
class BoxedReward:
    """A `compute_score` with the signature that verl calls, from any thread or process, by how an answer is judged."""

    judge: Judge

    def __call__(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: str,
        extra_info: dict | None = None,
        *,
        timeout: float = TIME_LIMIT_S,
        credit_unworked: bool = False,
        **_: object,
    ) -> dict[str, float | str]:
        r"""Score one completion by its last `\boxed`, inside `<answer>` or not.

        The layout is the format reward's business, and "wrong format, right answer" is one of the paper's four kinds
        (Table 3). With several boxes only the last counts, so listing candidates earns nothing.

        Args:
            data_source: not used; verl passes it.
            solution_str: the completion, without the prompt.
            ground_truth: LaTeX of the gold answer, without `\boxed` and dollar signs.
            extra_info: what the data say of the question; see the judge of the reward's module. Where it has the
                `question`, a formula copied from it is not worked out (`copied`). Its `tags.OPENING` is what the chat
                template has written of the turn.
            timeout: seconds one symbolic comparison may take.
            credit_unworked: also pay a number of the gold's value that is not worked out (`71+1` for 72), as
                math-verify does. Set it through verl's `reward_kwargs`.

        Returns:
            `score` (format + accuracy, 0 to 3), `acc` (0.0 or 1.0), `format` (0.0 or 1.0), `verify_failed`
            (1.0 when the comparison timed out, crashed or met an unreadable gold; its accuracy is then 0) and
            `outcome`, the reason in a word; always these keys. Never raises on any text.

        Raises:
            TypeError: the gold is neither text nor a number.
        """
        gold, layout = gold_text(ground_truth), float(has_format(whole_turn(solution_str, extra_info)))
        outcome = self._outcome(gold, last_boxed(solution_str), extra_info or {}, timeout)
        return self._scored(outcome, layout, credit_unworked)

    def of_many(
        self,
        rows: Iterable[tuple[str, str, Mapping[str, Any] | None]],
        *,
        timeout: float = TIME_LIMIT_S,
        **options: bool,
    ) -> list[dict[str, float | str]]:
        """Score completions that came together, in their order: equal answers of a question are compared once.

        Args:
            rows: completion, gold and `extra_info` of each, as `__call__` takes them.
            timeout: as there.
            options: as there.
        """
        outcomes: dict[tuple, Outcome] = {}
        scored = []
        for completion, ground_truth, extra in rows:
            gold, box, extra = gold_text(ground_truth), last_boxed(completion), extra or {}
            key = gold, box, *(str(extra.get(name)) for name in READ)
            if key not in outcomes:
                outcomes[key] = self._outcome(gold, box, extra, timeout)
            scored.append(self._scored(outcomes[key], float(has_format(whole_turn(completion, extra))), **options))
        return scored

    def _outcome(self, gold: str, box: str | None, extra: Mapping[str, Any], timeout: float) -> Outcome:
        outcome = self.judge(gold, box, extra, timeout)
        if outcome == "equal" and is_copied(box, gold, str(extra.get("question") or "")):
            return "unworked"
        return outcome

    def _scored(self, outcome: Outcome, layout: float, credit_unworked: bool = False) -> dict[str, float | str]:
        outcome = "equal" if credit_unworked and outcome == "unworked" else outcome
        return result(layout + EQUAL * (outcome == "equal"), layout, outcome)
