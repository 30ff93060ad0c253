"""`algorithm.rollout_correction`: what verl 0.9.1 would refuse at the first step, or would leave out without a word.

The words and thresholds are those of `verl/trainer/ppo/rollout_corr_helper.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.options import not_one_of

CORRECTION = "algorithm.rollout_correction"
LOSS = "actor_rollout_ref.actor.policy_loss.loss_mode"
BYPASS = "bypass_mode"
"""The option, and the policy loss that reads what stands beside it."""
CORRECTS = "rollout_is", "rollout_rs"
WEIGHTS = ("token", "sequence")
"""What `rollout_is` may be."""
REJECTIONS = (
    *(f"token_{estimate}" for estimate in ("k1", "k2", "k3")),
    *(f"seq_{over}_{estimate}" for over in ("sum", "mean") for estimate in ("k1", "k2", "k3")),
    *("seq_max_k2", "seq_max_k3"),
)
"""What each of the words of `rollout_rs` may be."""
LOSS_TYPES = ("ppo_clip", "reinforce")
QUOTES = "a range needs quotes, as in '{}=\"0.5_2.0\"': 0.5_2 without them is the number 0.52"


def correction_refusals(config: DictConfig) -> Iterator[str]:
    """Why the rollout correction of a config would not do what it says."""
    options = OmegaConf.select(config, CORRECTION)
    loss_mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    options = options if isinstance(options, DictConfig) else {}
    yield from _word_faults(options)
    yield from _threshold_faults(options)
    yield from _unread_faults(options, loss_mode)
    asked = [f"{CORRECTION}.{key}={_shown(options[key])}" for key in (BYPASS, *CORRECTS) if options.get(key)]
    if loss_mode == BYPASS and not asked:
        asked = [f"{LOSS}={BYPASS}"]
    if asked and not config.actor_rollout_ref.rollout.calculate_log_probs:
        yield (
            f"{' and '.join(asked)}: the rollout's log-probs, which this reads, are not kept; set "
            "actor_rollout_ref.rollout.calculate_log_probs=true"
        )
    if rejects(config):
        yield from _rejection_faults(config)


def rejects(config: DictConfig) -> bool:
    """Whether tokens or completions that the policy finds too unlikely are left out of the loss."""
    return bool(OmegaConf.select(config, f"{CORRECTION}.rollout_rs"))


def _word_faults(options: Mapping[str, Any]) -> Iterator[str]:
    if (weights := options.get("rollout_is")) is not None:
        yield from not_one_of(f"{CORRECTION}.rollout_is", weights, WEIGHTS)
    yield from not_one_of(f"{CORRECTION}.loss_type", options.get("loss_type", LOSS_TYPES[0]), LOSS_TYPES)
    for key in (BYPASS, "rollout_is_batch_normalize"):
        if not isinstance(options.get(key, False), bool):
            yield f"{CORRECTION}.{key}={options[key]!r} must be true or false"
    given = options.get("rollout_rs")
    if given is not None and not rejections(given):
        yield f"{CORRECTION}.rollout_rs={given!r} must be null, or one or more of {', '.join(REJECTIONS)}, with commas"
    for word in rejections(given):
        yield from not_one_of(f"{CORRECTION}.rollout_rs", word, REJECTIONS)


def rejections(given: object) -> list[str]:
    """The words of `rollout_rs`, each once."""
    words = (word.strip() for word in given.split(",")) if isinstance(given, str) else ()
    return list(dict.fromkeys(word for word in words if word))


def _threshold_faults(options: Mapping[str, Any]) -> Iterator[str]:
    key, given = f"{CORRECTION}.rollout_is_threshold", options.get("rollout_is_threshold", 2.0)
    if options.get("rollout_is") and not _is_range(given, least_high=1):
        yield (
            f"{key}={_shown(given)} must be the largest weight, from 1, or a range of weights around 1, outside of "
            f"which they are 0; {QUOTES.format(key)}"
        )
    key, given = f"{CORRECTION}.rollout_rs_threshold", options.get("rollout_rs_threshold")
    words = rejections(options.get("rollout_rs"))
    if not words:
        if given is not None:
            yield f"{key}={_shown(given)} would be ignored: {CORRECTION}.rollout_rs is null; set it, or {key}=null"
        return
    if given is None:
        yield f"{CORRECTION}.rollout_rs={','.join(words)} needs {key}: one threshold for each word, with commas, or one"
        return
    limits = [limit.strip() for limit in str(given).split(",") if limit.strip()]
    if isinstance(given, bool) or len(limits) not in (1, len(words)):
        found = f"{len(limits)} thresholds for {len(words)} words of rollout_rs"
        yield f"{key}={_shown(given)} has {found}; give one, or as many"
        return
    limits = limits * len(words) if len(limits) == 1 else limits
    for word, limit in zip(words, limits, strict=True):
        if word.endswith("k1") and not _is_range(limit, least_high=1):
            yield (
                f"{key}={_shown(given)}: {limit} of {word} must be the largest ratio, from 1, or a range of ratios; "
                f"{QUOTES.format(key)}"
            )
        elif not word.endswith("k1") and not (_number(limit) or 0) > 0:
            yield f"{key}={_shown(given)}: {limit} of {word} must be a number above 0, the largest divergence"


def _is_range(given: object, least_high: float) -> bool:
    """Whether it is a number from `least_high`, or two above 0 in their order with `_` between them."""
    low, dash, high = str(given).partition("_")
    if isinstance(given, bool):
        return False
    if not dash or isinstance(given, int | float):
        return (_number(given) or 0) >= least_high
    return 0 < (_number(low) or 0) <= (_number(high) or 0)


def _number(given: object) -> float | None:
    try:
        return float(given)
    except (TypeError, ValueError):
        return None


def _unread_faults(options: Mapping[str, Any], loss_mode: str) -> Iterator[str]:
    """What is given for a loss that this run does not have."""
    bypasses, kind = bool(options.get(BYPASS)), options.get("loss_type", LOSS_TYPES[0])
    corrects = [f"{CORRECTION}.{key}={options[key]}" for key in CORRECTS if options.get(key)]
    if loss_mode == BYPASS and not bypasses:
        yield (
            f"{LOSS}={BYPASS} takes the old log-probs for the rollout's, which they are with {CORRECTION}.{BYPASS}=true"
        )
    read_by_loss = corrects + [f"{CORRECTION}.loss_type={kind}"] * (kind == LOSS_TYPES[1])
    if bypasses and loss_mode != BYPASS and read_by_loss:
        yield (
            f"{' and '.join(read_by_loss)} with {CORRECTION}.{BYPASS}=true: the loss {loss_mode} does not read it, as "
            f"its ratio is to the rollout's log-probs already; give one of them, or {LOSS}={BYPASS}"
        )
    if not bypasses and kind == LOSS_TYPES[1]:
        needs = f"{CORRECTION}.{BYPASS}=true and {LOSS}={BYPASS}"
        yield f"{CORRECTION}.loss_type={kind} would be ignored: it is for {needs}"
    if bypasses and loss_mode == BYPASS and kind == LOSS_TYPES[0] and options.get("rollout_is"):
        yield (
            f"{CORRECTION}.rollout_is={options['rollout_is']} would be ignored: with {CORRECTION}.loss_type={kind} the "
            f"clipped ratio is the weight; set it to null, or {CORRECTION}.loss_type=reinforce"
        )


def _rejection_faults(config: DictConfig) -> Iterator[str]:
    """Losses that break where tokens are left out."""
    actor = config.actor_rollout_ref.actor
    if actor.policy_loss.loss_mode == "kl_cov":
        yield (
            f"{CORRECTION}.rollout_rs with {LOSS}=kl_cov: verl 0.9.1 ends in an error where a micro-batch has no token "
            "left; use another loss, or rollout_is"
        )
    if actor.loss_agg_mode == "token-mean" and actor.shuffle and not OmegaConf.select(config, f"{CORRECTION}.{BYPASS}"):
        yield (
            f"{CORRECTION}.rollout_rs with actor_rollout_ref.actor.loss_agg_mode=token-mean and "
            "actor_rollout_ref.actor.shuffle=true: a mini-batch without a token would have a mean over nothing, and "
            "which rows it has is not known; set shuffle=false, or loss_agg_mode=seq-mean-token-mean"
        )


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
