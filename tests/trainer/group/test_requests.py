"""When a question's completions can be one request, and when questions can be sampled together at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.trainer.group.requests import LOOP, as_one, of_samples, sampled_together

PARAMS = {"temperature": 1.0, "top_p": 1.0, "logprobs": False}


@given(n=st.integers(2, 64), seed=st.none() | st.integers(0, 2**32))
def test_samples_with_seeds_that_follow_on_are_one_request(n, seed):
    one = as_one(of_samples(PARAMS, n, seed))
    assert one == PARAMS | {"n": n} | ({} if seed is None else {"seed": seed})


@given(n=st.integers(2, 8), where=st.integers(0, 7), other=st.sampled_from(["seed", "max_tokens", "temperature"]))
def test_one_that_differs_makes_them_several(n, where, other):
    requests = of_samples(PARAMS, n, 5)
    requests[where % n] = requests[where % n] | {other: 0.5 if other == "temperature" else 99}
    assert as_one(requests) is None


@pytest.mark.parametrize("requests", [[PARAMS], of_samples(PARAMS | {"temperature": 0}, 4, None)])
def test_one_completion_and_greedy_ones_stay_requests_of_their_own(requests):
    assert as_one(requests) is None


@pytest.mark.parametrize("options", ["recipe=toy device=cpu", "recipe=gsm8k device=gpu", "recipe=math device=gpu"])
def test_recipes_are_sampled_together(compose_config, options):
    config = compose_config(*options.split())
    assert config.actor_rollout_ref.rollout.agent.default_agent_loop == LOOP and sampled_together(config)


@pytest.mark.parametrize(
    "overrides",
    [
        ("actor_rollout_ref.rollout.name=sglang",),
        ("actor_rollout_ref.rollout.full_determinism=true",),
        ("actor_rollout_ref.rollout.enable_rollout_routing_replay=true",),
        ("actor_rollout_ref.rollout.trace.backend=mlflow",),
        ("actor_rollout_ref.rollout.disaggregation.enabled=true",),
        ("actor_rollout_ref.model.mtp.enable=true", "actor_rollout_ref.model.mtp.enable_rollout=true"),
        ("distillation.enabled=true",),
    ],
    ids=str,
)
def test_what_verls_own_path_alone_can_is_not(compose_config, overrides):
    assert not sampled_together(compose_config("recipe=toy", *overrides))
