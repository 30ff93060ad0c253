"""Options of verl's that CPPO reads otherwise than verl's own trainer, or not at all."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from cppo_verl.preflight.critic import GAE

OUTCOME_ESTIMATORS = ("grpo", "grpo_vectorized", "grpo_passk", "rloo", "rloo_vectorized", "opo")
"""Advantage estimators that give a completion one advantage, from the rewards (and lengths) of its own question."""
OVER_THE_BATCH = ("reinforce_plus_plus_baseline", "gpg")
"""Advantage estimators that compare with the mean of the question, and then take all by the scale of the batch. CPPO
prunes by the first and makes up for the second when all of a step is sampled (`trainer.batch_advantages`)."""
NEEDS_MORE = {
    "remax": "a greedy completion of each question beside the G sampled ones",
    "gdpo": "several rewards that are normalised over the whole batch, which is not there when a question is pruned",
    "reinforce_plus_plus": "the mean over the whole batch, which is not there when a question is pruned",
    **dict.fromkeys(
        ("optimal_token_baseline", "tir_optimal_token_baseline"), "a forward: an advantage of each token's probability"
    ),
}
"""verl's other estimators to what they need that CPPO's pruning does not have."""


def advantage_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of `algorithm.adv_estimator`: whether it is a fault, and the message."""
    estimator = config.algorithm.adv_estimator
    return [
        (
            estimator not in (*OUTCOME_ESTIMATORS, *OVER_THE_BATCH, GAE),
            f"algorithm.adv_estimator={estimator} needs {NEEDS_MORE.get(estimator, 'more than CPPO knows of it')}; "
            "CPPO prunes by an advantage that is known from the rewards of a question's completions alone: use one of "
            f"{', '.join((*OUTCOME_ESTIMATORS, *OVER_THE_BATCH))}, or {GAE} without pruning",
        ),
        (
            estimator == "reinforce_plus_plus_baseline" and config.cppo.get("metric") == "unbiased",
            f"cppo.metric=unbiased with algorithm.adv_estimator={estimator}: its whitening moves the advantages by "
            "which completions were drawn, and the weights would not make up for it; use another metric, or rloo",
        ),
    ]


def unread_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Options of verl's that do something else here, or nothing: whether each is given, and the message."""
    fetched = OmegaConf.select(config, "data.gen_batch_size")
    return [
        (
            bool(OmegaConf.select(config, "algorithm.filter_groups.enable")),
            "algorithm.filter_groups.enable=true is not read: use cppo.zero_variance=drop, which leaves out questions "
            "whose rewards are all equal and samples others, with cppo.max_gen_rounds for max_num_gen_batches",
        ),
        (
            fetched is not None,
            f"data.gen_batch_size={fetched} is not read: a step takes as many questions as fill its rows, "
            "data.train_batch_size over 1-P with allocation; set it to null",
        ),
    ]
