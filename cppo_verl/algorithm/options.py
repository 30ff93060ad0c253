"""The `cppo.*` options: one frozen dataclass, checked when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

Metric = Literal["smallest", "largest", "smallest_raw", "largest_raw", "random", "max_variance"]
Scope = Literal["question", "batch"]
ZeroVariance = Literal["keep", "drop"]
MOST_DIGITS = 150
"""Of P, and in its exponent: 1e99999999 as a fraction would fill the memory."""


class ConfigError(ValueError):
    """Settings that cannot work, a message each; it names the setting and the nearest one that does."""

    def __str__(self) -> str:
        return "\n       ".join(map(str, self.args))


@dataclass(frozen=True)
class CPPOConfig:
    """What is pruned, and what fills the freed room (paper §3)."""

    pruning_rate: float | str = 0.0
    """P, the share of a question's completions that is pruned: 0 <= P < 1. Read as the decimal that was
    written: 0.9 is 9/10, not the nearest binary fraction. 0 with `allocation: false` is GRPO."""

    metric: Metric = "smallest"
    """Which completions are pruned. `smallest` / `largest` of |A|, `smallest_raw` / `largest_raw` of A (paper
    Table 4), `random`, or with `max_variance` all but the k of largest variance (PODS, arXiv 2504.13818)."""

    scope: Scope = "question"
    """Where completions compete. Within their `question` (the paper), or in the pooled `batch` (what the
    authors' verl code does; for parity studies)."""

    allocation: bool = True
    """Fill the freed room with completions of additional questions. Dynamic completion allocation (paper §3.3):
    a step trains on as many completions as GRPO does."""

    zero_variance: ZeroVariance = "keep"
    """What becomes of questions whose rewards are all equal. There A = 0 everywhere: `keep` k of them all the
    same (the paper), or `drop` them and give their room to other questions."""

    max_gen_rounds: int = 4
    """With `zero_variance=drop`, generation rounds per step at most. The first one is included."""

    seed: int = 0
    """Seed of the random choice between completions of equal |A|."""

    rollout_seed: int | None = None
    """Seed of sampling: two runs of one command sample the same. Each request gets a seed of its own, a hash of
    (this number, step, question, sample). `null`: the engine's own randomness."""

    skip_old_log_prob: bool = False
    """Leave out the old policy's forward in steps of one update. Where a step is one pass over one mini-batch
    (`ppo_epochs=1`, `ppo_mini_batch_size` = `train_batch_size`), the update's own forward is the old policy's. For
    models without dropout. The entropy that verl takes from that forward is not logged."""

    save_best: bool = False
    """Keep the checkpoint of best validation accuracy in RUN/best. The validation questions must not be test
    questions; `mode=save_best` sets all that this needs."""

    reward_timeout: float = 120
    """Seconds without any reward after which the run ends."""

    dumps_to_keep: int | None = None
    """How many steps' dumped generations are kept. Those in `trainer.rollout_data_dir` and
    `trainer.validation_data_dir`; `null`: all."""

    def __post_init__(self) -> None:
        if faults := list(dict.fromkeys(self._faults())):
            raise ConfigError(*faults)

    def _faults(self) -> Iterator[str]:
        for name, choices in (("metric", Metric), ("scope", Scope), ("zero_variance", ZeroVariance)):
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
        if not _is_int(self.max_gen_rounds) or self.max_gen_rounds < 1:
            yield f"cppo.max_gen_rounds={self.max_gen_rounds!r} must be a whole number from 1"
        if self.dumps_to_keep is not None and (not _is_int(self.dumps_to_keep) or self.dumps_to_keep < 1):
            yield f"cppo.dumps_to_keep={self.dumps_to_keep!r} must be a whole number from 1, or null for all"
        if isinstance(self.reward_timeout, bool) or not isinstance(self.reward_timeout, int | float):
            yield f"cppo.reward_timeout={self.reward_timeout!r} must be a number of seconds"
        elif not self.reward_timeout > 0:
            yield f"cppo.reward_timeout={self.reward_timeout} must be above 0"
        for name in ("seed", "rollout_seed"):
            value = getattr(self, name)
            if not (_is_int(value) or (name == "rollout_seed" and value is None)):
                yield f"cppo.{name}={value!r} must be a whole number"

    @property
    def rate(self) -> Fraction:
        """P as the decimal that was written."""
        return as_written(self.pruning_rate)

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


def not_one_of(key: str, value: object, choices: Sequence[str]) -> Iterator[str]:
    """What to say of a value that is none of the choices; nothing where it is one."""
    if value not in choices:
        yield f"{key}={value!r} is not one of {', '.join(choices)}; did you mean {nearest_word(value, choices)}?"


def nearest_word(value: object, words: Sequence[str]) -> str:
    """The word that looks most like a value."""
    return difflib.get_close_matches(str(value), words, n=1, cutoff=0.0)[0]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
