"""The `cppo.*` options: one frozen dataclass, checked when it is made."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from cppo_verl.algorithm.errors import ConfigError, nearest_word, not_one_of

Metric = Literal["smallest", "largest", "smallest_raw", "largest_raw", "random", "max_variance", "distinct", "unbiased"]
Scope = Literal["question", "batch"]
ZeroVariance = Literal["keep", "drop"]
MiniBatch = Literal["completions", "questions"]
LRScale = Literal["none", "sqrt"]
CHOICES = {
    "metric": Metric,
    "scope": Scope,
    "mini_batch": MiniBatch,
    "lr_scale": LRScale,
    "zero_variance": ZeroVariance,
}
"""Option to the words that it may be."""
COUNTS = {"max_gen_rounds": None, "val_every_questions": "never", "val_subset": "all", "dumps_to_keep": "all"}
"""Option that is a whole number from 1 to what its `null` means; None where it may not be null."""
MOST_DIGITS = 150
"""Of P, and in its exponent: 1e99999999 as a fraction would fill the memory."""


@dataclass(frozen=True)
class CPPOConfig:
    """What is pruned, and what fills the freed room (paper §3)."""

    pruning_rate: float | str = 0.0
    """P, the share of a question's completions that is pruned: 0 <= P < 1. Read as the decimal that was
    written: 0.9 is 9/10, not the nearest binary fraction. 0 with `allocation: false` is GRPO."""

    metric: Metric = "smallest"
    """Which completions are pruned. `smallest` / `largest` of |A|, `smallest_raw` / `largest_raw` of A (paper
    Table 4), `random`; with `max_variance` all but the k of largest variance (PODS, arXiv 2504.13818), with
    `distinct` all but one for each distinct advantage, largest |A| first, and after them the largest of the rest (as
    FastRL, arXiv 2609.36932). `unbiased` draws those that are kept with probability by |A| and weights them so that
    the gradient's expectation is that of all G (as DPPO, arXiv 2603.04135; needs `scope=question`; see
    `unbiased.py`)."""

    scope: Scope = "question"
    """Where completions compete. Within their `question` (the paper), or in the pooled `batch` (what the
    authors' verl code does; for parity studies)."""

    allocation: bool = True
    """Fill the freed room with completions of additional questions. Dynamic completion allocation (paper §3.3):
    a step trains on as many completions as GRPO does."""

    mini_batch: MiniBatch = "questions"
    """What of GRPO's an update's size keeps with allocation. As many `questions`: an epoch has GRPO's updates, of
    `ppo_mini_batch_size` questions and k completions of each; sampling and the old and reference forwards keep the
    large batches of allocation. As many `completions` (the published runs): an epoch has 1-P times GRPO's updates.
    Without allocation the two are the same."""

    lr_scale: LRScale = "none"
    """What the learning rate is multiplied by. `sqrt`: by sqrt(1/(1-P)), for the fewer updates of
    `mini_batch=completions` with allocation."""

    zero_variance: ZeroVariance = "keep"
    """What becomes of questions whose rewards are all equal. There A = 0 everywhere: `keep` k of them all the
    same (the paper), or `drop` them and give their room to other questions."""

    max_gen_rounds: int = 4
    """With `zero_variance=drop`, generation rounds per step at most. The first one is included; after the last, the
    step trains on what there is. On V0 a further round asks for as many questions as fill the step if as many of them
    are dropped as before."""

    seed: int = 0
    """Seed of the random choice between completions of equal |A|."""

    rollout_seed: int | None = None
    """Seed of sampling: two runs of one command sample the same. Each completion has a seed of its own: a hash
    of (this number, step, question), plus the number of the sample. `null`: the engine's own randomness, which on GPUs
    is faster, and V1's asynchronous modes, which know no seeds; else `device=cpu` sets 0."""

    skip_old_log_prob: bool = False
    """Leave out the old policy's forward in steps of one update. Where a step is one pass over one mini-batch
    (`ppo_epochs=1`, `ppo_mini_batch_size` = `train_batch_size`), the update's own forward is the old policy's. For
    models without dropout. What verl takes from that forward (the entropy, the difference to the rollout's log-probs)
    is not logged."""

    save_best: bool = False
    """Keep the checkpoint of best validation accuracy in RUN/best. The validation questions must not be test
    questions; `mode=save_best` sets all that this needs."""

    val_every_questions: int | None = None
    """After how many questions a part of the validation questions is validated. Between verl's own validations
    (`trainer.test_freq`), which are of all of them; counted as planned, and not in the time. `null`: never."""

    val_subset: int | None = 64
    """How many validation questions that part has. They are the same in every run: evenly spaced in the data. `null`:
    all of them; a validation that asks all counts as a whole one in a report."""

    reward_timeout: float = 120
    """Seconds without any reward after which the run ends. Only while rewards are waited for."""

    dumps_to_keep: int | None = None
    """How many steps' dumped generations are kept. Those in `trainer.rollout_data_dir` and
    `trainer.validation_data_dir`; `null`: all."""

    def __post_init__(self) -> None:
        if faults := list(dict.fromkeys(self._faults())):
            raise ConfigError(*faults)

    def _faults(self) -> Iterator[str]:
        for name, choices in CHOICES.items():
            yield from not_one_of(f"cppo.{name}", getattr(self, name), get_args(choices))
        try:
            in_range = 0 <= self.rate < 1
        except ConfigError as error:
            yield str(error)
        else:
            if not in_range:
                yield (
                    f"cppo.pruning_rate={self.pruning_rate} must be at least 0 and below 1 "
                    "(the share pruned; 0.5 prunes half of a question's completions)"
                )
        for name in ("allocation", "skip_old_log_prob", "save_best"):
            if not isinstance(getattr(self, name), bool):
                yield f"cppo.{name}={getattr(self, name)!r} must be true or false"
        for name, null in COUNTS.items():
            value = getattr(self, name)
            if not (value is None and null) and (not _is_int(value) or value < 1):
                yield f"cppo.{name}={value!r} must be a whole number from 1" + (f", or null for {null}" if null else "")
        if isinstance(self.reward_timeout, bool) or not isinstance(self.reward_timeout, int | float):
            yield f"cppo.reward_timeout={self.reward_timeout!r} must be a number of seconds"
        elif not self.reward_timeout > 0:
            yield f"cppo.reward_timeout={self.reward_timeout} must be above 0"
        for name in ("seed", "rollout_seed"):
            value = getattr(self, name)
            if not (_is_int(value) or (name == "rollout_seed" and value is None)):
                yield f"cppo.{name}={value!r} must be a whole number"
        yield from self._pair_faults()

    def _pair_faults(self) -> Iterator[str]:
        """Options that cannot go together."""
        if self.lr_scale == "sqrt" and self.mini_batch == "questions":
            yield (
                "cppo.lr_scale=sqrt makes up for fewer updates than GRPO's, but cppo.mini_batch=questions has as many; "
                "set cppo.lr_scale=none, or cppo.mini_batch=completions"
            )
        if self.lr_scale == "sqrt" and self.allocation is False:
            yield (
                "cppo.lr_scale=sqrt makes up for fewer updates than GRPO's, but cppo.allocation=false has as many; set "
                "cppo.lr_scale=none"
            )
        if self.metric == "unbiased" and self.scope == "batch":
            yield (
                "cppo.metric=unbiased draws within a question, so that every mini-batch's gradient is unbiased, not "
                "from the pooled batch; set cppo.scope=question"
            )

    @property
    def rate(self) -> Fraction:
        """P as the decimal that was written."""
        return as_written(self.pruning_rate)

    @property
    def lr_factor(self) -> float:
        """What the learning rate is multiplied by."""
        return math.sqrt(1 / (1 - self.rate)) if self.lr_scale == "sqrt" else 1.0

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any] | None) -> CPPOConfig:
        """Build from a `cppo:` block.

        Raises:
            ConfigError: Every unknown key (the nearest known one is named) and value out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        options = options or {}
        faults = [
            f"unknown option cppo.{key}; did you mean cppo.{nearest_word(key, known)}?"
            for key in options
            if key not in known
        ]
        try:
            made = cls(**{key: options[key] for key in options if key in known})
        except ConfigError as error:
            faults += error.args
        if faults:
            raise ConfigError(*faults)
        return made


def as_written(number: float | str | Fraction) -> Fraction:
    """The exact value of a decimal or fraction as a person wrote it (0.9 -> 9/10, "1/3" -> 1/3).

    Raises:
        ConfigError: Not a finite number, or one of hundreds of digits.
    """
    written = str(number)
    try:
        exponent = int(written.lower().partition("e")[2] or 0)
        if isinstance(number, bool) or len(written) > MOST_DIGITS or abs(exponent) > MOST_DIGITS:
            raise ValueError
        return Fraction(written)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"cppo.pruning_rate={reprlib.repr(number)} is not a number") from None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
