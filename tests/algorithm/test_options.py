"""The options: what each accepts, what a refusal says, and numbers taken as they were written."""

import dataclasses
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig, LRScale, Metric, MiniBatch, Scope, ZeroVariance, as_written

NAN, INF = float("nan"), float("inf")
HUGE = ["1e99999999", "1e-99999999", 10**400, "1" * 400, "1e" + "9" * 5000]
NOT_NUMBERS = [NAN, INF, -INF, "nan", "inf", "half", "50%", "", "1/0", None, True, [0.5], *HUGE]
ACCEPTED = {
    "pruning_rate": [0, 0.0, 0.5, "0.5", "7/8", "1e-1", "0.999", Fraction(1, 3)],
    "metric": get_args(Metric),
    "scope": get_args(Scope),
    "allocation": [True, False],
    "mini_batch": get_args(MiniBatch),
    "lr_scale": get_args(LRScale),
    "zero_variance": get_args(ZeroVariance),
    "max_gen_rounds": [1, 4, 100],
    "seed": [0, -1, 2**31],
    "rollout_seed": [0, -1, 2**31, None],
    "skip_old_log_prob": [True, False],
    "save_best": [True, False],
    "val_every_questions": [1, 1000, None],
    "val_subset": [1, 64, None],
    "reward_timeout": [0.5, 120],
    "dumps_to_keep": [1, 100, None],
}
REFUSED = {
    "pruning_rate": [-0.1, "-1/16", 1, 1.0, "1", 1.5, *NOT_NUMBERS],
    "metric": ["smalest", "", None, 3, ["smallest"]],
    "scope": ["group", None],
    "allocation": ["no", "true", 1, 0, None],
    "mini_batch": ["rows", None, 1],
    "lr_scale": ["linear", None, 2],
    "zero_variance": ["dropped", None, False],
    "max_gen_rounds": [0, -1, 1.5, "2", True, None],
    "seed": [0.0, "0", None, True],
    "rollout_seed": [0.0, "0", False],
    "skip_old_log_prob": ["yes", 1, None],
    "save_best": ["yes", 1, None],
    "val_every_questions": [0, -1, 1.5, True, "8"],
    "val_subset": [0, -1, 1.5, True],
    "reward_timeout": [0, -1, "60", True, None, NAN],
    "dumps_to_keep": [0, -1, 1.5, True],
}


def pairs(table):
    return [(option, value) for option, values in table.items() for value in values]


def test_every_option_is_tested():
    assert set(ACCEPTED) == set(REFUSED) == {field.name for field in dataclasses.fields(CPPOConfig)}


@pytest.mark.parametrize("option, value", pairs(ACCEPTED))
def test_accepted(option, value):
    beside = {"mini_batch": "completions"} if option == "lr_scale" else {}
    assert getattr(CPPOConfig.from_mapping({option: value, **beside}), option) == value


@pytest.mark.parametrize("option, value", pairs(REFUSED))
def test_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=rf"^cppo\.{option}="):
        CPPOConfig.from_mapping({option: value})


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("prunning_rate", "pruning_rate"),
        ("metrics", "metric"),
        ("max_rounds", "max_gen_rounds"),
        ("zero_var", "zero_variance"),
    ],
)
def test_unknown_option_names_the_nearest(wrong, right):
    with pytest.raises(ConfigError, match=rf"cppo\.{wrong}; did you mean cppo\.{right}\?"):
        CPPOConfig.from_mapping({wrong: 0.5})


def test_all_faults_at_once():
    with pytest.raises(ConfigError) as caught:
        CPPOConfig.from_mapping({"prunning_rate": 0.5, "metrics": "x", "seed": "x", "scope": "group"})
    unknown, also_unknown, scope, seed = caught.value.args
    assert "cppo.prunning_rate" in unknown and "cppo.metrics" in also_unknown
    assert "cppo.scope='group'" in scope and "cppo.seed='x'" in seed


@pytest.mark.parametrize(
    "options, says",
    [
        ({"lr_scale": "sqrt", "mini_batch": "questions"}, r"cppo\.lr_scale=none, or cppo\.mini_batch=completions"),
        (
            {"lr_scale": "sqrt", "allocation": False},
            r"but cppo\.allocation=false has as many; set cppo\.lr_scale=none",
        ),
        ({"metric": "unbiased", "scope": "batch"}, r"set cppo\.scope=question"),
    ],
)
def test_options_that_cannot_go_together(options, says):
    with pytest.raises(ConfigError, match=says):
        CPPOConfig(pruning_rate=0.5, **options)


@pytest.mark.parametrize("rate, factor", [(0, 1), (0.75, 2), ("15/16", 4), (0.5, 2**0.5)])
def test_the_learning_rates_factor(rate, factor):
    scaled = CPPOConfig(pruning_rate=rate, lr_scale="sqrt", mini_batch="completions")
    assert scaled.lr_factor == pytest.approx(factor)
    assert CPPOConfig(pruning_rate=rate).lr_factor == 1


def test_misspelt_choice_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean largest_raw"):
        CPPOConfig(metric="larges_raw")


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CPPOConfig().seed = 1


def test_defaults_are_those_of_an_empty_block():
    assert CPPOConfig.from_mapping({}) == CPPOConfig.from_mapping(OmegaConf.create({})) == CPPOConfig()


@given(st.integers(0, 10**6 - 1), st.integers(1, 6))
def test_a_decimal_is_taken_as_written(digits, places):
    exact = Fraction(digits, 10**places)
    written = f"{digits // 10**places}.{digits % 10**places:0{places}d}"
    assert as_written(written) == as_written(float(written)) == exact


@given(st.fractions())
def test_a_fraction_is_taken_as_written(number):
    assert as_written(number) == as_written(str(number)) == number


def test_the_rate_is_exact():
    assert CPPOConfig(pruning_rate=0.9).rate == CPPOConfig(pruning_rate="0.90").rate == Fraction(9, 10)
    assert CPPOConfig(pruning_rate="7/8").rate == CPPOConfig(pruning_rate=0.875).rate == Fraction(7, 8)
    assert as_written(np.float32(0.9)) == Fraction(9, 10)


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_not_a_number(number):
    with pytest.raises(ConfigError, match="is not a number"):
        as_written(number)
