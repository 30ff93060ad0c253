"""`algorithm.rollout_correction`: what verl 0.9.1 would refuse at the first step, or would leave out without a word.

The words and thresholds are those of `verl/trainer/ppo/rollout_corr_helper.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import nearest_word, not_one_of
from cppo_verl.preflight.thresholds import CORRECTION, rejections, threshold_faults

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
KNOWN = (
    *("rollout_is", "rollout_is_threshold", "rollout_is_batch_normalize", "rollout_rs", "rollout_rs_threshold"),
    *(BYPASS, "loss_type", "_target_"),
)


def correction_refusals(config: DictConfig) -> Iterator[str]:
    """Why the rollout correction of a config would not do what it says."""
    options = OmegaConf.select(config, CORRECTION)
    loss_mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    options = options if isinstance(options, DictConfig) else {}
    yield from _word_faults(options)
    yield from threshold_faults(options)
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
    for key in options:
        if key not in KNOWN:
            veto = "; a veto is rollout_rs=seq_max_k2 or seq_max_k3" if "veto" in key else ""
            yield f"{CORRECTION}.{key} is no option of verl 0.9.1's; did you mean {nearest_word(key, KNOWN)}?{veto}"
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
